"""Losses as modules: a composition of a logit adjustment, a loss of cells and weights, and losses of whole batches."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..datasets.long_tail.statistics import ClassStatistics, cure_for_label
from ..errors import InputError
from .adjustments import LogitAdjustment
from .context import Context
from .part import Arrays, Part, hyper_parameter
from .search_space import Interval
from .weights import Weights


@runtime_checkable
class CellLoss(Protocol):
    """What may stand in place of the cross-entropy: constants of the training set, and the loss of each cell.

    A part with `takes_context` gets `context=` as well; one with `hard_labels_only` is asked about hard labels alone.
    """

    kind: ClassVar[str]
    takes_context: ClassVar[bool]

    @property
    def hard_labels_only(self) -> bool:
        """Whether a cell's loss depends on other labels of its image, so that none may be soft."""

    def constants(self, statistics: ClassStatistics, dtype: np.dtype[Any]) -> Arrays:
        """Return arrays that the loss keeps as buffers and hands to `cells`."""

    def cells(self, logits: Tensor, labels: Tensor, **constants: Tensor) -> Tensor:
        """Loss of each cell `(N, C)`, before the mean; `labels` `(N, C)` are 0 and 1."""


@runtime_checkable
class WholeLoss(Protocol):
    """What a loss of a whole batch must be, whose value is no mean over cells; `BatchLoss` makes a module of it."""

    kind: ClassVar[str]
    takes_context: ClassVar[bool]

    @property
    def hard_labels_only(self) -> bool:
        """Whether labels must be 0, 1 or unknown."""

    def constants(self, statistics: ClassStatistics, dtype: np.dtype[Any]) -> Arrays:
        """Return arrays that the loss keeps as buffers and hands to `value`; what it remembers is among them."""

    def value(self, logits: Tensor, present: Tensor, absent: Tensor, **buffers: Any) -> Tensor:
        """The loss of a batch: `present` `(N, C)` is 1 where a label is 1, `absent` where it is 0; both 0: unknown.

        What it remembers it changes in the buffers themselves, and only with `remember=True`.
        """


@runtime_checkable
class OwnLoss(Protocol):
    """What a loss of your own must be: a value that builds its module."""

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

    equation: ClassVar[str] = "focal_scale (1 - p_t)^gamma BCE, p_t = exp(-BCE)"

    def modulate(self, loss: Tensor, labels: Tensor) -> Tensor:
        """Focal loss from cross-entropy `(N, C)`: s (1 - p_t)^gamma L, p_t = exp(-L) (Lin et al. 2017; Sec. 4.2).

        p_t comes from the adjusted logit (bias and slope included), the gradient flows through it, and the scale
        multiplies positives and negatives alike, as published.
        """
        # A power below 1 is infinitely steep at 0, where a well-scored cell ends; the smallest float32 keeps it finite.
        return self.focal_scale * (1 - (-loss).exp()).clamp(min=1.2e-38) ** self.gamma * loss


@dataclass(frozen=True, kw_only=True)
class AlphaFocal(Focal, slot="focal", kind="alpha-focal"):
    """Focal loss with another share for positives than for negatives (Lin et al. 2017; torchvision's function).

    The form of the multi-label text losses too (Huang et al. 2021), with a factor of the whole loss in `focal_scale`.

    Attributes:
        focal_alpha: share of positives; negatives have the rest.
    """

    equation: ClassVar[str] = "focal_scale a_t (1 - p_t)^gamma BCE, a_t = focal_alpha on positives, 1 - it on negatives"

    focal_scale: float = hyper_parameter(
        1.0, allowed=(0, 1e3), search=Interval(low=0.5, high=8, scale="log", paper=1.0, tuned=False)
    )
    focal_alpha: float = hyper_parameter(0.25, allowed=(0, 1), search=Interval(low=0.05, high=0.95, paper=0.25))

    def modulate(self, loss: Tensor, labels: Tensor) -> Tensor:
        """Weighted focal loss `(N, C)`: s a_t (1 - p_t)^gamma L."""
        share = labels * self.focal_alpha + (1 - labels) * (1 - self.focal_alpha)
        return share * super().modulate(loss, labels)


