"""Default against tuned: which runs are compared, and what is printed."""

import io
import json
import math

import pandas as pd
import pytest
from made_up_runs import ListedStore, frame_of, mlflow_run, record
from mltbench.reports.tables.tuned import tuned_frame, tuned_table
from rich.console import Console
from scipy import stats

# Total, head, medium and tail by configuration and seed; 1000 and 1001 are the seeds that the winners were chosen on.
SCORES = {
    ("db-default", 0): (50, 61, 72, 33), ("db-default", 1): (52, 63.5, 71, 36), ("db-default", 2): (53, 60, 70, 38),
    ("db-default", 1000): (10, 11, 12, 13), ("db-default", 4): (20, 21, 22, 23),
    ("db-tuned", 2): (59, 64, 69, 45), ("db-tuned", 1): (55, 62, math.nan, 41), ("db-tuned", 0): (54.5, 66, 70, 44),
    ("db-tuned", 1000): (90, 91, 92, 93), ("db-tuned", 5): (80, 81, 82, 83), ("db-tuned", 6): (84, 85, 86, 87),
    ("db-tail", 1): (51, 59, 68, 47), ("db-tail", 1001): (95, 96, 97, 98),
    ("rs-default", 0): (40, 41, 42, math.nan), ("rs-default", 3): (44, 43, 45, 46), ("rs-default", 1001): (1, 2, 3, 4),
    ("rs-tuned", 3): (43, 49, 47, 56), ("rs-tuned", 0): (45, 47, 48, 49), ("rs-tuned", 1001): (99, 98, 97, 96),
    ("erm-default", 0): (30, 31, 32, 33), ("erm-tuned", 1): (34, 35, 36, 37),
}  # fmt: skip


def winner(method, name, *, dataset="digits-mlt", objective="total", trial=3, seeds=(1000,)):
    return {
        "method": method, "dataset": dataset, "recipe": "digits", "weights": {}, "fixed": [], "value": 0.8,
        "settings": [f"{name}.a=1", f"{name}.b=2"], "objective": objective, "trial": trial, "seeds": list(seeds),
        "default_configuration": f"{method}-default", "tuned_configuration": f"{method}-{name}",
    }  # fmt: skip


@pytest.fixture
def found(tmp_path):
    studies = {
        "first": [winner("db", "tuned"), winner("db", "tail", objective="tail", trial=5, seeds=(1001, 1000)),
                  winner("db", "tuned", dataset="voc-mlt")],
        "second": [winner("rs", "tuned", trial=8, seeds=(1001,)), winner("erm", "tuned")],
    }  # fmt: skip
    listed = tuple(
        mlflow_run({"kind": "study", "study": name, "winners": json.dumps(winners)})
        for name, winners in studies.items()
    )
    runs = [
        record(name.partition("-")[0], seed, scores, configuration_id=name) for (name, seed), scores in SCORES.items()
    ]
    # A run that failed has no result, whatever it holds; of two results of one seed the later counts.
    runs.append(record("db", 4, (1, 1, 1, 1), configuration_id="db-tuned", state="failed"))
    runs.insert(0, record("db", 0, (99, 99, 99, 99), configuration_id="db-default"))
    runs.insert(0, record("db", 0, (3, 3, 3, 3), configuration_id="db-tuned"))
    store = ListedStore(root=tmp_path, tracking_uri="", listed=listed)
    return tuned_frame(store, frame_of(*runs), "digits-mlt")


def test_a_winner_is_compared_with_its_default_on_the_fresh_seeds_that_both_have(found):
    labels = ["study", "method", "title", "objective", "trial", "group", "n", "settings"]
    first = ("first", "db", "DB", "total", 3)
    tail = ("first", "db", "DB", "tail", 5)
    second = ("second", "rs", "RS", "total", 8)
    # Nothing is said of a group in which a shared seed has no result, nor of ERM, whose sides share no seed.
    assert list(found[labels].itertuples(index=False, name=None)) == [
        *((*first, group, 3, "tuned.a=1 tuned.b=2") for group in ("total", "head", "tail")),
        *((*tail, group, 1, "tail.a=1 tail.b=2") for group in ("total", "head", "medium", "tail")),
        *((*second, group, 2, "tuned.a=1 tuned.b=2") for group in ("total", "head", "medium")),
    ]
    assert set(found.dataset) == {"digits-mlt"}


def test_its_numbers_are_those_of_these_runs(found):
    columns = ["default", "default_deviation", "tuned", "tuned_deviation", "difference"]
    row = found.set_index(["study", "objective", "group"]).loc[("first", "total", "head")]
    # Defaults 61 63.5 60, tuned 66 62 64: deviations from the means by hand.
    numbers = (61.5, math.sqrt((0.25 + 4 + 2.25) / 2), 64, math.sqrt((4 + 4 + 0) / 2), 2.5)
    assert tuple(row[columns]) == pytest.approx(numbers)
    for group, i in (("total", 0), ("head", 1), ("tail", 3)):
        row = found.set_index(["study", "objective", "group"]).loc[("first", "total", group)]
        default, tuned = ([SCORES[name, seed][i] for seed in (0, 1, 2)] for name in ("db-default", "db-tuned"))
        test = stats.ttest_rel(tuned, default)
        interval = test.confidence_interval(0.95)
        assert (row.low, row.high, row.p) == pytest.approx((interval.low, interval.high, test.pvalue))
    single = found[(found.objective == "tail") & (found.group == "medium")].iloc[0]
    assert (single.default, single.tuned, single.difference) == (71, 68, -3)
    assert (single.low, single.high) == (-math.inf, math.inf)
    assert single[["default_deviation", "tuned_deviation", "p"]].isna().all()


def line(group, low, high, **changes):
    return {
        "study": "first", "dataset": "[set]", "method": "db", "title": "DB", "objective": "total", "trial": 3,
        "group": group, "default": 50.125, "default_deviation": 1.5, "tuned": 49.0, "tuned_deviation": 2.25,
        "difference": -1.126, "low": low, "high": high, "n": 3, "p": 0.5, "settings": "", **changes,
    }  # fmt: skip


def test_it_prints_both_sides_the_difference_and_a_mark_where_the_interval_leaves_out_zero():
    alone = {"default_deviation": math.nan, "tuned_deviation": math.nan, "n": 1}
    lines = [line("total", -3.0, -0.01), line("head", -3.0, 0.0), line("medium", 0.0, 3.0), line("tail", 0.01, 3.0),
             line("total", -math.inf, math.inf, study="second", title="RS", objective="tail", **alone)]  # fmt: skip
    console = Console(width=160, file=io.StringIO(), color_system=None)
    console.print(tuned_table(pd.DataFrame(lines)))
    printed = [" ".join(text.split()) for text in console.file.getvalue().splitlines()]
    assert printed[0] == "Default against tuned: mAP on [set] (test split, percent)"
    rows = [text for text in printed if "-1.13" in text]
    assert rows == [
        "first DB total total 50.12 ± 1.50 49.00 ± 2.25 -1.13 [-3.00, -0.01] * 3",
        "head 50.12 ± 1.50 49.00 ± 2.25 -1.13 [-3.00, +0.00] 3",
        "medium 50.12 ± 1.50 49.00 ± 2.25 -1.13 [+0.00, +3.00] 3",
        "tail 50.12 ± 1.50 49.00 ± 2.25 -1.13 [+0.01, +3.00] * 3",
        "second RS tail total 50.12 49.00 -1.13 1",
    ]
    assert "study method best by group default tuned difference seeds" in printed
