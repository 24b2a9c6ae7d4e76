"""Hyper-parameters of a method's parts: checked when made, listed flat, written as plain JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, fields
from numbers import Real
from typing import Any, ClassVar, get_args, get_type_hints

from ..errors import InputError
from .search_space import SearchSpace


class Part:
    """One part of a method: a frozen dataclass whose fields are its hyper-parameters.

    Fields are floats, ints, or `Literal` choices. A number's range is written beside it in `ranges`, as
    (lowest, highest), both allowed; over what it is tuned, in `search_space`.
    """

    kind: ClassVar[str]
    ranges: ClassVar[dict[str, tuple[float, float]]] = {}
    search_space: ClassVar[SearchSpace] = {}

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):  # type: ignore[arg-type]
            value = _checked(field.name, getattr(self, field.name), hints[field.name], self.ranges.get(field.name))
            object.__setattr__(self, field.name, value)

    def as_json(self) -> dict[str, Any]:
        """Return the part as plain JSON: its kind and its hyper-parameters."""
        return {"kind": self.kind, **asdict(self)}  # type: ignore[call-overload]


def _checked(name: str, value: Any, hint: Any, bounds: tuple[float, float] | None) -> Any:
    if choices := get_args(hint):
        if value not in choices:
            raise InputError(f"{name}={value!r} is not a choice; known: {', '.join(map(repr, choices))}")
        return value
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise InputError(f"{name}={value!r} must be a finite number")
    number = float(value)
    if hint is int and not number.is_integer():
        raise InputError(f"{name}={value!r} must be a whole number")
    low, high = bounds or (-math.inf, math.inf)
    if not low <= number <= high:
        raise InputError(f"{name}={value!r} is out of range; it must lie in [{low:g}, {high:g}]")
    return hint(number)
