import json
import math

import matplotlib
import pandas as pd
import pytest
from mltbench.benchmark.tracking.store import TAG
from mltbench.reports.figures.imbalance import draw_imbalance, imbalance_frame
from mltbench.reports.figures.pareto_front import front_frame
from mltbench.reports.figures.registry import draw_figures, list_figures
from mltbench.reports.figures.sensitivity import sensitivity_frame
from mltbench.reports.figures.source import dataset_source
from mltbench.reports.results.runs import runs_frame
from mltbench.reports.tables.tuned import tuned_frame, tuned_table

matplotlib.use("Agg")
GROUPS = ("total", "head", "medium", "tail")
SWEEPS = {
    "beta": ("r-bce", "R-BCE", "method.beta", (0.1, 1, 5, 10, 100)),
    "lambda": ("db", "DB", "method.negative_scale", (1, 2, 5, 10, 20)),
    "kappa": ("db", "DB", "method.kappa", (0, 0.01, 0.05, 0.5)),
}


def put(store, kind, tags, metrics, status="FINISHED"):
    experiment = store.experiment("digits-mlt")
    run = store.client.create_run(
        experiment, tags={f"{TAG}{key}": value for key, value in {"kind": kind, **tags}.items()}
    )
    for name, value in metrics.items():
        store.client.log_metric(run.info.run_id, name, value)
    store.client.set_terminated(run.info.run_id, status)


def put_trial(
    store, study, method, title, settings, seed, total, *, trial, default=False, sweep="", outcome="complete"
):
    tags = {
        "study": study, "purpose": "sweep" if sweep else "tune", "sweep": sweep, "study_dataset": "digits-mlt",
        "dataset": "digits-mlt", "method": method, "title": title, "trial": f"{method}@digits-mlt/{trial}",
        "outcome": outcome, "default": str(default).lower(), "parameters": json.dumps(settings), "values": "{}",
        "experiment_id": f"{study}{method}{trial}{seed}", "seed": str(seed),
    }  # fmt: skip
    marks = {"total": total, "head": total + 0.1, "medium": total + 0.05, "tail": total - 0.2}
    put(store, "trial", tags, {f"validation/{name}": value for name, value in marks.items()})


def put_tuning(store):
    for method, title, base in (("erm", "ERM", 0.7), ("db", "DB", 0.75)):
        for trial in range(6):
            settings = {"recipe.learning_rate": 0.05 * 2**trial} | (
                {"method.mu": 0.1 * trial} if method == "db" else {}
            )
            put_trial(
                store, "tuning", method, title, settings, 1000, base + 0.01 * trial, trial=trial, default=trial == 0
            )
        put_trial(store, "tuning", method, title, {}, 1000, 0.1, trial=9, outcome="pruned")


def source_of(store):
    return dataset_source("digits-mlt", runs=runs_frame(store), store=store)


def entry(name):
    return next(e for e in list_figures() if e.name == name)


@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_sweeps_figure_shows_every_seed_and_marks_the_papers_choice(store, tmp_path, sweep):
    method, title, key, values = SWEEPS[sweep]
    for i, value in enumerate(values):
        for seed in range(3):
            put_trial(
                store, sweep, method, title, {key: value}, seed, 0.7 + 0.01 * i + 0.001 * seed, trial=i, sweep=sweep
            )
    drawn = draw_figures(source_of(store), tmp_path, entries=[entry(f"sweep-{sweep}")]).drawn
    frame = pd.read_csv(tmp_path / f"sweep-{sweep}.csv")
    assert len(frame) == len(values) * 3 * 4
    mean = frame[(frame.x == values[1]) & (frame.group == "tail")].value.mean()
    assert mean == pytest.approx(100 * (0.711 - 0.2))
    assert set(frame.paper) == {{"beta": 10, "lambda": 5, "kappa": 0.05}[sweep]}
    assert f"best {100 * (0.7 + 0.01 * (len(values) - 1) + 0.001):.1f}" in drawn[0].alternative_text


