"""The loss of every method of the paper: one composition of a logit adjustment, a focal term and weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..datasets.long_tail.statistics import ClassStatistics
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

    Example:
        >>> import mltbench
        >>> statistics = mltbench.ClassStatistics.from_counts([90, 10], 95)
        >>> loss = mltbench.create_loss("erm", statistics)
        >>> round(loss(torch.zeros(1, 2), torch.tensor([[1, 0]])).item(), 4)
        0.6931
    """

    def __init__(
        self,
        statistics: ClassStatistics,
        *,
        weights: Weights | None = None,
        adjustment: LogitAdjustment | None = None,
        focal: Focal | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = statistics.num_classes
        self.weights, self.adjustment, self.focal = weights, adjustment, focal
        self._weight_constants = self._keep("weights", weights, statistics)
        self._adjustment_constants = self._keep("adjustment", adjustment, statistics)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of a batch.

        Args:
            logits: `(N, C)`, any floating type.
            labels: `(N, C)` of 0/1, any type.

        Raises:
            InputError: if the shapes differ, or (on the CPU, where checking is free) a label is not 0 or 1.
        """
        return self.elementwise(logits, labels).mean()

    def elementwise(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of each cell `(N, C)`, before the mean."""
        require_batch(logits, labels, self.num_classes)
        logits = logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
        targets = labels.to(logits.dtype)
        scale: Tensor | float = 1.0
        if self.adjustment is not None:
            logits, scale = self.adjustment.adjust(logits, targets, **self._buffers_of(self._adjustment_constants))
        loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        if self.focal is not None:
            loss = self.focal.modulate(loss)
        if self.weights is not None:
            loss = loss * self.weights.weigh(targets, **self._buffers_of(self._weight_constants))
        return loss * scale

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


def require_batch(logits: Tensor, labels: Tensor, num_classes: int) -> None:
    """Raise InputError if a batch is empty, its shapes differ, or (CPU only) a label is not 0 or 1."""
    if not len(logits):
        raise InputError("the batch is empty: there is nothing to average")
    if logits.ndim != 2 or logits.shape != labels.shape or logits.shape[1] != num_classes:
        raise InputError(
            f"logits and labels must both be (images, {num_classes}); "
            f"got {tuple(logits.shape)} and {tuple(labels.shape)}"
        )
    if labels.device.type == "cpu" and bool(((labels != 0) & (labels != 1)).any()):
        wrong = labels[(labels != 0) & (labels != 1)][0].item()
        raise InputError(
            f"labels must be 0 or 1; found {wrong}. Binarise them first, for example `labels = labels > 0`"
        )
