"""Overrides from the command line: `method.KEY=VALUE` and `recipe.KEY=VALUE`, strict in both."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from ...errors import InputError, unknown_name
from ...methods.catalogue import list_methods
from ...methods.method import Method
from .recipe import Recipe, with_setting, with_settings

# A comma ends an override where another one follows; other commas are parts of values, such as `decay_after=18,23`.
BETWEEN = re.compile(r",(?=\s*[A-Za-z_][\w.]*\s*=)")


def parse_overrides(overrides: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Read overrides into values of `method` and of `recipe`, by key.

    Raises:
        InputError: if one is not of the form, or nothing has its key.

    >>> parse_overrides(["method.mu=.2", "recipe.plain.decay_after=18,23"])
    {'method': {'mu': 0.2}, 'recipe': {'plain.decay_after': (18, 23)}}
    """
    settings: dict[str, dict[str, Any]] = {"method": {}, "recipe": {}}
    for override in split_overrides(overrides):
        key, _, text = override.partition("=")
        owner, _, name = key.partition(".")
        settings[owner][name] = _parse_value(text)
    return settings


def split_overrides(overrides: Sequence[str]) -> list[str]:
    """Each override alone and with its owner; several may stand in one with commas between, and owners be left out.

    Raises:
        InputError: if one is not of the form, or it is open whose its key is.

    >>> split_overrides(["mu=.2,learning_rate=.1", "recipe.plain.decay_after=18,23"])
    ['method.mu=.2', 'recipe.learning_rate=.1', 'recipe.plain.decay_after=18,23']
    """
    keys = {
        "method": {name for method in list_methods() for name in method.parameters},
        "recipe": {field.name for field in fields(Recipe)},
    }
    found = []
    for override in (one for several in overrides for one in BETWEEN.split(several)):
        key, equals, text = (part.strip() for part in override.partition("="))
        first, dot, rest = key.partition(".")
        owners = [first] if dot and first in keys else [owner for owner, names in keys.items() if first in names]
        if not (equals and first and (rest or not dot)) or (dot and not owners):
            raise InputError(
                f"override {override!r} must read method.KEY=VALUE or recipe.KEY=VALUE, such as method.mu=.2"
            )
        if not owners:
            raise unknown_name("key", key, sorted(set().union(*keys.values())))
        if len(owners) > 1:
            raise InputError(f"override {key!r} may be {' or '.join(f'{owner}.{key}' for owner in owners)}; say which")
        found.append(f"{key if dot and first in keys else f'{owners[0]}.{key}'}={text}")
    return found


def _parse_value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def override_methods(methods: Sequence[Method], values: Mapping[str, Any]) -> list[Method]:
    """Apply each value to the methods that have such a hyper-parameter.

    Raises:
        InputError: if no method has a key, or a value is out of range.
    """
    for name in values:
        if not any(name in method.parameters for method in methods):
            known = sorted({key for method in methods for key in method.parameters})
            raise unknown_name("key", f"method.{name}", [f"method.{key}" for key in known])
    return [
        method.with_parameters(**{name: value for name, value in values.items() if name in method.parameters})
        for method in methods
    ]


def changed_parameters(method: Method, usual: Method, *, first: Iterable[str] = ()) -> dict[str, Any]:
    """Hyper-parameters in which a method is not as usual; those named `first` come first."""
    now, before = method.parameters, usual.parameters
    names = dict.fromkeys([*(name for name in first if name in now), *now])
    return {name: now[name] for name in names if now[name] != before[name]}


def by_dotted_name(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every single value of nested settings.

    >>> dict(by_dotted_name({"batch_size": 32, "schedule": {"epochs": 8}}))
    {'batch_size': 32, 'schedule.epochs': 8}
    """
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from by_dotted_name(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def settings_text(**owners: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings as the command line takes them, such as `recipe.plain.decay_after=18,23`."""
    return tuple(
        f"{owner}.{name}={_as_text(value)}" for owner, values in owners.items() for name, value in values.items()
    )


def _as_text(value: Any) -> str:
    """A value as `parse_overrides` reads it, without spaces."""
    return repr(value).replace(" ", "").strip("()") or "()" if isinstance(value, tuple) else str(value)


def changed_settings(
    recipe: Recipe, usual: Mapping[str, Any], values: Mapping[str, Any], method: Method
) -> dict[str, Any]:
    """Those settings that change what this method is trained with; `usual` and `values` are changes of the recipe."""
    start = with_settings(recipe, usual)
    before = start.resolved(method.schedule, device_type="cpu")
    given = {**{name: getattr(recipe, name) for name in usual}, **values}
    return {
        name: value
        for name, value in given.items()
        if with_setting(start, name, value).resolved(method.schedule, device_type="cpu") != before
    }
