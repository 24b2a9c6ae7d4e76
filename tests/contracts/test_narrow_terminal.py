"""Every list fits 80 columns and breaks no number, name or id across lines, whatever a store holds.

And every command works where nothing but ASCII can be printed, the terminal has no width, or nobody reads.
"""

import json
import os
import re

import optuna
import pytest
from command_line import call_encoded, call_printing_to
from mlflow.entities import Metric
from mltbench.__main__ import COMMANDS
from mltbench.benchmark.executors.in_process import InProcess
from mltbench.benchmark.executors.settings import RunSettings
from mltbench.benchmark.runs.folder import RunFolder
from mltbench.benchmark.runs.journal import Journal
from mltbench.benchmark.training.metrics import SCORE_NAMES
from mltbench.methods.catalogue import list_methods
from mltbench.studies.tuning.definition import Setting, tuning
from mltbench.studies.tuning.study import StudyStorage, begin_study
from mltbench.terminal import console
from plans import tiny_plan

pytestmark = pytest.mark.usefixtures("own_folder", "closed_studies")

LONG = (
    "recipe.plain.epochs=27", "recipe.plain.decay_after=19,24", "recipe.resampled.epochs=7",
    "recipe.learning_rate=0.123456", "recipe.image_size=56",
)  # fmt: skip
LISTS = (
    "status", "status --state failed", "runs list", "runs show RUN",
    "study list", "study show tuned", "study show swept",
    "methods", "methods db-focal",
    "data list", "data show tiny --out tiny.png", "figures list", "recipes", "recipes digits",
)  # fmt: skip
WORK = (
    "run --dataset tiny --method rs --recipe digits-smoke --override batch_size=8 --workers 1", "sync --all",
    "report --no-figures --bootstrap 2 --recipe digits-smoke --to report", "figures draw tiny --figure groups",
    "runs list --json", "status --json",
)  # fmt: skip


@pytest.fixture
def filled(dataset, store, settings):
    """Runs of three methods with long overrides and many seeds, one of them failed; a tuning and a sweep. Gives ids."""
    plan = tiny_plan(("erm", "rs+cb-focal", "db-symmetric"), seeds=(0, 1, 10), overrides=LONG)
    for number, planned in enumerate(plan.experiments):
        folder = RunFolder(store.runs / planned.experiment.id)
        folder.path.mkdir(parents=True)
        folder.announce(planned, plan.name)
        Journal(folder.path).append("start")
        if number == 0:
            Journal(folder.path).append(
                "failed", step=3, reason="DivergedError: the loss was not finite at step 3 (epoch 1)"
            )
        labels = {
            "kind": "experiment", "experiment_id": planned.experiment.id, "dataset": "tiny", "state": "finished",
            "configuration_id": planned.experiment.configuration_id, "method": planned.experiment.method.name,
            "overrides": planned.overrides, "seed": planned.experiment.seed, "command": planned.command,
        }  # fmt: skip
        add_run(
            store,
            f"{planned.label}, seed {planned.experiment.seed}",
            labels,
            "test",
            **{"cost/train_seconds": 12345.678},
        )
        sweep = {
            "purpose": "sweep", "sweep": "mu", "study": "swept", "study_dataset": "tiny", "outcome": "complete",
            "trial": f"db@tiny/{number % 3}", "default": "false", "kind": "trial",
            "parameters": json.dumps({"method.mu": number % 3 / 7, "method.negative_scale": number % 3 / 9}),
        }  # fmt: skip
        add_run(store, "trial", {**labels, **sweep}, "validation")
    begin_trials(Setting(dataset="tiny", settings=settings), StudyStorage(root=store.root))
    return [planned.experiment.id for planned in plan.experiments]


def add_run(store, name, labels, split, **more):
    run = store.client.create_run(
        store.experiment("tiny"), run_name=name, tags={f"mltbench.{key}": str(value) for key, value in labels.items()}
    )
    scores = {f"{split}/{group}": 0.7654321 for group in SCORE_NAMES} | more
    metrics = [Metric(key=key, value=value, timestamp=0, step=0) for key, value in scores.items()]
    store.client.log_batch(run.info.run_id, metrics=metrics)
    store.client.set_terminated(run.info.run_id)


def begin_trials(setting, storage):
    """A tuning with two finished trials, as workers leave them."""
    definition = tuning(
        "tuned", ["db-focal"], setting, objective="both", sampler="tpe", seeds_per_trial=1, parameters=(), prune=True
    )
    study = begin_study(definition, 3, storage)
    (arm,) = definition.arms
    for number in range(4):
        settings = {**arm.defaults, "method.mu": 0.123456789 / (number + 1)}
        result = {
            "outcome": "complete", "settings": settings, "images": 123_456, "seconds": 12.5, "reason": "",
            "validation": dict.fromkeys(SCORE_NAMES, 0.5 + number / 100),
        }  # fmt: skip
        study.arms[arm.name].add_trial(
            optuna.trial.create_trial(
                values=[0.5 + number / 10, 0.5 - number / 10], user_attrs={"result": result, "default": number == 0}
            )
        )


