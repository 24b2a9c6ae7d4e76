"""What a tuning is: its seeds, what it searches from where, and what may not change once it has begun."""

import itertools
import json
import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_studies import made_up_arm, made_up_definition
from mltbench.benchmark.experiments.plan import build_plan
from mltbench.benchmark.networks.initial_weights import BackboneChoice
from mltbench.benchmark.training.check import tiny_dataset
from mltbench.benchmark.training.execution import Execution
from mltbench.datasets.dataset import Dataset, Split
from mltbench.datasets.registry import DatasetEntry, register_dataset
from mltbench.errors import InputError
from mltbench.methods.search_space import Choice, Interval
from mltbench.studies.tuning import definition as module
from mltbench.studies.tuning.definition import (
    Arm,
    Setting,
    StudyDefinition,
    as_overrides,
    as_settings,
    grid_points,
    require_same,
    rounded,
    suggest,
    tuning,
    values_of,
)

OPTIONS = {"objective": "total", "sampler": "tpe", "seeds_per_trial": 1, "parameters": (), "prune": True}
RATE = {"recipe.learning_rate": Interval(low=0.01, high=1.0, scale="log", paper=0.02)}
DECAY = {"recipe.weight_decay": Interval(low=1e-5, high=1e-2, scale="log")}


def tune(setting, methods=("db",), **changes):
    return tuning("t", list(methods), setting, **{**OPTIONS, **changes})


def test_trials_are_trained_on_seeds_that_no_table_has(setting):
    assert tune(setting).seeds == (1000,)
    assert tune(setting, seeds_per_trial=3).seeds == (1000, 1001, 1002)


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_each_sampler_can_be_asked_for(setting, sampler):
    assert tune(setting, sampler=sampler).sampler == sampler


def test_what_a_tuning_is_follows_from_the_dataset_the_methods_and_their_defaults(setting):
    study = tune(setting, ("erm", "r-bce"), objective="both", sampler="random", prune=False)
    erm, rebalanced = study.arms
    assert erm == Arm(
        method="erm", dataset="tiny", dataset_digest=tiny_dataset().digest, fixed=setting.overrides,
        space=RATE | DECAY, defaults={"recipe.learning_rate": 0.2, "recipe.weight_decay": 1e-4}, images=54, epochs=3,
    )  # fmt: skip
    # 18 images and three epochs, against int(11 C / 4) = 16 draws in an epoch.
    assert (rebalanced.images, rebalanced.epochs, rebalanced.name) == (48, 3, "r-bce@tiny")
    assert set(rebalanced.space) == {*rebalanced.defaults}
    assert rebalanced.defaults == {
        "method.alpha": 0.1, "method.beta": 10.0, "method.mu": 0.3, "method.images_per_visit": 3,
        "recipe.learning_rate": 0.2, "recipe.weight_decay": 1e-4,
    }  # fmt: skip
    assert (study.name, study.dataset, study.recipe, study.backbone) == ("t", "tiny", "digits-smoke", "digits-resnet")
    assert (study.objective, study.values, study.sampler, study.prune, study.prunes, study.sampler_seed) == (
        "both", ("total", "tail"), "random", False, False, 0,
    )  # fmt: skip
    assert study.weights == dict.fromkeys(study.weights)
    (planned,) = build_plan(tiny_dataset(), ["erm"], seeds=[0]).experiments
    assert study.weights_digest == planned.weights.digest
    assert study.numerics_version == planned.experiment.numerics_version


@pytest.mark.parametrize(("objective", "values"), [("total", ("total",)), ("tail", ("tail",))])
def test_one_objective_is_maximised_and_may_be_pruned_by(setting, objective, values):
    assert tune(setting, objective=objective).values == values
    assert [tune(setting, objective=objective, prune=prune).prunes for prune in (True, False)] == [True, False]
    assert not tune(setting, objective="both").prunes


def test_an_objective_needs_classes(setting, own_registrations):
    rows = np.repeat(np.eye(2, dtype=np.uint8), 20, axis=0)
    split = Split(images=np.zeros((40, 2, 2, 3), dtype=np.uint8), labels=rows, ids=np.arange(40).astype(str))
    no_tail = Dataset.in_memory("no-tail", ("a", "b"), dict.fromkeys(("train", "validation", "test"), split))
    entry = {"summary": "", "source": "", "recipe": "digits-smoke", "backbone": "digits-resnet"}
    register_dataset(DatasetEntry(name="no-tail", open=lambda root: no_tail, **entry))
    own = replace(setting, dataset="no-tail")
    assert tune(own).values == ("total",)
    for objective in ("tail", "both"):
        with pytest.raises(InputError, match="no-tail has no tail classes; it has: total, medium"):
            tune(own, objective=objective)