def test_a_tunings_figures_leave_pruned_trials_out(store, tmp_path):
    put_tuning(store)
    names = ("parallel-coordinates", "pareto-front", "sensitivity")
    found = draw_figures(source_of(store), tmp_path, entries=[entry(name) for name in names])
    drawn, without = found.drawn, found.without
    assert without == {}
    assert [figure.name for figure in drawn] == list(names)
    assert len(pd.read_csv(tmp_path / "pareto-front.csv")) == 12
    sensitivity = pd.read_csv(tmp_path / "sensitivity.csv").set_index(["method", "group"])
    assert sensitivity.over_defaults["db", "total"] == pytest.approx(5)
    assert sensitivity["median"]["erm", "total"] == pytest.approx(72.5)


def test_front_and_sensitivity_by_hand():
    trials = pd.DataFrame(
        {
            "dataset": "d", "method": "rs", "title": "RS", "trial": list("abcd"),
            "default": [True, False, False, False], "total": [50.0, 60, 55, 60], "tail": [40.0, 30, 35, 20],
        }
    )  # fmt: skip
    assert front_frame(trials).front.tolist() == [True, True, True, False]
    row = sensitivity_frame(trials).set_index("group").loc["total"]
    assert (row.defaults, row.best, row["median"], row.lower_quartile) == (50, 60, 57.5, 53.75)
    assert row.over_best == 0


def test_imbalance_follows_fixed_shares_of_classes():
    lines = [
        ("ERM", seed, variant, f"c{i}", size, 10.0 * i + seed)
        for variant, sizes in (("a", (50, 40, 30, 20, 10)), ("b", (50, 20, 8, 4, 2)))
        for seed in (0, 2)
        for i, size in enumerate(sizes)
    ]
    frame = imbalance_frame(
        pd.DataFrame(lines, columns=["title", "seed", "variant", "class_name", "class_size", "ap"]), "d"
    )
    assert sorted(frame.ratio.unique()) == [5, 25]
    first = frame[(frame.seed == 0) & (frame.ratio == 25)].iloc[0]
    assert (first.total, first.rarest, first.frequent) == (20, 35, 10)
    assert len(draw_imbalance(frame).axes) == 3


def test_default_and_tuned_are_paired_by_fresh_seeds(store, tmp_path):
    winner = {
        "method": "db", "dataset": "digits-mlt", "recipe": "digits", "weights": {}, "fixed": [],
        "settings": ["method.mu=0.2"], "objective": "total", "trial": 3, "value": 0.8, "seeds": [1000],
        "default_configuration": "dd", "tuned_configuration": "tt",
    }  # fmt: skip
    put(store, "study", {"study": "tuning", "winners": json.dumps([winner])}, {})
    differences = {0: 1.0, 1: 2.0, 2: 3.0, 1000: 50.0}
    for seed, difference in differences.items():
        for configuration, total in (("dd", 70.0), ("tt", 70.0 + difference)):
            tags = {
                "experiment_id": f"{configuration}{seed}", "configuration_id": configuration, "dataset": "digits-mlt",
                "method": "db", "title": "DB", "recipe": "digits", "seed": str(seed), "state": "finished",
            }  # fmt: skip
            put(store, "experiment", tags, {f"test/{group}": total / 100 for group in GROUPS})
    frame = tuned_frame(store, runs_frame(store), "digits-mlt")
    row = frame[frame.group == "total"].iloc[0]
    assert (row.n, row.default, row.tuned) == (3, pytest.approx(70), pytest.approx(72))
    # Student's t(2) at 97.5 % is 4.302653; the deviation of 1, 2, 3 is 1.
    assert (row.low, row.high) == (
        pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-5),
        pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-5),
    )
    assert tuned_table(frame).row_count == 4
    drawn = draw_figures(source_of(store), tmp_path, entries=[entry("tuned-winners")]).drawn
    assert "DB +2.0" in drawn[0].alternative_text
