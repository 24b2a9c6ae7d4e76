"""A method as a value: the parts in which the rows of tables differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import nn

from ..datasets.long_tail.statistics import ClassStatistics
from ..errors import InputError, unknown_name
from ..registry import NamedEntries
from .adjustments import LogitAdjustment
from .heads import Head, Linear
from .loss import BatchLoss, CellLoss, ComposedLoss, Focal, OwnLoss, WholeLoss
from .part import PARTS, SLOTS
from .samplers import InstanceBalanced, Sampler
from .search_space import SearchSpace
from .weights import Weights

# The parts of a method that names none; frozen, hence safe as defaults.
EVERY_IMAGE, ONE_LAYER = InstanceBalanced(), Linear()
LOSS_SLOTS = ("weights", "adjustment", "focal", "loss")


@dataclass(frozen=True, kw_only=True)
class Method:
    """One row of a table."""

    name: str  # public name, such as `db-focal`
    title: str  # as tables print it, such as `DB-Focal`
    summary: str
    reference: str  # equation or source
    sampler: Sampler = EVERY_IMAGE
    weights: Weights | None = None
    adjustment: LogitAdjustment | None = None
    focal: Focal | None = None
    # In place of the cross-entropy a loss of cells; or, in place of all four, one of whole batches or your own.
    loss: CellLoss | WholeLoss | OwnLoss | None = None
    head: Head = ONE_LAYER
    schedule: Literal["plain", "re-sampled"] = "plain"  # `plain` (80 epochs in the paper) or `re-sampled` (8 epochs)
    # Settings by recipe that its hyper-parameters were tuned with, such as a learning rate; a label, as the name is.
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        others = [self.focal] if isinstance(self.loss, CellLoss) else [self.weights, self.adjustment, self.focal]
        if self.loss is not None and (beside := [part for part in others if part is not None]):
            raise InputError(f"{self.name}: the loss {self.loss.kind} cannot be combined with {beside[0]!r}")

    @property
    def parts(self) -> dict[str, Any]:
        """The parts that there are, by slot."""
        return {slot: part for slot in SLOTS if (part := getattr(self, slot)) is not None}

    @property
    def parameters(self) -> dict[str, Any]:
        """All hyper-parameters of the method's parts, flat."""
        return {name: value for part in self.parts.values() for name, value in part.parameters.items()}

    @property
    def loss_parameters(self) -> dict[str, Any]:
        """The hyper-parameters of the loss alone."""
        parts = [part for slot, part in self.parts.items() if slot in LOSS_SLOTS]
        return {name: value for part in parts for name, value in part.parameters.items()}

    @property
    def search_space(self) -> SearchSpace:
        """The ranges over which the method's hyper-parameters are searched: the sum of its parts."""
        return {name: found for part in self.parts.values() for name, found in part.search_space.items()}

    def with_parameters(self, **values: Any) -> Method:
        """Return the method with other hyper-parameters.

        Raises:
            InputError: if the method has no such hyper-parameter, or a value is out of its range.
        """
        changes: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            slot = next((slot for slot, part in self.parts.items() if name in part.parameters), None)
            if slot is None:
                raise unknown_name(f"hyper-parameter of {self.name}", name, self.parameters)
            changes.setdefault(slot, {})[name] = value
        return replace(self, **{slot: getattr(self, slot).with_parameters(**new) for slot, new in changes.items()})

    def build_loss(self, statistics: ClassStatistics, *, counted: bool = False) -> nn.Module:
        """Build the loss: a module with `loss(logits (N, C), labels (N, C)) -> scalar`.

        `counted` says that batches will hold the labels that the statistics were counted from; see `ComposedLoss`.
        """
        if isinstance(self.loss, WholeLoss):
            return BatchLoss(self.loss, statistics, counted=counted)
        if isinstance(self.loss, OwnLoss):
            return self.loss.build(statistics)
        return ComposedLoss(
            statistics,
            weights=self.weights,
            adjustment=self.adjustment,
            focal=self.focal,
            loss=self.loss,
            counted=counted,
        )

    def as_json(self) -> dict[str, Any]:
        """Return what decides the numbers, as plain JSON: parts and schedule, no names."""
        parts = self.parts
        return {slot: parts[slot].as_json() if slot in parts else None for slot in SLOTS} | {"schedule": self.schedule}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, name: str = "unnamed") -> Method:
        """Rebuild a method from `as_json`."""
        parts = {slot: data[slot] and _part_from_json(slot, **data[slot]) for slot in SLOTS}
        return cls(name=name, title=name, summary="", reference="", schedule=data["schedule"], **parts)


# Other packages offer modules that register methods under the entry point group `mltbench.methods`.
_SOURCES = f"{__package__}.catalogue", f"{__package__}.plugins"
METHODS = NamedEntries[Method]("method", *_SOURCES, installed="mltbench.methods")


def _part_from_json(slot: str, kind: str, **values: Any) -> Any:
    METHODS.load()
    if kind not in PARTS[slot]:
        raise InputError(f"unknown {slot} {kind!r} in an experiment's JSON; known: {list(PARTS[slot])}")
    return PARTS[slot][kind](**values)
