"""A method as a value: the parts in which the rows of Tables 1 and 2 differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from ..errors import InputError, unknown_name
from .adjustments import LabelMargin, LogitAdjustment, NegativeTolerant, SymmetricTolerant
from .focal import Focal
from .heads import Head, LabelGraph, Linear
from .module_loss import ModuleLoss
from .samplers import ClassAware, InstanceBalanced, Sampler
from .search_space import SearchSpace
from .weights import EffectiveNumber, InverseSquareRoot, Rebalanced, Weights

if TYPE_CHECKING:
    from torch import nn

    from ..datasets.long_tail.statistics import ClassStatistics

# Every part that the suite brings, by slot: how an experiment's JSON becomes a method again.
PARTS: dict[str, tuple[type[Any], ...]] = {
    "sampler": (InstanceBalanced, ClassAware),
    "weights": (InverseSquareRoot, EffectiveNumber, Rebalanced),
    "adjustment": (LabelMargin, NegativeTolerant, SymmetricTolerant),
    "focal": (Focal,),
    "loss": (ModuleLoss,),
    "head": (Linear, LabelGraph),
}
# The parts of a method that says nothing about them; frozen, hence safe as defaults.
EVERY_IMAGE = InstanceBalanced()
ONE_LAYER = Linear()
LOSS_SLOTS = ("weights", "adjustment", "focal", "loss")


@dataclass(frozen=True, kw_only=True)
class Method:
    """One row of a table.

    Attributes:
        name: public name, such as `db-focal`.
        title: as tables print it, such as `DB-Focal`.
        summary: one sentence.
        reference: equation or source.
        sampler: which images an epoch shows.
        weights: loss weights, or None.
        adjustment: logit adjustment, or None.
        focal: focal term, or None.
        loss: somebody's own loss module instead of the three parts above, or None.
        head: from features to logits.
        schedule: `plain` (80 epochs in the paper) or `re-sampled` (8 epochs).
    """

    name: str
    title: str
    summary: str
    reference: str
    sampler: Sampler = EVERY_IMAGE
    weights: Weights | None = None
    adjustment: LogitAdjustment | None = None
    focal: Focal | None = None
    loss: ModuleLoss | None = None
    head: Head = ONE_LAYER
    schedule: Literal["plain", "re-sampled"] = "plain"

    @property
    def parameters(self) -> dict[str, Any]:
        """All hyper-parameters of the method's parts, flat."""
        return {name: value for slot in PARTS for name, value in self.parameters_of(slot).items()}

    @property
    def loss_parameters(self) -> dict[str, Any]:
        """The hyper-parameters that the loss alone has."""
        return {name: value for slot in LOSS_SLOTS for name, value in self.parameters_of(slot).items()}

    @property
    def search_space(self) -> SearchSpace:
        """Over what the method's hyper-parameters are searched: the sum of its parts."""
        parts = [getattr(self, slot) for slot in PARTS]
        return {name: found for part in parts if part is not None for name, found in part.search_space.items()}

    def with_parameters(self, **values: Any) -> Method:
        """Return the method with other hyper-parameters.

        Raises:
            InputError: if the method has no such hyper-parameter, or a value is out of its range.
        """
        changes: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            slots = [slot for slot in PARTS if name in self.parameters_of(slot)]
            if not slots:
                raise unknown_name(f"hyper-parameter of {self.name}", name, self.parameters)
            changes.setdefault(slots[0], {})[name] = value
        return replace(self, **{slot: _changed(getattr(self, slot), new) for slot, new in changes.items()})

    def build_loss(self, statistics: ClassStatistics) -> nn.Module:
        """Build the loss: a module with `loss(logits (N, C), labels (N, C)) -> scalar`."""
        if self.loss is not None:
            return self.loss.build(statistics)
        from .loss import ComposedLoss

        return ComposedLoss(statistics, weights=self.weights, adjustment=self.adjustment, focal=self.focal)

    def as_json(self) -> dict[str, Any]:
        """Return what decides the numbers, as plain JSON: parts and schedule, no names."""
        parts = {slot: getattr(self, slot) for slot in PARTS}
        return {slot: part and part.as_json() for slot, part in parts.items()} | {"schedule": self.schedule}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, name: str = "unnamed") -> Method:
        """Rebuild a method from `as_json`."""
        parts = {slot: data[slot] and _part_from_json(slot, data[slot]) for slot in PARTS}
        return cls(name=name, title=name, summary="", reference="", schedule=data["schedule"], **parts)

    def parameters_of(self, slot: str) -> dict[str, Any]:
        """The hyper-parameters of one part, by slot: one of the keys of `PARTS`."""
        part = getattr(self, slot)
        if isinstance(part, ModuleLoss):
            return dict(part.parameters)
        return {field.name: getattr(part, field.name) for field in fields(part)} if part is not None else {}


def _changed(part: Any, values: dict[str, Any]) -> Any:
    return part.with_parameters(**values) if isinstance(part, ModuleLoss) else replace(part, **values)


def _part_from_json(slot: str, data: Mapping[str, Any]) -> Any:
    values = dict(data)
    kind = values.pop("kind")
    for part in PARTS[slot]:
        if part.kind == kind:
            return part(**values)
    raise InputError(f"unknown {slot} {kind!r} in an experiment's JSON; known: {[part.kind for part in PARTS[slot]]}")
