from dataclasses import replace

import pytest
from mltbench.benchmark.experiments.overrides import (
    by_dotted_name,
    changed_parameters,
    changed_settings,
    override_methods,
    parse_overrides,
    settings_text,
    split_overrides,
)
from mltbench.benchmark.experiments.recipe import RECIPES
from mltbench.errors import InputError
from mltbench.methods.catalogue import get_method


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("learning_rate=.25", 0.25),
        ("learning_rate = 1e-3 ", 0.001),
        ("batch_size=16", 16),
        ("batch_size=-3", -3),
        ("augmentation.flip=true", True),
        ("augmentation.flip=False", False),
        ("plain.decay_after=3,4", (3, 4)),
        ("plain.decay_after=3,", (3,)),
        ("plain.decay_after=()", ()),
        ("plain.decay_after=[3, 4]", [3, 4]),
        ("precision=bfloat16", "bfloat16"),
        ("precision='float32'", "float32"),
        ("precision=1 +", "1 +"),
        ("precision=a=b", "a=b"),
        ("precision=", ""),
        ("precision=f(1)", "f(1)"),
        ("precision={[]:1}", "{[]:1}"),
        # What Python cannot read for its depth or its length.
        *((f"precision={text}", text) for text in ("(" * 5000, "-" * 3000 + "1", "-" * 100_000 + "1")),
    ],
)
def test_a_value_is_read_as_python_writes_it_and_as_text_otherwise(override, value):
    found = parse_overrides([override])
    name = override.partition("=")[0].strip()
    assert found == {"method": {}, "recipe": {name: value}}
    assert type(found["recipe"][name]) is type(value)


def test_overrides_are_taken_apart_in_their_order_and_the_last_of_a_key_counts():
    given = ["mu=.1,plain.decay_after=3,4, recipe.dropout=0", "method.gamma=1", "mu=.3"]
    assert split_overrides(given) == [
        "method.mu=.1", "recipe.plain.decay_after=3,4", "recipe.dropout=0", "method.gamma=1", "method.mu=.3"
    ]  # fmt: skip
    found = parse_overrides(given)
    assert found == {"method": {"mu": 0.3, "gamma": 1}, "recipe": {"plain.decay_after": (3, 4), "dropout": 0}}
    assert parse_overrides([]) == {"method": {}, "recipe": {}}


def test_a_value_changes_the_methods_that_have_it_and_only_what_differs_is_named():
    methods = [get_method(name) for name in ("rs", "db-focal", "r-bce")]
    given = {"gamma": 1, "mu": 0.3, "alpha": 0.25}
    found = override_methods(methods, given)
    assert found[0] == methods[0]
    assert found[1] == methods[1].with_parameters(gamma=1, alpha=0.25)
    assert found[2].parameters == {**methods[2].parameters, "alpha": 0.25}
    changed = [changed_parameters(*pair, first=given) for pair in zip(found, methods, strict=True)]
    # Its mu is .3.
    assert [list(one.items()) for one in changed] == [[], [("gamma", 1.0), ("alpha", 0.25)], [("alpha", 0.25)]]
    assert override_methods(methods, {}) == methods


def test_a_key_that_no_method_has_is_refused_with_those_that_they_have():
    with pytest.raises(InputError, match=r"unknown key 'method.gama'; did you mean 'method.gamma'"):
        override_methods([get_method("rs"), get_method("focal")], {"gama": 1})


def test_nested_settings_have_dotted_names():
    nested = {"a": 1, "b": {"c": {"d": 2}, "e": [3]}, "f": {}, "g": 4}
    assert list(by_dotted_name(nested)) == [("a", 1), ("b.c.d", 2), ("b.e", [3]), ("g", 4)]


@pytest.mark.parametrize("value", [(18, 23), (3,), (), True, False, 0.1, 1e-05, 3, "bfloat16"])
def test_settings_are_written_as_the_command_line_reads_them(value):
    (text,) = settings_text(recipe={"precision": value})
    assert " " not in text
    assert parse_overrides([text])["recipe"] == {"precision": value}
    several = settings_text(method={"mu": 0.2}, recipe={"plain.decay_after": (18, 23), "dropout": 0.0})
    assert several == ("method.mu=0.2", "recipe.plain.decay_after=18,23", "recipe.dropout=0.0")


def test_of_a_recipes_settings_those_are_named_that_change_what_the_method_is_trained_with():
    given = {
        "plain.epochs": 26,  # as it is
        "plain.decay_after": (3,),
        "resampled.epochs": 9,
        "learning_rate": 0.2,  # as it is
        "dropout": 0.25,
        "precision": "float32",  # what `auto` is on a CPU
        "augmentation.flip": True,
    }
    both = {"dropout": 0.25, "augmentation.flip": True}
    plain, resampled = get_method("erm"), get_method("rs")
    assert changed_settings(RECIPES["digits"], {}, given, plain) == {"plain.decay_after": (3,), **both}
    assert changed_settings(RECIPES["digits"], {}, given, resampled) == {"resampled.epochs": 9, **both}
    bfloat16 = replace(RECIPES["digits"], precision="bfloat16")
    assert changed_settings(bfloat16, {}, {"precision": "auto"}, plain) == {"precision": "auto"}
    # A usual setting that is not asked for is back at the recipe's.
    usual = {"learning_rate": 0.05, "weight_decay": 0.001}
    asked = {"weight_decay": 0.001, "dropout": 0.25}
    assert changed_settings(RECIPES["digits"], usual, asked, plain) == {"learning_rate": 0.2, "dropout": 0.25}
    assert changed_settings(RECIPES["digits"], usual, {**usual, **asked}, plain) == {"dropout": 0.25}