class _PartsLoss(nn.Module):
    """What all losses that are made of parts have in common: buffers of their constants, and what labels may be."""

    def __init__(self, statistics: ClassStatistics, parts: Mapping[str, Any], *, counted: bool) -> None:
        super().__init__()
        self.num_classes = statistics.num_classes
        self.parts = {slot: part for slot, part in parts.items() if part is not None}
        self.unchecked = Kinds(soft=not counted, unknown=not counted or not statistics.is_complete)
        # Modules of torch are made in its default type too; in float64 constants lose nothing.
        dtype = np.dtype(np.float64 if torch.get_default_dtype() is torch.float64 else np.float32)
        self._names: dict[str, dict[str, str]] = {}
        for slot, part in self.parts.items():
            found = part.constants(statistics, dtype)
            self._names[slot] = {name: f"{slot}_{name}" for name in found}
            for name, array in found.items():
                self.register_buffer(f"{slot}_{name}", torch.from_numpy(array.astype(dtype, copy=False)))

    @property
    def takes_context(self) -> bool:
        """Whether it must be called as `loss(logits, labels, context)`."""
        return any(part.takes_context for part in self.parts.values())

    def extra_repr(self) -> str:
        """Name the parts with their hyper-parameters."""
        return ", ".join(map(repr, self.parts.values())) or "binary cross-entropy"

    def _given(self, slot: str, context: Context | None) -> dict[str, Any]:
        """What a part is handed besides the batch."""
        given: dict[str, Any] = {name: self.get_buffer(buffer) for name, buffer in self._names[slot].items()}
        if self.parts[slot].takes_context:
            given["context"] = Context() if context is None else context
        return given

    def _batch(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor | None, bool]:
        """Logits in float32 or float64, targets in 0..1, which are known (None: all), and whether some may be soft."""
        require_batch(logits, labels, self.num_classes)
        labels = labels.view(torch.int8) if labels.dtype == torch.uint8 else labels
        seen = kinds_of(labels)
        kinds = seen or self.unchecked
        if seen and seen.soft and (picky := [part for part in self.parts.values() if part.hard_labels_only]):
            raise InputError(
                f"{picky[0]!r} asks which labels an image has, so that none may be soft. Of mixup, mix "
                "the losses: share * loss(logits, one) + (1 - share) * loss(logits, other); else take a method that "
                "weighs by class or not at all"
            )
        logits = logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
        targets = labels.to(logits.dtype)
        if not kinds.unknown:
            return logits, targets, None, kinds.soft
        known = (targets != -1).to(logits.dtype)
        # A logit that does not count may be infinite.
        return logits.where(known > 0, 0), targets * known, known, kinds.soft