def test_named_parameters_alone_are_searched_others_are_held(setting):
    (arm,) = tune(setting, parameters=["method.mu", "recipe.learning_rate"]).arms
    assert set(arm.space) == {"method.mu", "recipe.learning_rate"} == set(arm.defaults)
    own = replace(setting, overrides=("recipe.learning_rate=0.1", "method.mu=0.5", "method.negative_scale=3"))
    first, second = tune(own, ("rs", "db")).arms
    # A method has no use for another's setting.
    assert (first.fixed, second.fixed) == (own.overrides[:1], own.overrides)
    assert (second.defaults["method.mu"], second.defaults["method.negative_scale"]) == (0.5, 3)
    # A twentieth to five times the recipe's rate, with four digits.
    rate = second.space["recipe.learning_rate"]
    assert (rate.low, rate.high, second.defaults["recipe.learning_rate"]) == (0.005, 0.5, 0.1)
    third = tune(replace(setting, overrides=("recipe.learning_rate=0.123456",))).arms[0].space["recipe.learning_rate"]
    assert (third.low, third.high) == (0.006173, 0.6173)
    with pytest.raises(InputError, match=r"the default recipe\.weight_decay=0\.1 lies outside of what is searched"):
        tune(replace(setting, overrides=("recipe.weight_decay=0.1",)))
    with pytest.raises(InputError, match=r"erm has none of method\.mu: there is nothing to search"):
        tune(setting, ("db", "erm"), parameters=["method.mu"])


def test_what_cannot_be_searched_is_an_error(setting):
    for changes, message in (
        ({"objective": "tale"}, "unknown objective 'tale'; did you mean 'tail'"),
        ({"sampler": "bayes"}, "unknown sampler 'bayes'"),
        ({"parameters": ["method.mue"]}, "unknown parameter to search 'method.mue'; did you mean 'method.mu'"),
        ({"parameters": ["method.ldam_margin"], "methods": ("db", "ldam")}, "db has none of method.ldam_margin"),
    ):
        with pytest.raises(InputError, match=message):
            tune(setting, **changes)


def test_a_trials_experiments_have_its_values_and_what_is_held_one_for_each_seed(setting, settings):
    study = tune(setting, ("erm", "db"), seeds_per_trial=2)
    values = {"method.mu": 0.7, "recipe.learning_rate": 0.05}
    planned = study.experiments(study.arms[1], values, settings)
    assert [(item.experiment.method.name, item.experiment.seed) for item in planned] == [("db", 1000), ("db", 1001)]
    for item in planned:
        assert (item.recipe, item.experiment.training["batch_size"]) == ("digits-smoke", 8)
        assert values_of(values, item) == values
        assert item.experiment.training["schedule"]["epochs"] == 3
        assert item.experiment.dataset == "tiny"
    defaults = study.experiments(study.arms[1], study.arms[1].defaults, settings)
    bare = study.experiments(study.arms[1], {}, settings)
    assert [item.experiment.id for item in defaults] == [item.experiment.id for item in bare]
    assert {item.experiment.id for item in defaults}.isdisjoint(item.experiment.id for item in planned)
    # What is searched from another default than the method's own is what the trial says.
    arm = replace(study.arms[1], fixed=(*study.arms[1].fixed, "method.mu=0.5"))
    assert [values_of(values, item) for item in study.experiments(arm, values, settings)] == [values, values]


