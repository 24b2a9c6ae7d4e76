"""How far runs are from the reference run."""

import json
import re

import pandas as pd
import pytest
from made_up_runs import frame_of, record
from mltbench.benchmark.experiments.plan import build_plan
from mltbench.benchmark.training.metrics import SCORE_NAMES
from mltbench.datasets.registry import load_dataset
from mltbench.methods.catalogue import TABLES
from mltbench.reports.results import reference
from mltbench.reports.results.reference import agreement, reference_runs


@pytest.fixture
def same():
    """Runs with the reference run's own results."""
    return reference_runs().assign(state="finished")


def moved(runs, points):
    """The runs with other totals, by title."""
    return runs.assign(total=runs.total + runs.title.map(points).fillna(0))


def test_the_reference_run_is_the_demo_of_this_version(data_root):
    """Its ids are those of the methods of the paper's tables with seeds 0 to 2; 14, for RS and others are in both."""
    methods = list(dict.fromkeys([*TABLES[1], *TABLES[2]]))
    plan = build_plan(load_dataset("digits-mlt", data_root=data_root), methods, seeds=[0, 1, 2])
    planned = {one.experiment.id: (one.title, one.experiment.seed) for one in plan.experiments}
    recorded = reference_runs()
    assert dict(zip(recorded.experiment_id, zip(recorded.title, recorded.seed, strict=True), strict=True)) == planned
    assert recorded[list(SCORE_NAMES)].stack().between(40, 100).all()


def test_the_same_numbers_agree_within_nothing(same):
    assert agreement(same).startswith("42 of 42 experiments agree with the reference run within 0.00 points (")
    assert agreement(same[:5]).startswith("5 of 42 experiments agree")
    assert "within 0.00 points (" in agreement(same.assign(head=same["head"] - 0.0049))
    assert "within 0.00 points (" not in agreement(same.assign(head=same["head"] - 0.0051))


def test_other_last_digits_are_told_apart_from_another_result(same):
    # The pooled standard deviation of seeds, by the definition of variance.
    squares = [((own.total - own.total.mean()) ** 2).sum() / 2 for _, own in same.groupby("title")]
    spread = (sum(squares) / len(squares)) ** 0.5
    text = agreement(moved(same, {"DB": 0.31, "RS": -0.2}))
    assert "42 of 42 experiments agree with the reference run within 0.31 points of total mAP" in text
    assert f"another seed changes a result by {spread:.2f}" in text
    assert "Unexpected" not in text
    # Two standard errors of a mean over three seeds.
    assert "Unexpected" not in agreement(moved(same, {"RS": -(2 * spread / 3**0.5 - 0.01)}))
    far = agreement(moved(same, {"DB": 0.31, "RS": -(2 * spread / 3**0.5 + 0.01)}))
    assert "differ from the reference run by up to" in far
    assert re.search(r"Unexpected, since other seeds rarely change so much: RS by -0\.\d\d\.", far)


def test_one_seed_that_differs_is_no_surprise_if_the_mean_does_not(same):
    one = (same.title == "DB") & (same.seed == 0)
    text = agreement(same.assign(total=same.total + one * 1.2))
    assert "Unexpected" not in agreement(same[one].assign(total=same.total + 1.2))
    assert "within 1.20 points of total mAP, means over their seeds within 0.40" in text
    assert "Unexpected" not in text


def test_a_group_that_differs_is_not_hidden_by_the_total(same):
    assert "within 0.00 points (" not in agreement(same.assign(tail=same["tail"] + 0.3))


def test_other_runs_and_failed_ones_are_not_compared(same, small_runs):
    assert agreement(small_runs) is None
    assert agreement(same.assign(state="failed")) is None
    assert agreement(pd.concat([same[:3], small_runs])).startswith("3 of 42 experiments")


def test_a_reference_run_is_recorded_from_finished_runs(tmp_path, monkeypatch):
    def made(name, torch):
        return json.dumps({"device_name": name, "torch": torch, "threads": "1"})

    runs = frame_of(
        record("rs", 1, (50.12345, 60, 70.00004, 80), provenance=made("a", "1")),
        record("rs", 0, (51, 61, 71, 81), provenance=made("b", "2")),
        record("erm", 2, (52, 62.5, 72, 82.25), provenance=made("c", "3")),
        record("db", 0, (99, 99, 99, 99), state="failed", provenance=made("d", "4")),
    )  # fmt: skip
    monkeypatch.setattr(reference, "FILE", tmp_path / "reference.csv")
    monkeypatch.setattr(reference, "load_runs", lambda out: runs if out == "root" else None)
    reference.record("root")
    assert reference.FILE.read_text().splitlines() == [
        "experiment_id,title,seed,total,head,medium,tail,device_name,torch",
        "erm2,ERM,2,52.0,62.5,72.0,82.25,c,3", "rs0,RS,0,51.0,61.0,71.0,81.0,b,2",
        "rs1,RS,1,50.1234,60.0,70.0,80.0,a,1",
    ]  # fmt: skip
    assert agreement(runs).startswith("3 of 3 experiments agree with the reference run within 0.00 points (c, torch 3)")