class ComposedLoss(_PartsLoss):
    """mean( L(logits', labels) x scale x weights(labels) ), with (logits', scale) = adjust(logits, labels).

    L is the binary cross-entropy, its focal form, or another loss of cells. The mean runs over images and classes.
    Constants of the training set are buffers: `.to(device)` moves them. Inputs are never edited; half-precision logits
    are scored in float32. A non-finite logit gives a non-finite loss: checking for it here would stop the device at
    every step.

    A label of -1 is unknown: its cell costs nothing, has no gradient, and the mean runs over the known cells, as if
    they alone were there; weights of an image are those of its known labels. Without a known cell the loss is 0.

    A soft label y in 0..1 (smoothing, mixup) costs y times the loss of a 1 and 1 - y times that of a 0, as Eq. 5 and 7
    have it. Weights by image, those of `Rebalanced` and of `EffectiveNumber` by default, are of hard labels alone.

    Args:
        statistics: of the training set.
        weights: how much each cell counts.
        adjustment: of the logits.
        focal: the focal term of the cross-entropy.
        loss: a loss of cells in place of the cross-entropy.
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
        loss: CellLoss | None = None,
        counted: bool = False,
    ) -> None:
        super().__init__(
            statistics, {"adjustment": adjustment, "focal": focal, "loss": loss, "weights": weights}, counted=counted
        )
        self.weights, self.adjustment, self.focal, self.cell_loss = weights, adjustment, focal, loss
        self.hard_labels_only = any(part.hard_labels_only for part in self.parts.values())

    def forward(self, logits: Tensor, labels: Tensor, context: Context | None = None) -> Tensor:
        """Mean loss of a batch.

        Args:
            logits: `(N, C)`, any floating type.
            labels: `(N, C)` of 0, 1, -1 for unknown (or 255 in uint8), or soft in 0..1; any type.
            context: how far training has come, for losses with `takes_context`.

        Raises:
            InputError: if the shapes differ, a context is needed and lacking, or (on the CPU, where checking is free) a
                label is none of these, or soft where there are weights by image.
        """
        cells, known = self._cells(logits, labels, context)
        mean = cells.mean()
        return mean if known is None else mean / known.mean().clamp(min=1 / known.numel())

    def elementwise(self, logits: Tensor, labels: Tensor, context: Context | None = None) -> Tensor:
        """Loss of each cell `(N, C)`, before the mean; 0 where the label is unknown."""
        return self._cells(logits, labels, context)[0]

    def _cells(self, logits: Tensor, labels: Tensor, context: Context | None) -> tuple[Tensor, Tensor | None]:
        """Loss of each cell, and which are known as 0 and 1, None if all are."""
        logits, targets, known, soft = self._batch(logits, labels)
        if soft and not self.hard_labels_only:
            one, zero = (self._terms(logits, torch.full_like(targets, value), known, context) for value in (1, 0))
            cells = targets * one + (1 - targets) * zero
        else:
            cells = self._terms(logits, targets, known, context)
            cells = _or_nan(cells, targets) if soft else cells
        return (cells, None) if known is None else (cells * known, known)

    def _terms(self, logits: Tensor, targets: Tensor, known: Tensor | None, context: Context | None) -> Tensor:
        """Loss of each cell of hard targets."""
        scale: Tensor | float = 1.0
        if self.adjustment is not None:
            logits, scale = self.adjustment.adjust(logits, targets, **self._given("adjustment", context))
        if self.cell_loss is not None:
            loss = self.cell_loss.cells(logits, targets, **self._given("loss", context))
        else:
            loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        if self.focal is not None:
            loss = self.focal.modulate(loss, targets)
        if self.weights is not None:
            of_known = {} if known is None else {"known": known}
            loss = loss * self.weights.weigh(targets, **self._given("weights", context), **of_known)
        return loss * scale


class BatchLoss(_PartsLoss):
    """A loss whose value is no mean over cells, such as one that ranks the labels of an image.

    Inputs, labels and buffers are those of `ComposedLoss`; an unknown label takes part in nothing. What the loss
    remembers from batch to batch is in its buffers, and hence in `state_dict`; after `.eval()` it changes no more.

    Args:
        loss: the equation.
        statistics: of the training set.
        counted: as for `ComposedLoss`.
    """

    def __init__(self, loss: WholeLoss, statistics: ClassStatistics, *, counted: bool = False) -> None:
        super().__init__(statistics, {"loss": loss}, counted=counted)
        self.whole = loss

    def forward(self, logits: Tensor, labels: Tensor, context: Context | None = None) -> Tensor:
        """Loss of a batch; arguments and errors as those of `ComposedLoss`."""
        logits, targets, known, soft = self._batch(logits, labels)
        absent = 1 - targets if known is None else known - targets
        value = self.whole.value(logits, targets, absent, remember=self.training, **self._given("loss", context))
        return _or_nan(value, targets) if soft and self.whole.hard_labels_only else value


def _or_nan(values: Tensor, targets: Tensor) -> Tensor:
    """Values that are of hard labels alone, NaN if there are soft ones and nobody has looked yet."""
    return values.where(((targets == 0) | (targets == 1)).all(), math.nan)


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