def test_the_settings_of_a_study_reach_its_experiments(setting, monkeypatch, tmp_path):
    given = {}
    monkeypatch.setattr(module, "build_plan", lambda dataset, methods, **more: given.update(more) or build_plan(
        dataset, methods, seeds=more["seeds"], recipe=more["recipe"]
    ))  # fmt: skip
    own = replace(setting, recipe="digits", backbone=BackboneChoice(backbone="resnet50"), values="coco-mlt")
    own = replace(
        own, settings=replace(own.settings, execution=Execution(device="cuda:1"), word_vectors=Path("vectors"))
    )
    opened = []
    monkeypatch.setattr(
        module, "open_dataset", lambda name, *, data_root: opened.append((name, data_root)) or tiny_dataset()
    )
    own.experiments(["erm"], overrides=[], seeds=[5], dataset="a variant")
    own.experiments(["erm"], overrides=["method.mu=1"], seeds=[5])
    assert opened == [("a variant", own.settings.data_root), ("tiny", own.settings.data_root)]
    assert given == {
        "seeds": [5], "recipe": "digits", "backbone": own.backbone, "overrides": ["method.mu=1"],
        "values": "coco-mlt", "device_type": "cuda", "word_vectors": Path("vectors"),
    }  # fmt: skip
    setting.experiments(["erm"], overrides=[], seeds=[5])
    assert (given["recipe"], given["device_type"]) == ("digits-smoke", "cpu")
    study = tune(replace(setting, recipe="digits", values="coco-mlt"))
    study = replace(study, weights={"backbone": "resnet50", "weights": "random"})
    study.experiments(study.arms[0], {"method.mu": 0.2}, setting.settings)
    assert (given["recipe"], given["seeds"], given["values"]) == ("digits", (1000,), "coco-mlt")
    assert given["backbone"] == BackboneChoice(backbone="resnet50", weights="random")


def test_a_study_needs_a_validation_split(setting, own_registrations):
    tiny = tiny_dataset()
    splits = {name: tiny.split(name) for name in ("train", "test")}
    alone = Dataset.in_memory("alone", tiny.classes, splits)
    entry = {"summary": "", "source": "", "recipe": "digits-smoke", "backbone": "digits-resnet"}
    register_dataset(DatasetEntry(name="alone", open=lambda root: alone, **entry))
    with pytest.raises(InputError, match="validation"):
        tune(replace(setting, dataset="alone"))


def test_a_definition_is_the_same_after_a_way_through_json(setting):
    study = tune(setting, ("erm", "db", "nt-bce"), seeds_per_trial=2, parameters=())
    choice = replace(study.arms[1], space={"method.nu": Choice(options=("published", "paper"), paper="paper")})
    whole = replace(study.arms[0], space={"method.n": Interval(low=1, high=9, whole=True)})
    for definition in (study, replace(study, arms=(choice, whole), weights={"backbone": "resnet50"}, sampler_seed=7)):
        assert StudyDefinition.from_json(json.loads(json.dumps(definition.as_json()))) == definition
    assert StudyDefinition.from_json(study.as_json() | {"purpose": "tune", "sweep": ""}) == study


CHANGED = {
    "name": "u", "dataset": "other", "recipe": "paper", "backbone": "resnet50", "weights_digest": "x",
    "numerics_version": 2, "objective": "tail", "sampler": "grid", "sampler_seed": 1, "prune": False,
    "defaults_of": "voc-mlt",
    "seeds": (1000,), "arms": (made_up_arm("erm"), made_up_arm()),
}  # fmt: skip
CHANGED_ARM = {
    "method": "erm", "dataset": "other", "dataset_digest": "x", "fixed": ("method.kappa=0",),
    "space": {"method.mu": Interval(low=0, high=2)}, "defaults": {"method.mu": 0.4}, "images": 99, "epochs": 9,
}  # fmt: skip


def test_every_difference_of_a_definition_is_refused_but_the_place_of_its_weights():
    before = made_up_definition()
    require_same(before, made_up_definition(weights={"file": "elsewhere"}))
    assert {field.name for field in fields(StudyDefinition)} == {*CHANGED, "weights"}
    assert {field.name for field in fields(Arm)} == set(CHANGED_ARM)
    others = [replace(before, **{name: value}) for name, value in CHANGED.items()]
    others += [made_up_definition(made_up_arm(**{name: value})) for name, value in CHANGED_ARM.items()]
    for other in others:
        for one, two in ((before, other), (other, before)):
            with pytest.raises(InputError, match="exists with another definition"):
                require_same(one, two)
    with pytest.raises(InputError) as raised:
        require_same(before, replace(before, objective="tail", prune=False, recipe="paper", sampler="grid"))
    assert (
        "objective was total, now is tail; prune was True, now is False; recipe was digits, now is paper; ..."
        in str(raised.value)
    )


SPACES = st.dictionaries(
    st.sampled_from(["method.a", "method.b", "method.c"]),
    st.integers(2, 4).map(lambda number: Choice(options=tuple(range(number)))),
    min_size=1,
)


