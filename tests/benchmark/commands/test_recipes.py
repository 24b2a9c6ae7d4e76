import json
from dataclasses import asdict

from mltbench.benchmark.experiments.overrides import by_dotted_name, parse_overrides
from mltbench.benchmark.experiments.recipe import RECIPES


def test_recipes_are_listed_with_the_datasets_that_use_them(call, own_folder):
    rows = {row["name"]: row for row in json.loads(call("recipes", "--json")[1])}
    assert list(rows) == list(RECIPES)
    assert "digits-mlt" in rows["digits"]["datasets"]
    assert {"voc-mlt", "coco-mlt"} <= set(rows["paper"]["datasets"])
    assert all(name in call("recipes")[1] for name in RECIPES)


def test_a_recipe_shows_every_setting_as_override_takes_it(call, own_folder):
    status, shown, _ = call("recipes", "digits")
    assert status == 0
    lines = [line.split() for line in shown.splitlines() if line.startswith("recipe.")]
    overrides = [f"{words[0]}={words[1]}" for words in lines]
    assert parse_overrides(overrides)["recipe"] == dict(by_dotted_name(asdict(RECIPES["digits"])))
    assert {words[0]: words[-1] for words in lines}["recipe.learning_rate"] == "0.02", "the paper's"
    status, _, error = call("recipes", "digit")
    assert (status, "did you mean 'digits'" in error) == (2, True)
