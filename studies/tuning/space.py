"""From search spaces to Optuna and back: keys, suggestions, and the settings that a trial trains with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...benchmark.experiments.recipe import Recipe
from ...errors import InputError, unknown_name
from ...methods.method import Method
from ...methods.search_space import Choice, Interval, SearchSpace

if TYPE_CHECKING:
    from optuna import Trial

# Learning rates do not transfer between losses, and ERM has nothing else to tune: every method gets both.
LEARNING_RATE_FACTOR = 5
WEIGHT_DECAY = Interval(low=1e-5, high=1e-2, scale="log")
# Suggestions are trained, shown and repeated with so many digits; the rest moves nothing.
DIGITS = 4


def recipe_space(recipe: Recipe) -> SearchSpace:
    """What of a recipe is tuned with every method: the learning rate around the recipe's own, and weight decay."""
    rate = recipe.learning_rate
    low, high = (float(f"{value:.{DIGITS}g}") for value in (rate / LEARNING_RATE_FACTOR, rate * LEARNING_RATE_FACTOR))
    return {
        "recipe.learning_rate": Interval(low=low, high=high, scale="log", paper=0.02),
        "recipe.weight_decay": WEIGHT_DECAY,
    }


def tuned_space(method: Method, recipe: Recipe, chosen: Sequence[str]) -> SearchSpace:
    """What is searched for a method: the chosen keys, or all that tuning searches by default.

    Raises:
        InputError: if nothing of what was chosen belongs to the method.
    """
    own = {f"method.{key}": searched for key, searched in method.search_space.items()}
    everything = {**own, **recipe_space(recipe)}
    if not chosen:
        return {key: searched for key, searched in everything.items() if searched.tuned}
    return {key: searched for key, searched in everything.items() if key in chosen}


def require_known(chosen: Sequence[str], methods: Sequence[Method], recipe: Recipe) -> None:
    """Check that every chosen key belongs to the space of some method.

    Raises:
        InputError: naming the first that does not.
    """
    known = {f"method.{key}" for method in methods for key in method.search_space} | set(recipe_space(recipe))
    for key in chosen:
        if key not in known:
            raise unknown_name("parameter to search", key, sorted(known))


def defaults_of(method: Method, recipe: Recipe, space: SearchSpace) -> dict[str, Any]:
    """Values of the searched keys as method and recipe have them.

    Raises:
        InputError: if one lies outside of the space.
    """
    found: dict[str, Any] = {}
    for key, searched in space.items():
        room, _, name = key.partition(".")
        found[key] = method.parameters[name] if room == "method" else getattr(recipe, name)
        if found[key] not in searched:
            raise InputError(
                f"{method.name}: the default {key}={found[key]} lies outside of what is searched ({searched.text}); "
                "leave it out with --parameter, or correct the override"
            )
    return found


def suggest(trial: Trial, space: SearchSpace) -> dict[str, Any]:
    """Values of a trial by key, numbers rounded to four digits."""
    found: dict[str, Any] = {}
    for key, searched in space.items():
        if isinstance(searched, Choice):
            found[key] = trial.suggest_categorical(key, searched.options)
            continue
        log = searched.scale == "log"
        if searched.whole:
            found[key] = trial.suggest_int(key, int(searched.low), int(searched.high), log=log)
        else:
            found[key] = rounded(trial.suggest_float(key, searched.low, searched.high, log=log))
    return found


def rounded(value: float) -> float:
    """The value that is trained with."""
    return float(f"{value:.{DIGITS}g}")


def as_overrides(settings: Mapping[str, Any]) -> list[str]:
    """Settings as the command line takes them."""
    return [f"{key}={value}" for key, value in settings.items()]
