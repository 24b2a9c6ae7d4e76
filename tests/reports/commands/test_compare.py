"""`mltbench compare`, from a store of real runs."""

import pandas as pd
import pytest
from mltbench.benchmark.executors.run_plan import run_plan
from mltbench.benchmark.experiments.plan import build_plan
from mltbench.benchmark.training.check import tiny_dataset
from mltbench.reports.results.runs import runs_frame
from plans import SMALL


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
