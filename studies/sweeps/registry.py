"""Which sweeps exist. A file in `studies/sweeps/` that calls `register_sweep` adds one."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import InputError
from ...methods.search_space import Choice, Interval, Range
from ...registry import NamedEntries

# From this ratio of its ends on, a sweep's axis is logarithmic.
LOGARITHMIC_FROM = 10


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a few settings do, all else being equal.

    Attributes:
        name: as `mltbench study run` takes it.
        summary: one sentence.
        reference: where the paper shows it, or that it does not.
        methods: by name.
        grid: values of each setting, by key such as `method.beta`; empty to compare the methods alone.
        fixed: settings held, by key.
        together: every combination of the grid; False varies one setting at a time, the others at their defaults.
        variants: by dataset, the datasets that are compared in its place; the same training images are taken of each.
    """

    name: str
    summary: str
    reference: str
    methods: tuple[str, ...]
    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    together: bool = True
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def space(self) -> dict[str, Range]:
        """The grid's extent, as Optuna and its plots know it."""
        return {key: _range(values) for key, values in self.grid.items()}

    def points(self, defaults: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
        """Every point of the grid; `defaults` are those of its keys."""
        if self.together:
            return tuple(dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values()))
        points = [{**defaults, key: value} for key, values in self.grid.items() for value in values]
        return tuple(point for i, point in enumerate(points) if point not in points[:i])

    def datasets(self, dataset: str) -> tuple[str, ...]:
        """Datasets that are compared when the sweep is run on one.

        Raises:
            InputError: if the sweep compares variants, and this dataset has none.
        """
        if not self.variants:
            return (dataset,)
        if dataset not in self.variants:
            raise InputError(
                f"sweep {self.name!r} compares variants of a dataset, and {dataset!r} has none; "
                f"known: {', '.join(self.variants)}"
            )
        return self.variants[dataset]


_REGISTERED = NamedEntries[Sweep]("sweep", str(__package__))


def register_sweep(sweep: Sweep) -> Sweep:
    """Add a sweep.

    Raises:
        InputError: if the name is taken.
    """
    return _REGISTERED.add(sweep)


def list_sweeps() -> list[Sweep]:
    """All sweeps, by name."""
    return [sweep for _, sweep in sorted(_REGISTERED.load().items())]


def get_sweep(name: str) -> Sweep:
    """Return one sweep.

    Raises:
        InputError: if there is none of that name.
    """
    return _REGISTERED.get(name)


def _range(values: Sequence[Any]) -> Range:
    if any(isinstance(value, str) for value in values):
        return Choice(options=tuple(values))
    low, high = min(values), max(values)
    whole = all(isinstance(value, int) for value in values)
    log = low > 0 and high / low >= LOGARITHMIC_FROM
    return Interval(low=low, high=high, scale="log" if log else "linear", whole=whole)
