"""The loss of every method of the paper: one composition of a logit adjustment, a focal term and weights."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..datasets.long_tail.statistics import ClassStatistics, cure_for_label
from ..errors import InputError
from .adjustments import LogitAdjustment
from .part import Part, hyper_parameter
from .search_space import Interval
from .weights import Weights


class OwnLoss(Protocol):
    """What a loss must be that is no composition of the parts below: a value that builds its module."""

    kind: ClassVar[str]

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The hyper-parameters by name."""

    def build(self, statistics: ClassStatistics) -> nn.Module:
        """Build a module with `loss(logits (N, C), labels (N, C)) -> scalar`."""


@dataclass(frozen=True, kw_only=True)
class Focal(Part, slot="focal", kind="focal"):
    """Focal loss: easy cells count less.

    Attributes:
        focal_scale: the paper's "balance parameter of 2"; not tuned, since it scales the whole loss as the learning
            rate does.
    """

    gamma: float = hyper_parameter(2.0, allowed=(0, 20), search=Interval(low=0, high=5, paper=2.0))  # focusing exponent
    focal_scale: float = hyper_parameter(
        2.0, allowed=(0, 1e3), search=Interval(low=0.5, high=8, scale="log", paper=2.0, tuned=False)
    )

    def modulate(self, loss: Tensor) -> Tensor:
        """Focal loss from cross-entropy `(N, C)`: s (1 - p_t)^gamma L, p_t = exp(-L) (Lin et al. 2017; Sec. 4.2).

        p_t comes from the adjusted logit (bias and slope included), the gradient flows through it, and the scale
        multiplies positives and negatives alike, as published.
        """
        # A power below 1 is infinitely steep at 0, where a well-scored cell ends; the smallest float32 keeps it finite.
        return self.focal_scale * (1 - (-loss).exp()).clamp(min=1.2e-38) ** self.gamma * loss


