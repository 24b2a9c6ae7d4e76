import json

import pandas as pd
import pytest
from mltbench.benchmark.tracking.store import TAG
from mltbench.reports.figures.imbalance import draw_imbalance, imbalance_frame
from mltbench.reports.figures.pareto_front import front_frame
from mltbench.reports.figures.registry import draw_figures, get_figure
from mltbench.reports.figures.sensitivity import sensitivity_frame
from mltbench.reports.figures.source import FigureSource
from mltbench.reports.results.runs import runs_frame
from mltbench.reports.tables.tuned import tuned_frame, tuned_table

GROUPS = ("total", "head", "medium", "tail")
SWEEPS = {
    "beta": ("r-bce", "method.beta", (0.1, 1, 5, 10, 100), 10),
    "lambda": ("db", "method.negative_scale", (1, 2, 5, 10, 20), 5),
    "kappa": ("db", "method.kappa", (0, 0.01, 0.05, 0.5), 0.05),
}


def put(store, kind, tags, metrics):
    tagged = {f"{TAG}{key}": value for key, value in {"kind": kind, **tags}.items()}
    run = store.client.create_run(store.experiment("digits-mlt"), tags=tagged)
    for name, value in metrics.items():
        store.client.log_metric(run.info.run_id, name, value)
    store.client.set_terminated(run.info.run_id)


def put_trial(store, study, method, settings, seed, total, *, trial, sweep="", outcome="complete"):
    tags = {
        "study": study, "purpose": "sweep" if sweep else "tune", "sweep": sweep, "study_dataset": "digits-mlt",
        "dataset": "digits-mlt", "method": method, "title": method.upper(), "trial": f"{method}@digits-mlt/{trial}",
        "outcome": outcome, "default": str(trial == 0).lower(), "parameters": json.dumps(settings), "values": "{}",
        "experiment_id": f"{study}{method}{trial}{seed}", "seed": str(seed),
    }  # fmt: skip
    scores = zip(GROUPS, (total, total + 0.1, total + 0.05, total - 0.2), strict=True)
    put(store, "trial", tags, {f"validation/{group}": score for group, score in scores})


def draw(store, folder, *names):
    source = FigureSource(dataset="digits-mlt", runs=runs_frame(store), store=store)
    return draw_figures(source, folder, entries=[get_figure(name) for name in names])


@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_sweeps_figure_shows_every_seed_and_the_papers_choice(store, tmp_path, sweep):
    method, key, values, paper = SWEEPS[sweep]
    for i, value in enumerate(values):
        for seed in range(3):
            put_trial(store, sweep, method, {key: value}, seed, 0.7 + 0.01 * i + 0.001 * seed, trial=i, sweep=sweep)
    drawn = draw(store, tmp_path, f"sweep-{sweep}").drawn
    frame = pd.read_csv(tmp_path / f"sweep-{sweep}.csv")
    assert len(frame) == len(values) * 3 * 4
    mean = frame[(frame.x == values[1]) & (frame.group == "tail")].value.mean()
    assert mean == pytest.approx(100 * (0.711 - 0.2))
    assert set(frame.paper) == {paper}
    assert f"best {100 * (0.7 + 0.01 * (len(values) - 1) + 0.001):.1f}" in drawn[0].alternative_text


def test_a_tunings_figures_leave_pruned_trials_out(store, tmp_path):
    for method, base in (("erm", 0.7), ("db", 0.75)):
        for trial in range(6):
            settings = {"recipe.learning_rate": 0.05 * 2**trial}
            settings |= {"method.mu": 0.1 * trial} if method == "db" else {}
            put_trial(store, "tuning", method, settings, 1000, base + 0.01 * trial, trial=trial)
        put_trial(store, "tuning", method, {}, 1000, 0.1, trial=9, outcome="pruned")
    names = ("parallel-coordinates", "pareto-front", "sensitivity")
    found = draw(store, tmp_path, *names)
    assert found.without == {}
    assert [figure.name for figure in found.drawn] == list(names)
    assert len(pd.read_csv(tmp_path / "pareto-front.csv")) == 12
    sensitivity = pd.read_csv(tmp_path / "sensitivity.csv").set_index(["method", "group"])
    assert sensitivity.over_defaults["db", "total"] == pytest.approx(5)
    assert sensitivity["median"]["erm", "total"] == pytest.approx(72.5)


def test_front_and_sensitivity_by_hand():
    scores = {"default": [True, False, False, False], "total": [50.0, 60, 55, 60], "tail": [40.0, 30, 35, 20]}
    trials = pd.DataFrame({"dataset": "d", "method": "rs", "title": "RS", "trial": list("abcd"), **scores})
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
    columns = ["title", "seed", "variant", "class_name", "class_size", "ap"]
    frame = imbalance_frame(pd.DataFrame(lines, columns=columns), "d")
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
    assert (row.n, row.default, row.tuned) == pytest.approx((3, 70, 72))
    # Student's t(2) at 97.5 % is 4.302653; the deviation of 1, 2, 3 is 1.
    half = 4.302653 / 3**0.5
    assert (row.low, row.high) == pytest.approx((2 - half, 2 + half), abs=1e-5)
    assert tuned_table(frame).row_count == 4
    drawn = draw(store, tmp_path, "tuned-winners").drawn
    assert "DB +2.0" in drawn[0].alternative_text
