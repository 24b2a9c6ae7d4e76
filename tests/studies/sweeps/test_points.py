"""The points of a sweep, their seeds and budgets, and what is shown of them; nothing is trained."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mltbench.benchmark.experiments import plan as plan_module
from mltbench.benchmark.tracking.store import TAG
from mltbench.datasets.dataset import Dataset, Split
from mltbench.datasets.registry import DatasetEntry, register_dataset
from mltbench.errors import InputError
from mltbench.methods import catalogue
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

# What the paper sweeps: methods, points of each, and what is held besides.
PUBLISHED = {
    "alpha": ("r-bce", 7, {}), "beta": ("r-bce", 10, {"method.mu": 0.2}), "imbalance": ("erm rs r-bce db", 1, {}),
    "kappa": ("db", 7, {}), "lambda": ("db", 8, {"method.kappa": 0}), "mu": ("r-bce", 8, {}),
    "ntr-on-positives": ("db db-symmetric", 4, {"method.kappa": 0}), "nu-variant": ("nt-bce db db-focal", 2, {}),
    # Five and four values, one of each the default.
    "sampling": ("rs db", 8, {}), "stepwise": ("erm rs r-bce db", 1, {}),
}  # fmt: skip


def sweep_of(methods, grid, **changes):
    return Sweep(name="x", summary="", reference="", methods=methods, grid=grid, **changes)


def values(planned, *keys):
    rooms = {"method": planned.experiment.method.parameters, "recipe": planned.experiment.training}
    return tuple(rooms[key.partition(".")[0]][key.partition(".")[2]] for key in keys)


def cells(table):
    return {column.header: [str(cell) for cell in column.cells] for column in table.columns}


def test_the_sweeps_are_those_of_the_paper():
    defaults = {"method.images_per_visit": 3, "method.epoch_fraction": 0.25}
    found = {
        name: (" ".join(sweep.methods), len(sweep.points(defaults)), sweep.fixed) for name, sweep in sweeps().items()
    }
    assert found == PUBLISHED
    assert [len(sweep.variants.get("digits-mlt", ())) for sweep in sweeps().values()].count(6) == 1
    assert get_sweep("beta").grid == {"method.beta": [0.1, 0.5, 1.0, 2.0, 5.0, 7.0, 10.0, 20.0, 50.0, 100.0]}
    assert get_sweep("lambda").grid == {"method.negative_scale": [1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0]}
    shown = cells(sweeps_table())
    points = {name: number * len(methods.split()) for name, (methods, number, _) in PUBLISHED.items()}
    points["imbalance"] *= 6
    assert dict(zip(shown["name"], map(int, shown["points"]), strict=True)) == points
    with pytest.raises(InputError, match="unknown sweep 'bet'; did you mean 'beta'"):
        get_sweep("bet")


GRIDS = st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True))


@settings(deadline=None)
@given(GRIDS)
def test_together_is_every_combination_and_alone_is_each_axis_through_the_defaults(grid):
    together = sweep_of((), grid).points({})
    assert len(together) == np.prod([len(axis) for axis in grid.values()], dtype=int)
    assert all(point[key] in grid[key] for point in together for key in grid)
    assert len({tuple(point.items()) for point in together}) == len(together)
    defaults = {key: axis[-1] for key, axis in grid.items()}
    alone = sweep_of((), grid, together=False).points(defaults)
    assert all(sum(point[key] != defaults[key] for key in grid) <= 1 for point in alone)
    for key, axis in grid.items():
        assert {point[key] for point in alone} == set(axis)
    assert len(alone) == (1 + sum(len(axis) - 1 for axis in grid.values()) if grid else 0)


def test_a_sweep_of_two_settings_holds_the_other_at_its_default():
    sweep = sweep_of((), {"a": (1, 2), "b": (3, 4)}, together=False)
    assert sweep.points({"a": 2, "b": 9}) == [{"a": 1, "b": 9}, {"a": 2, "b": 9}, {"a": 2, "b": 3}, {"a": 2, "b": 4}]
    assert sweep.points({"a": 2, "b": 3}) == [{"a": 1, "b": 3}, {"a": 2, "b": 3}, {"a": 2, "b": 4}]


def test_every_point_is_trained_with_the_first_seed_before_any_is_with_the_second(setting):
    sweep = sweep_of(
        ("r-bce", "db"), {"method.mu": (0.1, 0.3), "method.beta": (5.0, 10.0)}, fixed={"method.alpha": 0.2}
    )
    (plan,) = plan_sweep(sweep, setting, seeds=[4, 7])
    points = [(0.1, 5.0), (0.1, 10.0), (0.3, 5.0), (0.3, 10.0)]
    found = [
        (p.experiment.method.name, p.experiment.seed, values(p, "method.mu", "method.beta")) for p in plan.experiments
    ]
    assert found == [(method, seed, point) for method in ("r-bce", "db") for seed in (4, 7) for point in points]
    assert {values(planned, "method.alpha", "recipe.batch_size") for planned in plan.experiments} == {(0.2, 8)}
    assert (plan.name, plan.dataset, plan.scores_test, plan.kind) == ("x-tiny", "tiny", False, "trial")
    assert plan.splits == ("train", "validation")
    first, *_, last = plan.experiments
    parameters = {"method.mu": 0.1, "method.beta": 5.0, "method.alpha": 0.2, "recipe.batch_size": 8,
                  "recipe.plain.epochs": 3, "recipe.resampled.epochs": 3}  # fmt: skip
    assert json.loads(first.tags["parameters"]) == parameters
    others = {name: text for name, text in first.tags.items() if name != "parameters"}
    assert others == {"study": "x-tiny", "purpose": "sweep", "sweep": "x", "study_dataset": "tiny",
                      "trial": "r-bce@tiny/0", "default": "false"}  # fmt: skip
    assert (last.tags["trial"], last.tags["default"]) == ("db@tiny/3", "true")
    named = plan_sweep(sweep, setting, seeds=[4], name="mine")[0]
    assert (named.name, {planned.tags["study"] for planned in named.experiments}) == ("mine", {"mine"})
    assert {planned.experiment.seed for planned in named.experiments} == {4}


def test_an_override_that_no_method_has_is_an_error_and_one_of_others_is_not(setting):
    sweep = sweep_of(("rs", "db"), {"method.images_per_visit": (1, 2)})
    own = replace(setting, overrides=(*setting.overrides, "method.mu=0.2"))
    (plan,) = plan_sweep(sweep, own, seeds=[0])
    assert {values(p, "method.mu") for p in plan.experiments if p.experiment.method.name == "db"} == {(0.2,)}
    with pytest.raises(InputError):
        plan_sweep(sweep, replace(setting, overrides=("method.ldam_margin=1",)), seeds=[0])


def test_a_point_has_its_own_value_where_another_default_was_set(setting):
    own = replace(setting, overrides=(*setting.overrides, "method.mu=0.3"))
    (plan,) = plan_sweep(sweep_of(("r-bce",), {"method.mu": (0.1, 0.3)}), own, seeds=[0])
    assert [values(planned, "method.mu") for planned in plan.experiments] == [(0.1,), (0.3,)]
    assert [json.loads(planned.tags["parameters"])["method.mu"] for planned in plan.experiments] == [0.1, 0.3]
    assert [planned.tags["default"] for planned in plan.experiments] == ["false", "true"]


def test_all_else_has_the_papers_values_where_a_dataset_was_tuned(setting, monkeypatch, tmp_path):
    settings = {"method.mu": 0.7, "method.alpha": 0.2, "method.kappa": 0.3, "recipe.learning_rate": 0.05}
    trial = {"outcome": "complete", "validation": {"total": 0.5}, "settings": settings}
    study = {"definition": {"recipe": "digits-smoke", "objective": "total"}, "trials": {"db@tiny": [trial]}}
    (tmp_path / "tiny.json").write_text(json.dumps(study))
    monkeypatch.setattr(catalogue, "TUNED", {"tiny": tmp_path / "tiny.json"})
    monkeypatch.setattr(plan_module, "VALUES", ("voc-mlt", "tiny"))
    sweep, keys = sweep_of(("db",), {"method.mu": (0.3, 0.7)}), ("method.alpha", "method.kappa", "recipe.learning_rate")
    for whose, expected, default in ((None, (0.1, 0.05, 0.2), 0), ("tiny", (0.2, 0.3, 0.05), 1)):
        (plan,) = plan_sweep(sweep, replace(setting, values=whose), seeds=[0])
        assert [values(planned, *keys) for planned in plan.experiments] == [expected] * 2
        assert [planned.tags["default"] for planned in plan.experiments].index("true") == default


def test_every_sweep_has_different_points_that_hold_the_papers_choice(setting):
    for name, sweep in sweeps().items():
        if sweep.variants:
            with pytest.raises(InputError, match=r"compares variants .* 'tiny' has none; known: digits-mlt"):
                plan_sweep(sweep, setting, seeds=[0])
            continue
        (plan,) = plan_sweep(sweep, setting, seeds=[0])
        assert not plan.scores_test
        methods, points, _ = PUBLISHED[name]
        number = points * len(methods.split())
        assert len({planned.tags["trial"] for planned in plan.experiments}) == len(plan.experiments) == number
        defaults = {p.experiment.method.name for p in plan.experiments if p.tags["default"] == "true"}
        # With kappa = 0 no point is the paper's own.
        assert defaults == (set(sweep.methods) if "method.kappa" not in sweep.fixed else defaults)


@pytest.fixture
def variants(own_registrations):
    """Two datasets: 20 images, 10 of them of the largest of two classes; and 50 with 40."""

    def register(name, counts):
        labels = np.repeat(np.eye(2, dtype=np.uint8), counts, axis=0)
        ids = np.arange(len(labels)).astype(str)
        split = Split(images=np.zeros((len(labels), 48, 48, 3), dtype=np.uint8), labels=labels, ids=ids)
        made = Dataset.in_memory(name, ("a", "b"), dict.fromkeys(("train", "validation"), split))
        more = {"summary": "", "source": "", "recipe": "digits-smoke", "backbone": "digits-resnet"}
        register_dataset(DatasetEntry(name=name, open=lambda root: made, **more))

    register("short", (10, 10))
    register("long", (40, 10))
    return {"short": ("long", "short"), "long": ("short", "long")}


@pytest.mark.parametrize(
    ("dataset", "other", "schedule", "fraction"),
    [
        # 2/5 of 10 epochs, and a quarter of 10 visits to the largest class instead of 40.
        ("short", "long", (4, [2, 3]), 0.0625),
        # 5/2 times as many epochs: 12.5 is rounded to the even number.
        ("long", "short", (25, [12, 20]), 1.0),
    ],
)
def test_variants_are_trained_on_as_many_images(setting, variants, dataset, other, schedule, fraction):
    overrides = ("recipe.batch_size=5", "recipe.plain.epochs=10", "plain.decay_after=5,8", "recipe.resampled.epochs=2")
    sweep = sweep_of(("erm", "rs"), {}, variants=variants)
    own = replace(setting, dataset=dataset, overrides=overrides)
    plans = {plan.dataset: plan for plan in plan_sweep(sweep, own, seeds=[0])}
    assert list(plans) == [other, dataset]
    plain, resampled = plans[other].experiments
    found = plain.experiment.training["schedule"]
    assert (found["epochs"], list(found["decay_after"])) == schedule
    assert values(resampled, "method.epoch_fraction") == (fraction,)
    for one, base in zip(plans[other].experiments, plans[dataset].experiments, strict=True):
        assert one.images == base.images
        assert (one.tags["study_dataset"], one.tags["study"]) == (dataset, f"x-{dataset}")
        assert one.experiment.dataset == other
        assert one.tags["trial"].endswith(f"@{other}/0")
    # On the dataset itself nothing is changed.
    assert values(plans[dataset].experiments[1], "method.epoch_fraction") == (0.25,)


def test_a_variant_has_one_epoch_at_least_and_no_decay_where_there_is_none(setting, variants):
    own = replace(setting, dataset="short", overrides=("recipe.plain.epochs=1", "recipe.plain.decay_after=()"))
    variant, _ = plan_sweep(sweep_of(("erm",), {}, variants=variants), own, seeds=[0])
    schedule = variant.experiments[0].experiment.training["schedule"]
    assert (schedule["epochs"], list(schedule["decay_after"])) == (1, [])


def run(method, mu, seed, total, *, study="s", dataset="toy", default="false", **changes):
    tags = {
        "study": study, "sweep": "mu", "study_dataset": "toy", "dataset": dataset, "method": method,
        "parameters": json.dumps({"method.mu": mu, "recipe.batch_size": 8}), "default": default, "purpose": "sweep",
        "outcome": "complete", "experiment_id": f"{method} {mu} {seed} {dataset}",
        "trial": f"{method}@{dataset}/{int(10 * mu)}",
    } | changes  # fmt: skip
    numbers = {"total": total, "head": total + 0.3, "tail": total - 0.1}
    metrics = {f"validation/{name}": score for name, score in numbers.items()}
    metrics |= {f"test/{name}": score / 2 for name, score in numbers.items()}
    return SimpleNamespace(
        data=SimpleNamespace(tags={f"{TAG}{key}": text for key, text in tags.items()}, metrics=metrics)
    )


RUNS = [
    run("r-bce", 0.3, 0, 0.5, default="true"), run("r-bce", 0.1, 0, 0.4), run("r-bce", 0.3, 1, 0.53, default="true"),
    run("r-bce", 0.1, 1, 0.4), run("r-bce", 0.3, 2, 0.56, default="true"),
    # Another study shares a training; what was not finished, or no sweep, is left out.
    run("r-bce", 0.1, 0, 0.4, study="other"), run("r-bce", 0.9, 0, 0.9, outcome="pruned"),
    run("r-bce", 0.9, 1, 0.9, purpose="tune"), run("r-bce", 0.1, 1, 0.4),
]  # fmt: skip


def frame(*runs):
    return sweep_runs(SimpleNamespace(runs_of=lambda kind: {"trial": runs}[kind]))


def test_finished_trainings_of_sweeps_are_read_with_their_validation_scores_in_percent():
    runs = frame(*RUNS)
    assert runs[["study", "parameters", "point"]].shape == (6, 3)
    assert runs.total.tolist() == pytest.approx([50, 40, 53, 40, 56, 40])
    assert runs["head"].tolist() == pytest.approx([80, 70, 83, 70, 86, 70])
    assert runs["tail"].tolist() == pytest.approx([40, 30, 43, 30, 46, 30])
    assert runs.medium.isna().all()
    assert (runs.point.tolist(), runs.study.tolist()) == ([3, 1, 3, 1, 3, 1], ["s"] * 5 + ["other"])
    assert sweep_runs(None).empty


def test_a_table_has_the_mean_and_the_sample_deviation_of_each_point_over_its_seeds():
    (table,) = sweep_tables(frame(*RUNS), "s")
    assert table.title == "r-bce on toy with recipe.batch_size=8"
    assert cells(table) == {
        "mu": ["0.1", "0.3*"], "total": ["40.00 ± 0.00", "53.00 ± 3.00"], "head": ["70.00 ± 0.00", "83.00 ± 3.00"],
        "medium": ["–", "–"], "tail": ["30.00 ± 0.00", "43.00 ± 3.00"], "seeds": ["2", "3"],
    }  # fmt: skip
    (other,) = sweep_tables(frame(*RUNS), "other")
    # A single point varies nothing, a single seed has no deviation.
    assert cells(other) == {"total": ["40.00"], "head": ["70.00"], "medium": ["–"], "tail": ["30.00"], "seeds": ["1"]}
    assert sweep_tables(frame(*RUNS), "nothing") == []


def test_tables_are_in_the_order_of_the_sweeps_variants_and_methods():
    runs = [
        run(method, 0.3, 0, 0.5, dataset=dataset, sweep="imbalance")
        for method in ("db", "erm") for dataset in ("digits-mlt", "digits-mlt-7to1", "digits-mlt-74to1")
    ]  # fmt: skip
    titles = [table.title.partition(" with")[0] for table in sweep_tables(frame(*runs), "s")]
    assert titles == [
        f"{method} on {dataset}"
        for dataset in ("digits-mlt-7to1", "digits-mlt-74to1", "digits-mlt") for method in ("erm", "db")
    ]  # fmt: skip


def test_finished_sweeps_are_listed_with_their_methods_and_trainings():
    more = [run("db", 0.3, 0, 0.5, dataset="toy-7to1"), run("db", 0.3, 0, 0.5, study="t", study_dataset="voc")]
    rows = list(zip(*cells(finished_sweeps_table(frame(*RUNS, *more))).values(), strict=True))
    assert rows == [
        ("other", "mu", "toy", "r-bce", "1"), ("s", "mu", "toy", "db, r-bce", "6"), ("t", "mu", "voc", "db", "1"),
    ]  # fmt: skip
    assert isinstance(frame(), pd.DataFrame)