class ComposedLoss(nn.Module):
    """mean( focal( BCE(logits', labels) ) x scale x weights(labels) ), with (logits', scale) = adjust(logits, labels).

    The mean runs over images and classes. Constants of the training set are buffers: `.to(device)` moves them. Inputs
    are never edited; half-precision logits are scored in float32. A non-finite logit gives a non-finite loss: checking
    for it here would stop the device at every step.

    A label of -1 is unknown: its cell costs nothing, has no gradient, and the mean runs over the known cells, as if
    they alone were there; weights of an image are those of its known labels. Without a known cell the loss is 0.

    A soft label y in 0..1 (smoothing, mixup) costs y times the loss of a 1 and 1 - y times that of a 0, as Eq. 5 and 7
    have it. Weights by image, those of `Rebalanced` and of `EffectiveNumber` by default, are of hard labels alone.

    Args:
        statistics: of the training set.
        weights: how much each cell counts.
        adjustment: of the logits.
        focal: the focal term.
        counted: batches hold labels that `statistics` were counted from: hard, and none unknown unless some were. On a
            GPU, which is never asked, all labels are else taken as if they were soft and some unknown.

    Example:
        >>> import mltbench
        >>> statistics = mltbench.ClassStatistics.from_counts([90, 10], 95)
        >>> loss = mltbench.create_loss("erm", statistics)
        >>> round(loss(torch.zeros(1, 2), torch.tensor([[1, -1]])).item(), 4)
        0.6931
    """

    def __init__(
        self,
        statistics: ClassStatistics,
        *,
        weights: Weights | None = None,
        adjustment: LogitAdjustment | None = None,
        focal: Focal | None = None,
        counted: bool = False,
    ) -> None:
        super().__init__()
        self.num_classes = statistics.num_classes
        self.weights, self.adjustment, self.focal = weights, adjustment, focal
        self.unchecked = Kinds(soft=not counted, unknown=not counted or not statistics.is_complete)
        self._weight_constants = self._keep("weights", weights, statistics)
        self._adjustment_constants = self._keep("adjustment", adjustment, statistics)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of a batch.

        Args:
            logits: `(N, C)`, any floating type.
            labels: `(N, C)` of 0, 1, -1 for unknown (or 255 in uint8), or soft in 0..1; any type.

        Raises:
            InputError: if the shapes differ, or (on the CPU, where checking is free) a label is none of these, or soft
                where there are weights by image.
        """
        cells, known = self._cells(logits, labels)
        mean = cells.mean()
        return mean if known is None else mean / known.mean().clamp(min=1 / known.numel())

    def elementwise(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of each cell `(N, C)`, before the mean; 0 where the label is unknown."""
        return self._cells(logits, labels)[0]

    def _cells(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Loss of each cell, and which are known as 0 and 1, None if all are."""
        require_batch(logits, labels, self.num_classes)
        labels = labels.view(torch.int8) if labels.dtype == torch.uint8 else labels
        kinds = kinds_of(labels) or self.unchecked
        logits = logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
        targets, known, weights = labels.to(logits.dtype), None, None
        if kinds.unknown:
            known = (targets != -1).to(logits.dtype)
            # A logit that does not count may be infinite.
            logits, targets = logits.where(known > 0, 0), targets * known
        if self.weights is not None:
            constants = self._buffers_of(self._weight_constants)
            weights = self.weights.weigh(targets, **constants, **({} if known is None else {"known": known}))
            if kinds.soft and weights.ndim > 1:
                weights = self._require_hard(targets, weights, checked=kinds is not self.unchecked)
        if kinds.soft:
            one, zero = (self._terms(logits, torch.full_like(targets, value), weights) for value in (1, 0))
            cells = targets * one + (1 - targets) * zero
        else:
            cells = self._terms(logits, targets, weights)
        return (cells, None) if known is None else (cells * known, known)

    def _terms(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """Loss of each cell of hard targets."""
        scale: Tensor | float = 1.0
        if self.adjustment is not None:
            logits, scale = self.adjustment.adjust(logits, targets, **self._buffers_of(self._adjustment_constants))
        loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        if self.focal is not None:
            loss = self.focal.modulate(loss)
        if weights is not None:
            loss = loss * weights
        return loss * scale

    def _require_hard(self, targets: Tensor, weights: Tensor, *, checked: bool) -> Tensor:
        """Weights by image, NaN if there are soft labels and nobody has looked yet."""
        if checked:
            raise InputError(
                f"{self.weights!r} weighs an image by the labels that it has, so that none may be soft. Of mixup, mix "
                "the losses: share * loss(logits, one) + (1 - share) * loss(logits, other); else take a method that "
                "weighs by class or not at all"
            )
        return weights.where(((targets == 0) | (targets == 1)).all(), math.nan)

    def extra_repr(self) -> str:
        """Name the parts with their hyper-parameters."""
        parts = [part for part in (self.adjustment, self.focal, self.weights) if part is not None]
        return ", ".join(map(repr, parts)) or "binary cross-entropy"

    def _keep(self, prefix: str, part: Weights | LogitAdjustment | None, statistics: ClassStatistics) -> dict[str, str]:
        names = {}
        for name, array in (part.constants(statistics) if part is not None else {}).items():
            names[name] = f"{prefix}_{name}"
            self.register_buffer(names[name], torch.from_numpy(array))
        return names

    def _buffers_of(self, names: dict[str, str]) -> dict[str, Tensor]:
        return {name: self.get_buffer(buffer) for name, buffer in names.items()}


class Kinds(NamedTuple):
    """Which kinds of labels a batch may hold besides 0 and 1."""

    soft: bool
    unknown: bool


def require_batch(logits: object, labels: object, num_classes: int) -> None:
    """Raise InputError unless a batch is tensors (images, classes) of one shape, of which the logits are floating."""
    if not isinstance(logits, Tensor) or not isinstance(labels, Tensor):
        got = " and ".join(type(given).__name__ for given in (logits, labels))
        raise InputError(f"logits and labels must be tensors; got {got}. torch.as_tensor(labels) makes one")
    if logits.ndim != 2 or logits.shape != labels.shape or logits.shape[1] != num_classes:
        indices = labels.ndim == 1 and len(labels) == len(logits)
        cure = f". Of class indices, torch.nn.functional.one_hot(labels, {num_classes}) makes labels" if indices else ""
        raise InputError(
            f"logits and labels must both be (images, {num_classes}); "
            f"got {tuple(logits.shape)} and {tuple(labels.shape)}{cure}"
        )
    if not len(logits):
        raise InputError("the batch is empty: there is nothing to average")
    if not logits.is_floating_point():
        raise InputError(f"logits must be floating; got {logits.dtype}. In this order: loss(logits, labels)")


def kinds_of(labels: Tensor) -> Kinds | None:
    """What labels hold; None where that is not looked at: off the CPU, and while `torch.compile` looks at the code.

    Raises:
        InputError: if a label is neither in 0..1 nor -1.
    """
    tracing = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    if tracing or labels.device.type != "cpu":
        return None
    rest = (labels != 0) & (labels != 1)
    if not bool(rest.any()):
        return Kinds(soft=False, unknown=False)
    others = labels[rest]
    others = others[others != -1]
    if bool((wrong := ~((others > 0) & (others < 1))).any()):
        found = others[wrong][0].item()
        cure = cure_for_label(found)
        if not float(found).is_integer() and math.isfinite(found):
            cure = "In this order: loss(logits, labels)"
        raise InputError(f"labels must be in 0..1, or -1 (unknown); found {found:g}. {cure}")
    return Kinds(soft=len(others) > 0, unknown=len(others) < int(rest.sum()))
