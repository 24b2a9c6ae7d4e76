"""What `mltbench compare` compares, prints and writes: from runs that were made up, and from a store of real ones."""

import json
import re

import pandas as pd
import pytest
from mltbench.benchmark.executors.run_plan import run_plan
from mltbench.benchmark.experiments.plan import build_plan
from mltbench.benchmark.training.check import tiny_dataset
from mltbench.reports.commands import compare as module
from mltbench.reports.results.runs import CLASS_COLUMNS, runs_frame
from plans import SMALL

# Seven classes, by the difference of RS and ERM: five of them gain, and the tie stands in neither list.
DIFFERENCES = {"a": 5, "b": 1, "c": 9, "d": 0, "e": 3, "f": 7, "g": -2, "h": 11, "i": 2}


@pytest.fixture
def compare(call, out, own_folder, small_runs, monkeypatch):
    """Compares two names among made-up runs; gives the status, what was printed, and which runs were resampled."""
    seen = {}

    def classes(store, runs):
        lines = [
            {"experiment_id": run.experiment_id, "split": split, "class_name": name, "group": "head",
             "class_size": 100 - number, "ap": (40 + (run.method == "rs") * difference) / (1 + (split == "validation"))}
            for run in runs.itertuples() for split in ("validation", "test")
            for number, (name, difference) in enumerate(DIFFERENCES.items())
        ]  # fmt: skip
        seen["classes of"] = sorted(runs.experiment_id)
        return pd.DataFrame(lines, columns=list(CLASS_COLUMNS))

    def resample(store, runs, per_class, *, resamples, on_run):
        seen.update(resampled=sorted(runs.experiment_id), resamples=resamples)
        return {}

    monkeypatch.setattr(module, "per_class_frame", classes)
    monkeypatch.setattr(module, "bootstrap_runs", resample)

    def compare(*words, runs=small_runs):
        monkeypatch.setattr(module, "runs_frame", lambda store: runs)
        seen.clear()
        status, printed, error = call("compare", *words, "--out", out)
        return status, printed + error, dict(seen)

    return compare


def ids(*names):
    return [name.ljust(16, "0") for name in names]


def test_all_runs_of_both_are_read_and_those_with_a_shared_seed_resampled(compare):
    status, _, seen = compare("erm", "db", "--bootstrap", 7)
    assert (status, seen["classes of"]) == (0, ids("db-0", "db-1", "erm-0", "erm-1", "erm-2"))
    assert (seen["resampled"], seen["resamples"]) == (ids("db-0", "db-1", "erm-0", "erm-1"), 7)
    assert "resamples" not in compare("erm", "db", "--bootstrap", 0)[2]
    assert compare("erm", "db")[2]["resamples"] == 1000


def test_the_first_is_a_and_differences_are_b_minus_a(compare):
    status, printed, _ = compare("erm", "rs", "--json", "--bootstrap", 0)
    found = json.loads(printed)
    assert (status, found["A"]["label"], found["B"]["label"]) == (0, "ERM", "RS")
    assert found["A"]["experiments"] == dict(zip("012", ids("erm-0", "erm-1", "erm-2"), strict=True))
    assert (found["B"]["configuration_id"], found["shared_seeds"]) == (*ids("rs"), [0, 1, 2])
    total = found["groups"][0]
    assert (total["group"], total["n"]) == ("total", 3)
    # 5, 4.5 and 4.875, of 50, 51 and 52.125.
    assert (total["first"], total["difference"]) == pytest.approx((153.125 / 3, 14.375 / 3))
    assert {item["class_name"]: item["difference"] for item in found["classes"]} == DIFFERENCES


def test_the_five_classes_that_gain_and_lose_most_are_shown(compare):
    _, printed, _ = compare("erm", "rs", "--bootstrap", 0)
    gain, _, lose = printed.partition("Classes that gain most")[2].partition("Classes that lose most")
    assert re.findall(r"^\s*([a-i])\s", gain, re.MULTILINE) == list("hcfae")
    assert re.findall(r"^\s*([a-i])\s", lose, re.MULTILINE) == ["g"]
    back = compare("rs", "erm", "--bootstrap", 0)[1].partition("Classes that lose most")[2]
    assert re.findall(r"^\s*([a-i])\s", back, re.MULTILINE) == list("hcfae")


