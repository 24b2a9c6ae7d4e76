from dataclasses import replace

import pytest
from mltbench.benchmark.executors.run_plan import run_plan
from mltbench.benchmark.tracking.store import TAG
from mltbench.errors import InputError
from mltbench.studies.sweeps.sweep import (
    Sweep,
    finished_sweeps_table,
    get_sweep,
    plan_sweep,
    sweep_runs,
    sweep_tables,
    sweeps,
    sweeps_table,
)
from mltbench.studies.tuning.definition import Setting

MU = Sweep(name="x", summary="", reference="", methods=("r-bce",), grid={"method.mu": (0.1, 0.3)})


@pytest.fixture
def run(setting, settings, store):
    """Runs a sweep on the tiny set; returns what became of its plans."""
    return lambda sweep, seeds: [run_plan(plan, store, settings) for plan in plan_sweep(sweep, setting, seeds=seeds)]


def cells(table):
    return [list(column.cells) for column in table.columns]


def test_a_sweep_trains_points_times_seeds_and_shares_them_with_other_studies(run, store):
    (first,) = run(MU, [0, 1])
    assert [(p.experiment.method.parameters["mu"], p.experiment.seed) for p in first.trained] == [
        (0.1, 0), (0.3, 0), (0.1, 1), (0.3, 1)
    ]  # fmt: skip
    (more,) = run(MU, [0, 1, 2])
    assert (len(more.skipped), len(more.trained)) == (4, 2)
    (steps,) = run(get_sweep("stepwise"), [0])
    assert (len(steps.skipped), len(steps.trained)) == (1, 3)
    runs = store.runs_of("tiny", kind="trial")
    assert not any(name.startswith("test/") for trial in runs for name in trial.data.metrics)
    assert store.runs_of("tiny") == []
    ids = [trial.data.tags[f"{TAG}experiment_id"] for trial in runs]
    assert (len(ids), len(set(ids))) == (6 + 4, 6 + 4 - 1)


def test_a_sweeps_table_shows_mean_and_deviation_of_every_point_from_mlflow_alone(run, store):
    run(MU, [0, 1])
    runs = sweep_runs(store)
    (table,) = sweep_tables(runs, "x-tiny")
    assert table.title == "r-bce on tiny with recipe.batch_size=8, recipe.plain.epochs=3, recipe.resampled.epochs=3"
    columns = dict(zip((column.header for column in table.columns), cells(table), strict=True))
    assert [str(cell) for cell in columns["mu"]] == ["0.1", "0.3*"]
    assert [str(cell) for cell in columns["seeds"]] == ["2", "2"]
    first = runs[runs.point == 0].total
    mean, half = first.mean(), abs(first.iloc[0] - first.iloc[1]) / 2**0.5
    assert str(columns["total"][0]) == f"{mean:.2f} ± {half:.2f}"
    assert [str(cell) for (cell,) in cells(finished_sweeps_table(runs))] == ["x-tiny", "x", "tiny", "r-bce", "4"]


def test_every_sweep_has_different_points_that_hold_the_papers_choice(setting):
    shown = {
        str(name): int(str(number)) for name, number in zip(*(cells(sweeps_table())[i] for i in (0, 3)), strict=True)
    }
    for name, sweep in sweeps().items():
        if sweep.variants:
            with pytest.raises(
                InputError, match="compares variants of a dataset, and 'tiny' has none; known: digits-mlt"
            ):
                plan_sweep(sweep, setting, seeds=[0])
            continue
        (plan,) = plan_sweep(sweep, setting, seeds=[0])
        assert not plan.scores_test
        assert len({planned.tags["trial"] for planned in plan.experiments}) == len(plan.experiments) == shown[name]
        defaults = {p.experiment.method.name for p in plan.experiments if p.tags["default"] == "true"}
        if "method.kappa" not in sweep.fixed:
            assert defaults == set(sweep.methods)


def test_variants_of_a_dataset_are_trained_on_as_many_images(settings, data_root):
    digits = Setting(dataset="digits-mlt", settings=replace(settings, data_root=data_root))
    plans = plan_sweep(get_sweep("imbalance"), digits, seeds=[0])
    images = {}
    for plan in plans:
        for planned in plan.experiments:
            images.setdefault(planned.experiment.method.name, []).append(planned.images)
    assert len(plans) == 6
    for counts in images.values():
        assert len(counts) == 6
        assert max(counts) < 1.1 * min(counts)