@settings(deadline=None)
@given(SPACES, st.integers(0, 80), st.integers(0, 3))
def test_a_grid_is_drawn_from_all_combinations_each_once(space, number, seed):
    points = grid_points(space, number, seed)
    every = [
        dict(zip(space, values, strict=True)) for values in itertools.product(*(s.options for s in space.values()))
    ]
    assert len(points) == min(number, len(every))
    assert all(point in every for point in points)
    assert len({tuple(point.items()) for point in points}) == len(points)
    assert points == grid_points(space, number, seed)


def test_numbers_of_a_grid_have_three_steps_and_its_order_is_that_of_a_seed():
    space = {"a": Interval(low=1, high=100, scale="log"), "b": Interval(low=0, high=3), "c": Choice(options=("x", "y"))}
    points = grid_points(space, 99, 0)
    values = {key: {point[key] for point in points} for key in space}
    assert values == {"a": {1, 10, 100}, "b": {0, 1.5, 3}, "c": {"x", "y"}}
    orders = {tuple(map(str, grid_points(space, 99, seed))) for seed in range(5)}
    assert len(orders) == 5


def test_suggestions_are_drawn_from_the_range_of_each_setting_with_four_digits():
    space = {
        "a": Interval(low=0.001, high=1, scale="log"), "b": Interval(low=-1, high=1), "c": Choice(options=("x", "y")),
        "d": Interval(low=1, high=64, scale="log", whole=True), "e": Interval(low=2, high=5, whole=True),
    }  # fmt: skip
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    found = suggest(trial, space)
    assert trial.distributions == {
        "a": optuna.distributions.FloatDistribution(0.001, 1, log=True),
        "b": optuna.distributions.FloatDistribution(-1, 1),
        "c": optuna.distributions.CategoricalDistribution(("x", "y")),
        "d": optuna.distributions.IntDistribution(1, 64, log=True),
        "e": optuna.distributions.IntDistribution(2, 5),
    }
    for key in "ab":
        assert found[key] != trial.params[key]
        assert found[key] == pytest.approx(trial.params[key], rel=5e-4)
    assert [found[key] for key in "cde"] == [trial.params[key] for key in "cde"]


@pytest.mark.parametrize(
    ("value", "kept"),
    [(0.123456, 0.1235), (1234567.0, 1235000.0), (2.00049e-05, 2e-05), (-0.99996, -1), (0.3, 0.3), (0, 0)],
)
def test_numbers_are_kept_with_four_digits(value, kept):
    assert rounded(value) == kept
    assert rounded(rounded(value)) == rounded(value)


@settings(deadline=None)
@given(st.floats(1e-8, 1e8))
def test_rounding_moves_a_number_by_half_a_unit_of_the_fourth_digit_at_most(value):
    unit = 10.0 ** (math.floor(math.log10(value)) - 3)
    assert abs(rounded(value) - value) <= unit * 0.5001


def test_settings_are_overrides_and_back():
    settings = {"method.mu": 0.2, "method.nu": "paper", "recipe.batch_size": 8, "recipe.plain.epochs": 3}
    overrides = ["method.mu=0.2", "method.nu=paper", "recipe.batch_size=8", "recipe.plain.epochs=3"]
    assert as_overrides(settings) == overrides
    assert as_settings(overrides) == settings
    assert as_settings(["mu=0.2,nu=paper", *overrides[2:]]) == settings


def test_values_are_those_of_an_experiment(setting):
    (planned,) = setting.experiments(["db"], overrides=["method.mu=0.6", "recipe.batch_size=4"], seeds=[1])
    keys = ("recipe.batch_size", "method.mu", "method.beta", "recipe.learning_rate")
    assert list(values_of(keys, planned).items()) == list(zip(keys, (4, 0.6, 10.0, 0.2), strict=True))
    assert values_of((), planned) == {}


def test_held_settings_are_those_that_a_method_has(setting):
    own = Setting(dataset="tiny", settings=setting.settings, overrides=("mu=0.2,batch_size=8", "recipe.plain.epochs=3"))
    assert own.fixed("db") == ["method.mu=0.2", "recipe.batch_size=8", "recipe.plain.epochs=3"]
    assert own.fixed("erm") == ["recipe.batch_size=8", "recipe.plain.epochs=3"]
