import math
from dataclasses import asdict, replace

import pytest
from mltbench.benchmark.experiments.recipe import (
    DIGITS,
    PAPER,
    RECIPES,
    Recipe,
    Schedule,
    get_recipe,
    with_setting,
)
from mltbench.errors import InputError


def schedules(plain, plain_decay, resampled, resampled_decay):
    return {
        "plain": {"epochs": plain, "decay_after": plain_decay},
        "resampled": {"epochs": resampled, "decay_after": resampled_decay},
    }


# Sec. 4.2 of the paper and its published configuration.
COLOURS = {"brightness": 32, "contrast": 0.5, "saturation": 0.5, "hue": 18, "channel_permutation": True}
OF_THE_PAPER = {
    **schedules(80, (55, 70), 8, (5, 7)),
    "batch_size": 32,
    "learning_rate": 0.02,
    "momentum": 0.9,
    "weight_decay": 0.0001,
    "clip_norm": 35,
    "warmup_iterations": 500,
    "warmup_ratio": 1 / 3,
    "decay_factor": 0.1,
    "neck_width": 256,
    "dropout": 0.5,
    "image_size": 224,
    "precision": "auto",
    "augmentation": {**COLOURS, "smallest_crop": 0.8, "flip": True},
}
# A digit that is mirrored is another one, and so is one of another ink.
OF_DIGITS = {
    "image_size": 48,
    "augmentation": {
        "brightness": 32, "contrast": 0.5, "saturation": 0, "hue": 0, "channel_permutation": False,
        "smallest_crop": 0.8, "flip": False,
    },
}  # fmt: skip
SHORT = {**OF_DIGITS, "learning_rate": 0.2, "warmup_iterations": 250}
VALUES = {
    "paper": {},
    "digits": {**SHORT, **schedules(26, (18, 23), 8, (5, 7))},
    "photos-short": {
        **schedules(8, (5, 7), 3, (2,)), "learning_rate": 0.005, "warmup_iterations": 50, "image_size": 160,
    },
    "digits-paper": OF_DIGITS,
    "digits-smoke": {**SHORT, **schedules(2, (), 1, ())},
}  # fmt: skip


def test_every_recipe_has_its_published_values():
    """All of them, so that a new field needs its value here."""
    assert {name: asdict(recipe) for name, recipe in RECIPES.items()} == {
        name: OF_THE_PAPER | differences for name, differences in VALUES.items()
    }
    assert Recipe() == PAPER
    assert PAPER.plain.shortened(3) == Schedule(epochs=26, decay_after=(18, 23))


@pytest.mark.parametrize(
    ("path", "value", "kept"),
    [
        ("learning_rate", 1, 1.0),
        ("plain.epochs", 10, 10),
        ("plain.decay_after", 5, (5,)),
        ("resampled.decay_after", [3, 4], (3, 4)),
        ("plain.decay_after", (), ()),
        ("augmentation.flip", True, True),
        ("augmentation.hue", 3, 3.0),
        ("precision", "bfloat16", "bfloat16"),
    ],
)
def test_a_setting_is_changed_alone(path, value, kept):
    changed = with_setting(DIGITS, path, value)
    current, other = changed, DIGITS
    for name in path.split("."):
        current, other = getattr(current, name), getattr(other, name)
    assert current == kept
    assert type(current) is type(other)
    assert with_setting(changed, path, other) == DIGITS


