"""Search spaces: over which range a hyper-parameter is tuned, and the value that the paper gives."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from ..errors import InputError


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Numbers from `low` to `high`, both included; on a `log` scale where ratios count.

    >>> Interval(low=1, high=100, scale="log").grid(3)
    (1.0, 10.0, 100.0)
    """

    low: float
    high: float
    scale: Literal["linear", "log"] = "linear"
    whole: bool = False  # whole numbers alone
    paper: float | None = None  # the paper's value, VOC-MLT's where datasets differ; None where it is nowhere published
    tuned: bool = True  # whether tuning searches it by default; its part says why not

    def __post_init__(self) -> None:
        if self.scale not in ("linear", "log"):
            raise InputError(f"scale={self.scale!r} is not a choice; known: 'linear', 'log'")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise InputError(f"a search interval needs finite low < high; got low={self.low!r}, high={self.high!r}")
        if self.scale == "log" and self.low <= 0:
            raise InputError(f"a search interval on a log scale needs low > 0; got low={self.low!r}")

    @property
    def kind(self) -> str:
        """`int` or `float`."""
        return "int" if self.whole else "float"

    @property
    def text(self) -> str:
        """As tables print it."""
        return f"{self.low:g} to {self.high:g}, {self.scale}{', whole' if self.whole else ''}"

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def grid(self, number: int) -> tuple[float, ...]:
        """Evenly spaced values on the interval's scale, both ends included; fewer where whole numbers coincide."""
        low, high, steps = self.low, self.high, [step / (number - 1) for step in range(number)]
        values = [low * (high / low) ** step if self.scale == "log" else low + (high - low) * step for step in steps]
        # Twelve digits: 10.000000000000002 would be another experiment than 10.
        return tuple(dict.fromkeys(round(v) if self.whole else float(f"{v:.12g}") for v in values))

    def as_json(self) -> dict[str, Any]:
        """Return the interval as plain JSON."""
        return {"kind": self.kind, "low": self.low, "high": self.high, "scale": self.scale, "paper": self.paper}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of a few values, without order; `paper` and `tuned` as for an `Interval`."""

    kind: ClassVar[str] = "choice"

    options: tuple[str | float | bool, ...]
    paper: str | float | bool | None = None
    tuned: bool = True

    def __post_init__(self) -> None:
        if len(set(self.options)) < 2:
            raise InputError(f"a choice needs at least two options; got {self.options!r}")

    @property
    def text(self) -> str:
        """As tables print it."""
        return " or ".join(map(str, self.options))

    def __contains__(self, value: object) -> bool:
        return value in self.options

    def grid(self, number: int) -> tuple[str | float | bool, ...]:
        """All options, whatever the number."""
        return self.options

    def as_json(self) -> dict[str, Any]:
        """Return the choice as plain JSON."""
        return {"kind": self.kind, "options": list(self.options), "paper": self.paper}


Range: TypeAlias = Interval | Choice
SearchSpace: TypeAlias = Mapping[str, Range]


def range_from_json(data: Mapping[str, Any]) -> Range:
    """Rebuild a range from its JSON."""
    if data["kind"] == "choice":
        return Choice(options=tuple(data["options"]), paper=data["paper"])
    shared = {name: data[name] for name in ("low", "high", "scale", "paper")}
    return Interval(whole=data["kind"] == "int", **shared)
