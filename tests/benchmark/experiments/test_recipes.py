import math
from dataclasses import replace

import pytest
from mltbench.benchmark.experiments.recipe import (
    DIGITS,
    PAPER,
    RECIPES,
    Augmentation,
    Recipe,
    Schedule,
    get_recipe,
    with_setting,
)
from mltbench.errors import InputError


def test_the_papers_recipe_has_its_values():
    assert PAPER.plain == Schedule(epochs=80, decay_after=(55, 70))
    assert PAPER.resampled == Schedule(epochs=8, decay_after=(5, 7))
    assert (PAPER.batch_size, PAPER.learning_rate, PAPER.momentum, PAPER.weight_decay) == (32, 0.02, 0.9, 1e-4)
    assert (PAPER.clip_norm, PAPER.warmup_iterations, PAPER.warmup_ratio) == (35, 500, 1 / 3)
    assert (PAPER.neck_width, PAPER.dropout, PAPER.image_size) == (256, 0.5, 224)
    assert PAPER.augmentation == Augmentation(
        brightness=32, contrast=0.5, saturation=0.5, hue=18, channel_permutation=True, smallest_crop=0.8, flip=True
    )
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
        ("batch_size", 0, "at least 1"),
        ("batch_size", 1, "at least 2"),
        ("image_size", 0, "at least 1"),
        ("neck_width", -1, "at least 1"),
        ("dropout", 1.0, r"\[0, 1\)"),
        ("learning_rate", 0.0, "above 0"),
        ("learning_rate", -0.1, "above 0"),
        ("plain.epochs", 0, "at least 1 epoch"),
        ("augmentation.smallest_crop", 0.0, r"\(0, 1\]"),
        ("augmentation.smallest_crop", 1.01, r"\(0, 1\]"),
        # Each of these would end in a traceback, or train uphill, only later.
        ("plain.decay_after", (1.5,), "decay_after"),
        ("plain.decay_after", ("a",), "decay_after"),
        *(
            (path, value, path.split(".")[-1])
            for path, values in {
                "learning_rate": (math.inf, math.nan),
                "augmentation.brightness": (math.nan,),
                "clip_norm": (0.0, -35.0),
                "momentum": (-1.0,),
                "weight_decay": (-1.0,),
                "warmup_iterations": (-1,),
            }.items()
            for value in values
        ),
    ],
)
def test_a_setting_that_cannot_be_is_refused(path, value, message):
    with pytest.raises(InputError, match=message):
        with_setting(DIGITS, path, value)


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
