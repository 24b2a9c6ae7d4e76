"""The parts of a method: frozen values, checked when made, found by kind, written as plain JSON."""

import math
from collections.abc import Mapping
from dataclasses import field, fields, replace
from numbers import Real
from typing import Any, ClassVar, Self, TypeAlias, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from ..datasets.long_tail.statistics import ClassStatistics
from ..errors import InputError
from .search_space import Range, SearchSpace

# The parts of a method, in the order in which JSON and tables name them.
SLOTS = ("sampler", "weights", "adjustment", "focal", "loss", "head")
# Every kind of part by slot: how an experiment's JSON becomes a method again.
PARTS: dict[str, dict[str, Any]] = {slot: {} for slot in SLOTS}


# Constants of a training set by name.
Arrays: TypeAlias = Mapping[str, NDArray[np.floating[Any]]]


def hyper_parameter(
    default: Any, *, search: Range, allowed: tuple[float, float] | None = None, added: bool = False
) -> Any:
    """Declare a field of a part.

    Its default is the paper's value, VOC-MLT's where datasets differ; `allowed` are the lowest and the highest number.
    A field that was `added` to a part after experiments had ids with it stays out of JSON at its default, which gives
    the numbers of before.
    """
    return field(default=default, metadata={"search": search, "allowed": allowed, "added": added})


class Part:
    """One part of a method: a frozen dataclass whose fields are its hyper-parameters.

    Fields are floats, ints, or `Literal` choices, each declared by `hyper_parameter`. A subclass registers itself:

        class Focal(Part, slot="focal", kind="focal"): ...
    """

    kind: ClassVar[str]
    equation: ClassVar[str] = ""  # in plain text, for people to read
    takes_context: ClassVar[bool] = False  # whether its functions get `context=`, see `Context`

    @property
    def hard_labels_only(self) -> bool:
        """Whether what it computes of a cell depends on other labels of the image, so that none may be soft."""
        return False

    def constants(self, statistics: ClassStatistics, dtype: np.dtype[Any]) -> Arrays:
        """Return arrays of the training set that a loss keeps as buffers; none, where a part knows no training set."""
        return {}

    def __init_subclass__(cls, *, slot: str, kind: str) -> None:
        cls.kind = kind
        taken = PARTS[slot].setdefault(kind, cls)
        if (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
            raise InputError(f"{slot} {kind!r} is {taken.__qualname__} already; choose another kind")

    def __post_init__(self) -> None:
        hints, ranges = get_type_hints(type(self)), self.ranges
        for name, value in self.parameters.items():
            object.__setattr__(self, name, _checked(name, value, hints[name], ranges.get(name)))

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Allowed numbers of each hyper-parameter that is one, as (lowest, highest)."""
        allowed = {field.name: field.metadata["allowed"] for field in fields(self)}  # type: ignore[arg-type]
        return {name: numbers for name, numbers in allowed.items() if numbers is not None}

    @property
    def search_space(self) -> SearchSpace:
        """The range over which each hyper-parameter is tuned."""
        return {field.name: field.metadata["search"] for field in fields(self)}  # type: ignore[arg-type]

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The hyper-parameters by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    def with_parameters(self, **values: Any) -> Self:
        """Return the part with other hyper-parameters.

        Raises:
            InputError: if a value is out of its range.
        """
        return replace(self, **values)  # type: ignore[type-var]

    def as_json(self) -> dict[str, Any]:
        """Return the part as plain JSON: its kind and its hyper-parameters."""
        added = {f.name for f in fields(self) if f.metadata["added"] and getattr(self, f.name) == f.default}  # type: ignore[arg-type]
        return {"kind": self.kind, **{name: value for name, value in self.parameters.items() if name not in added}}


def as_type_of(default: Any, value: Any, name: str) -> Any:
    """Return a value in the type of a default: whole numbers become floats, or tuples of one, nothing else.

    Raises:
        InputError: if it has another type.
    """
    if type(default) is float and type(value) is int:
        return float(value)
    if isinstance(default, tuple) and type(value) is int:
        return (value,)
    if isinstance(default, tuple) and isinstance(value, tuple | list) and all(type(item) is int for item in value):
        return tuple(value)
    if type(value) is not type(default):
        raise InputError(f"{name}={value!r} must be of type {type(default).__name__}, as its default {default!r}")
    return value


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
