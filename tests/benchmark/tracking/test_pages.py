"""What MLflow's pages say: links that open saved views of runs that are there, names, descriptions."""

import json
import re
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
from mltbench.benchmark.tracking.pages import page_of_runs, run_description, run_name, study_description
from mltbench.benchmark.tracking.upload import upload
from plans import tiny_plan

NOTE = "mlflow.note.content"
VIEW = "mlflow.sharedViewState."
LINK = re.compile(r"\[([^\]]+)\]\((#/experiments/(\d+)/runs\?[^)]+)\)")


@pytest.fixture
def page(finished, store):
    """The experiment of MLflow with a finished run."""
    return store.client.get_experiment_by_name("mltbench/tiny")


@pytest.fixture
def planned(dataset):
    return tiny_plan(["db"], seeds=[3], overrides=["method.mu=0.2"]).experiments[0]


def asked(address):
    """What the address of a page asks for."""
    return {name: values[0] for name, values in parse_qs(urlsplit(address).fragment.partition("?")[2]).items()}


def state_of(view):
    return json.loads(json.loads(view)["state"])


def test_the_description_links_every_saved_view_and_opens_the_pages_of_runs(page):
    links = LINK.findall(page.tags[NOTE].partition("\n")[0])
    views = {key.removeprefix(VIEW): json.loads(value)["name"] for key, value in page.tags.items() if VIEW in key}
    questions = [(asked(address), name) for name, address, experiment in links if experiment == page.experiment_id]
    assert {question["viewStateShareKey"]: name for question, name in questions} == views
    assert len(views) == 3
    assert {question["workflowType"] for question, _ in questions} == {"machine_learning"}
    assert "CHART" in [question.get("compareRunsMode") for question, _ in questions]


def test_saved_views_show_what_runs_have(page, finished, store):
    (run,) = store.runs_of()
    # The tiny set has no head and no medium classes.
    metrics = {f"{split}/{name}" for split in ("test", "validation") for name in ("total", "head", "medium", "tail")}
    metrics |= run.data.metrics.keys()
    has, kinds = {f"metrics.`{name}`" for name in metrics} | {f"tags.`{name}`" for name in run.data.tags}, []
    for view in (state_of(value) for key, value in page.tags.items() if VIEW in key):
        kinds.append(re.search("'(.*)'", view["searchFilter"]).group(1))
        found = store.client.search_runs([page.experiment_id], view["searchFilter"], order_by=[view["orderByKey"]])
        assert [one.info.run_id for one in found] == [run.info.run_id] * (kinds[-1] == "experiment")
        assert set(view["selectedColumns"]) - has == ({"tags.`mltbench.study`"} if kinds[-1] == "trial" else set())
        assert {chart["metricKey"] for chart in view["compareRunCharts"]} <= metrics
        groups = [key["groupByData"] for key in view.get("groupBy", {}).get("groupByKeys", ())]
        assert set(groups) <= run.data.tags.keys()
    assert sorted(kinds) == ["experiment", "experiment", "trial"]


def test_what_another_version_wrote_is_written_anew_once_and_what_people_write_stays(page, finished, store):
    client, name = store.client, page.experiment_id
    written = dict(page.tags)
    for key in written:
        client.set_experiment_tag(name, key, "as an earlier version left it")
    assert store.experiment("tiny") == name
    assert client.get_experiment(name).tags == written
    client.set_experiment_tag(name, NOTE, "of our own")
    store.experiment("tiny")
    assert client.get_experiment(name).tags == written | {NOTE: "of our own"}


def test_a_name_says_the_seed_before_overrides_and_of_a_trial_the_study(planned):
    assert run_name(planned) == "DB, seed 3 (mu=0.2)"
    trial = replace(planned, tags={"study": "mine", "trial": "db@tiny/12"})
    assert run_name(trial) == "mine 12: DB, seed 3 (mu=0.2)"


def test_a_run_describes_itself_and_says_how_to_repeat_it(finished, store, planned):
    (run,) = store.runs_of()
    assert f"`{run.data.tags['mltbench.command']}`" in run.data.tags[NOTE]
    text = run_description(replace(planned, tags={"study": "mine", "trial": "db@tiny/12"}), "7")
    assert text.startswith("Trial db@tiny/12 of study mine: DB (mu=0.2) on tiny, seed 3, recipe digits. ")
    assert LINK.search(text).group(3) == "7"
    assert "--override method.mu=0.2" in text


@pytest.mark.parametrize("study", ["mine", "it's mine", "50% `more`"])
def test_a_study_links_its_trials(study, finished, store, planned):
    (path,) = store.runs.iterdir()
    path.rename(store.folders("trial").mkdir() or store.folders("trial") / finished)
    there = replace(tiny_plan().experiments[0], tags={"study": study, "trial": "erm/0"})
    upload(store, there, "a study", kind="trial")
    experiment = store.experiment("tiny")
    text = study_description(study, experiment, ["erm, total 50.00 (trial 0): its defaults"])
    question = asked(LINK.search(text).group(2))
    if "'" in study:
        assert question["viewStateShareKey"] == "trials"
        return
    found = store.client.search_runs([experiment], question["searchFilter"], order_by=[question["orderByKey"]])
    assert [run.data.tags["mltbench.study"] for run in found] == [study]


def test_of_many_winners_those_are_shown_that_mlflow_keeps():
    few, many = ([f"method {number}: {'x' * 290}" for number in range(count)] for count in (20, 60))
    shown = study_description("a b", "7", many)
    assert "- method 0: x" in shown
    assert len(shown) < 8000
    assert f"- and {60 - shown.count('- method ')} more: `mltbench study show 'a b'`" in shown
    assert shown.endswith("`mltbench run --from-study 'a b' --seeds 5`")
    assert "more: " not in study_description("a b", "7", few)


@pytest.mark.parametrize(
    ("uri", "begins"),
    [
        (
            "sqlite:////a b/mlflow.db",
            "mlflow ui --backend-store-uri 'sqlite:////a b/mlflow.db'\n  then open http://127.0.0.1:5000/#/experiments/3/runs?",
        ),
        ("http://user:secret@host:81/", "http://user:***@host:81/#/experiments/3/runs?"),
    ],
)
def test_the_page_of_runs_is_on_the_server_or_on_one_that_a_command_starts(uri, begins):
    experiments, trials = (page_of_runs(uri, "3", kind) for kind in ("experiment", "trial"))
    assert experiments.startswith(begins)
    assert trials.startswith(begins)
    assert asked(experiments.split()[-1])["compareRunsMode"] == "CHART"
    assert asked(trials.split()[-1])["viewStateShareKey"] == "trials"