@pytest.mark.parametrize("name", ["saturation", "hue", "brightness"])
def test_a_fraction_is_taken_where_a_recipe_says_0_and_an_equal_value_changes_nothing(name):
    path, own = f"augmentation.{name}", getattr(DIGITS.augmentation, name)
    assert getattr(with_setting(DIGITS, path, 0.25).augmentation, name) == 0.25
    assert with_setting(DIGITS, path, float(own)) is DIGITS


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("lerning_rate", 0.1, "did you mean 'recipe.learning_rate'"),
        ("augmentation.flipp", True, "did you mean 'recipe.augmentation.flip'"),
        ("plain", 3, r"recipe\.plain\.epochs"),
        ("learning_rate.x", 1, "unknown key 'recipe.learning_rate.x'"),
        ("", 1, "unknown key"),
        ("batch_size", 2.5, "must be of type int"),
        ("batch_size", True, "must be of type int"),
        ("learning_rate", "fast", "must be of type float"),
        ("learning_rate", True, "must be of type float"),
        ("augmentation.flip", 1, "must be of type bool"),
        ("plain.decay_after", "5", "must be of type tuple"),
        ("precision", 16, "must be of type str"),
        ("precision", "half", "known: auto, float32, bfloat16"),
        ("batch_size", 1, "at least 2"),
        ("neck_width", -1, "at least 1"),
        ("learning_rate", 0.0, "above 0"),
        ("augmentation.smallest_crop", 0.0, r"\(0, 1\]"),
        # Each of these would end in a traceback, or train uphill, only later.
        ("plain.decay_after", (1.5,), "decay_after"),
        ("plain.decay_after", ("a",), "decay_after"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(path, value, message):
    with pytest.raises(InputError, match=message):
        with_setting(DIGITS, path, value)


# Of every number of a recipe: the least that is allowed, or above which it must lie.
LEAST = {"batch_size": 2, "neck_width": 1, "image_size": 1, "plain.epochs": 1, "resampled.epochs": 1}
LEAST |= dict.fromkeys(["momentum", "weight_decay", "warmup_iterations", "warmup_ratio", "decay_factor", "dropout"], 0)
LEAST |= {f"augmentation.{name}": 0 for name in ("brightness", "contrast", "saturation", "hue")}
ABOVE = {"learning_rate": 0, "clip_norm": 0, "augmentation.smallest_crop": 0}


def with_value(path, value):
    return with_setting(PAPER, path, value)


@pytest.mark.parametrize("path", [*LEAST, *ABOVE])
def test_every_number_has_its_bound(path):
    least, whole = LEAST.get(path, ABOVE.get(path)), "epochs" in path or path.endswith(("iterations", "size", "width"))
    step = 1 if whole else 1e-9
    allowed, refused = (least, least - step) if path in LEAST else (least + step, least)
    assert with_value(path, allowed) != PAPER
    for value in [refused, *([] if whole else [math.nan, math.inf])]:
        with pytest.raises(InputError, match=path.split(".")[-1].replace("epochs", "at least 1 epoch")):
            with_value(path, value)


def test_shares_end_at_one():
    assert with_value("dropout", 0.999).dropout == 0.999
    assert with_value("augmentation.smallest_crop", 1.0).augmentation.smallest_crop == 1
    assert with_value("plain.decay_after", (0, 90)).plain.decay_after == (0, 90)
    for path, value in [("dropout", 1.0), ("augmentation.smallest_crop", 1.001), ("plain.decay_after", (3, -1))]:
        with pytest.raises(InputError, match=path.split(".")[-1]):
            with_value(path, value)


def test_an_unknown_recipe_is_named_with_the_known_ones():
    with pytest.raises(InputError, match=r"unknown recipe 'digit'; did you mean 'digits'\? known: .*paper"):
        get_recipe("digit")
    assert all(get_recipe(name) is recipe for name, recipe in RECIPES.items())


@pytest.mark.parametrize(
    ("precision", "device", "resolved"),
    [
        ("auto", "cpu", "float32"),
        ("auto", "cuda", "bfloat16"),
        ("float32", "cuda", "float32"),
        ("bfloat16", "cpu", "bfloat16"),
    ],
)
def test_resolving_fixes_one_schedule_and_one_precision(precision, device, resolved):
    recipe = replace(Recipe(), precision=precision)
    plain, resampled = recipe.resolved("plain", device_type=device), recipe.resolved("re-sampled", device_type=device)
    assert plain["precision"] == resampled["precision"] == resolved
    assert (plain["schedule"]["epochs"], resampled["schedule"]["epochs"]) == (80, 8)
    assert {key for key in plain if plain[key] != resampled[key]} == {"schedule"}
    assert not {"plain", "resampled"} & set(plain)
