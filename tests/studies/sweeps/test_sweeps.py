import numpy as np
import pytest
from mltbench.benchmark.executors.run_plan import run_plan
from mltbench.benchmark.tracking.store import TAG
from mltbench.studies.sweeps import sweep as sweeping

PARAMETERS = f"{TAG}parameters"
MU = sweeping.Sweep(name="x", summary="", reference="", methods=("r-bce",), grid={"method.mu": (0.1, 0.3)})


@pytest.fixture
def run(setting, settings, store):
    """Runs a sweep on the tiny set; returns what became of its plans."""

    def run(sweep, seeds):
        return [run_plan(plan, store, settings) for plan in sweeping.plan_sweep(sweep, setting, seeds=seeds)]

    return run


def cells(table):
    return {column.header: [str(cell) for cell in column.cells] for column in table.columns}


def test_a_sweep_trains_points_times_seeds_shares_them_with_other_studies_and_shows_their_means(run, store):
    (first,) = run(MU, [0, 1])
    trained = [(planned.experiment.method.parameters["mu"], planned.experiment.seed) for planned in first.trained]
    assert trained == [(0.1, 0), (0.3, 0), (0.1, 1), (0.3, 1)]
    (more,) = run(MU, [0, 1, 2])
    assert (len(more.skipped), len(more.trained)) == (4, 2)
    (steps,) = run(sweeping.get_sweep("stepwise"), [0])
    assert (len(steps.skipped), len(steps.trained)) == (1, 3)
    trials, runs = store.runs_of("tiny", kind="trial"), sweeping.sweep_runs(store)
    assert not any(name.startswith("test/") for trial in trials for name in trial.data.metrics)
    assert store.runs_of("tiny") == []
    assert (len(trials), len(runs), runs.experiment_id.nunique()) == (6 + 4, 6 + 4, 6 + 4 - 1)
    (table,) = sweeping.sweep_tables(runs, "x-tiny")
    assert table.title == "r-bce on tiny with recipe.batch_size=8, recipe.plain.epochs=3, recipe.resampled.epochs=3"
    assert (cells(table)["mu"], cells(table)["seeds"]) == (["0.1", "0.3*"], ["3", "3"])
    totals = [100 * t.data.metrics["validation/total"] for t in trials if '"method.mu": 0.1' in t.data.tags[PARAMETERS]]
    assert cells(table)["total"][0] == f"{np.mean(totals):.2f} ± {np.std(totals, ddof=1):.2f}"
    rows = list(zip(*cells(sweeping.finished_sweeps_table(runs)).values(), strict=True))
    stepwise = ("stepwise-tiny", "stepwise", "tiny", "db, erm, r-bce, rs", "4")
    assert rows == [stepwise, ("x-tiny", "x", "tiny", "r-bce", "6")]