@pytest.mark.parametrize(
    ("first", "second", "totals", "says"),
    [
        # Ahead by 5, 4.5 and 4.875: the interval lies above zero.
        ("erm", "rs", None, "B is 4.79 points ahead in total, 3 seeds."),
        ("rs", "erm", None, "B is 4.79 points behind in total, 3 seeds."),
        ("erm", "ldam", None, "B is 1.12 points behind in total on one shared seed"),
        # By 1, 2 and 9: mean 4, of which a printed table says ± 10.8.
        ("erm", "rs", (51, 53, 61.125), "Not told apart in total: B is 4.00 points ahead, 3 seeds."),
        ("erm", "rs", (50, 51, 52.125), "Not told apart in total: B is 0.00 points ahead, 3 seeds."),
    ],
)
def test_what_the_total_says_is_said_in_a_sentence(compare, small_runs, first, second, totals, says):
    runs = small_runs
    if totals:
        runs = runs.assign(total=runs.total.where(runs.method != "rs", runs.seed.map(dict(enumerate(totals)))))
    assert says in compare(first, second, "--bootstrap", 0, runs=runs)[1]


def test_runs_of_another_dataset_or_recipe_are_left_out_where_one_is_named(compare, small_runs):
    other = small_runs[small_runs.method == "rs"].assign(configuration_id="2" * 16)
    other = other.assign(experiment_id=["x" + name[1:] for name in other.experiment_id])
    for option, change in (("--recipe", {"recipe": "paper"}), ("--dataset", {"dataset": "voc"})):
        both = pd.concat([small_runs, other.assign(**change), small_runs[small_runs.method == "erm"].assign(
            configuration_id="3" * 16, experiment_id=["y0", "y1", "y2"], **change)])  # fmt: skip
        ((name, value),) = change.items()
        for chosen, configurations in ((value, ["3" * 16, "2" * 16]), (small_runs.iloc[0][name], ids("erm", "rs"))):
            status, printed, _ = compare("erm", "rs", option, chosen, "--json", "--bootstrap", 0, runs=both)
            found = json.loads(printed)
            assert (status, [found[side]["configuration_id"] for side in "AB"]) == (0, configurations)
        assert compare("erm", "rs", "--bootstrap", 0, runs=both)[0] == 2


def test_unknown_numbers_are_null(compare):
    printed = compare("erm", "ldam", "--json", "--bootstrap", 0)[1]
    found = json.loads(printed, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (found["groups"][0]["low"], found["groups"][0]["images_low"]) == (None, None)
    assert found["groups"][0]["difference"] == pytest.approx(51 - 52.125)


def test_an_unknown_name_is_an_error_before_anything_is_written(compare, tmp_path):
    status, printed, _ = compare("erm", "nothing", "--to", tmp_path / "both")
    assert (status, "unknown run, configuration or table row 'nothing'" in printed) == (2, True)
    assert not (tmp_path / "both").exists()


@pytest.fixture
def two_seeds(dataset, store, settings):
    """A store with ERM of two seeds and RS of one of them."""
    for method, seeds in (("erm", [0, 1]), ("rs", [1])):
        plan = build_plan(dataset, [method], seeds=seeds, overrides=SMALL, recipe="digits")
        assert not run_plan(plan, store, settings).failed
    return store


def test_it_prints_and_writes_what_differs(two_seeds, call, own_folder, tmp_path):
    status, printed, error = call(
        "compare", "erm", "rs", "--out", two_seeds.root, "--to", tmp_path / "both", "--bootstrap", 20
    )
    assert (status, error) == (0, "")
    assert "seeds 0 1" in printed
    assert "how much seeds vary is unknown" in printed
    assert "method.epoch_fraction" in printed
    files = {path.name for path in (tmp_path / "both").iterdir()}
    assert files == {"compare.csv", *(f"compare-classes.{ending}" for ending in ("csv", "svg", "pdf", "png"))}
    runs = runs_frame(two_seeds).set_index(["method", "seed"])
    written = pd.read_csv(tmp_path / "both" / "compare.csv").set_index("group")
    by_hand = runs.loc[("rs", 1)].total - runs.loc[("erm", 1)].total
    assert written.loc["total"].difference == pytest.approx(by_hand)
    assert written.loc["total"].images_low <= written.loc["total"].images_high
    classes = pd.read_csv(tmp_path / "both" / "compare-classes.csv")
    assert sorted(classes.class_name) == sorted(tiny_dataset().classes)
    assert classes.class_size.is_monotonic_decreasing
    # The total is the mean over the classes.
    assert classes.difference.mean() == pytest.approx(by_hand)