@pytest.mark.parametrize(
    ("width", "lines"), [(80, (*LISTS, *(f"methods {method.name}" for method in list_methods()))), (120, LISTS)]
)
def test_lists_fit_the_terminal_and_break_nothing(width, lines, filled, store, call, monkeypatch):
    monkeypatch.setattr(console(), "width", width)
    whole = {
        *(identity[:8] for identity in filled),
        "db-symmetric",
        "rs+cb-focal",
        "12345.68",
        "76.54",
        "digits-mlt-12to1",
    }
    printed = ""
    for line in lines:
        words = line.replace("RUN", filled[0]).split()
        options = ("--out", store.root) if words[0] in ("status", "runs", "study") else ()
        status, shown, error = call(*words, *options)
        assert (status, error) == (0, ""), line
        # What is there to be copied stands in lines of its own, as long as it is.
        kept = [
            text
            for text in shown.splitlines()
            if not re.match(r"[0-9a-f]* ?[a-z ]+: |\d+ (ended )?runs? |The id is", text)
        ]
        assert [text for text in kept if len(text.rstrip()) > width] == [], line
        assert "…" not in shown, line
        printed += shown
    assert {word for word in whole if word not in printed} == set()


def test_nothing_is_left_out_of_json_and_little_at_120_columns(filled, store, call):
    rows = json.loads(call("runs", "list", "--json", "--out", store.root)[1])
    assert sorted(row["experiment"] for row in rows) == sorted(filled)
    assert all("learning_rate=0.123456" in row["overrides"] for row in rows)
    trials = json.loads(call("study", "show", "tuned", "--json", "--out", store.root)[1])["trials"]["db-focal@tiny"]
    assert [trial["settings"]["method.mu"] for trial in trials[:2]] == [0.123456789, 0.123456789 / 2]
    assert len(json.loads(call("study", "show", "swept", "--json", "--out", store.root)[1])["trainings"]) == 9
    studies = json.loads(call("study", "list", "--json", "--out", store.root)[1])
    assert [row["name"] for row in studies["studies"] + studies["finished sweeps"]] == ["tuned", "swept"]
    shown = call("runs", "list", "--out", store.root)[1]
    assert "left out" not in shown
    assert [row["seed"] for row in rows[:3]] == ["0", "1", "10"]


@pytest.fixture
def unicode_names(filled, store, monkeypatch):
    """A run with a name that is in no encoding but Unicode; commands train in this process."""
    monkeypatch.setenv("MLTBENCH_HOME", str(store.root))
    monkeypatch.setattr(RunSettings, "make_executor", lambda settings: InProcess())
    for run in store.runs_of()[:2]:
        for tag in ("mlflow.runName", "mltbench.title"):
            store.client.set_tag(run.info.run_id, tag, "Bär ≈ 中")
    return filled[0]


@pytest.fixture
def columns(request, monkeypatch):
    """The width that the terminal says it has."""
    monkeypatch.setenv("COLUMNS", request.param)
    console.cache_clear()
    yield
    console.cache_clear()


@pytest.mark.usefixtures("columns")
@pytest.mark.parametrize(
    ("encoding", "columns", "lines"),
    [
        ("ascii", "1", ("--version", "--help", *(f"{name} --help" for name in COMMANDS), *WORK)),
        ("cp1252", "0", (*LISTS, *WORK)),
    ],
    indirect=["columns"],
)
def test_every_command_prints_in_every_encoding_without_a_width_and_writes_unicode(
    encoding, lines, unicode_names, tmp_path
):
    printed = ""
    for line in lines:
        status, shown, error = call_encoded(encoding, *line.replace("RUN", unicode_names).split())
        assert (status, "Traceback" in error) == (0, False), f"{line}: {error}"
        assert shown.strip()
        printed += shown
    assert "done  RS" in printed
    assert ("+-" if encoding == "ascii" else "±") in printed
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "±" in page
    assert {path.suffix for path in (tmp_path / "figures").iterdir()} >= {".svg", ".csv"}


def test_every_command_does_its_work_though_nobody_reads_what_it_prints(unicode_names, store, tmp_path):
    for line in WORK:
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "w", encoding="utf-8") as out:
            assert call_printing_to(out, out, *line.split()) == 0, line
    assert (tmp_path / "report" / "index.html").is_file()
    assert sum(run.data.tags["mltbench.state"] == "finished" for run in store.runs_of()) > 9
