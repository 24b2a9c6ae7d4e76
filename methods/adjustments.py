"""Logit adjustments: what happens to logits in training before the cross-entropy; inference uses the raw logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .parameters import Part
from .search_space import Choice, Interval, SearchSpace

if TYPE_CHECKING:
    from torch import Tensor

    from ..datasets.long_tail.statistics import ClassStatistics


class LogitAdjustment(Protocol):
    """What a logit adjustment must be: constants of the training set, and adjusted logits with their loss scale."""

    kind: ClassVar[str]

    def constants(self, statistics: ClassStatistics) -> Mapping[str, NDArray[np.float32]]:
        """Return arrays that the loss keeps as buffers and hands to `adjust`."""

    def adjust(self, logits: Tensor, labels: Tensor, **constants: Tensor) -> tuple[Tensor, Tensor | float]:
        """Adjusted logits `(N, C)`, and the scale of the loss that makes up for them."""


def class_bias(counts: NDArray[np.int64], num_images: int, *, kappa: float) -> NDArray[np.float32]:
    """Class-specific bias `(C,)`: nu_i = kappa log(N/n_i - 1) (Eq. 9)."""
    if kappa == 0:
        return np.zeros(len(counts), dtype=np.float32)
    everywhere = np.flatnonzero(counts == num_images)
    if everywhere.size:
        raise InputError(
            f"class {int(everywhere[0])} is in all {num_images} training images: its bias log(N/n - 1) is infinite. "
            "Drop the column, or set kappa=0"
        )
    return (kappa * np.log(num_images / counts - 1)).astype(np.float32)


def negative_tolerant(logits: Tensor, labels: Tensor, bias: Tensor, *, negative_scale: float) -> tuple[Tensor, Tensor]:
    """Tolerant logits and their loss scale: (z - nu, 1) on positives, (lambda (z - nu), 1/lambda) on negatives.

    Eq. 7 with the signs of Eq. 5: as printed, Eq. 7 and Eq. 10 have both signs flipped.
    """
    negatives = 1 - labels
    slope = labels + negatives * negative_scale
    return (logits - bias) * slope, labels + negatives / negative_scale


def label_margin(logits: Tensor, labels: Tensor, margins: Tensor) -> Tensor:
    """Lower the logits of positives by their class margin: z - y Delta (LDAM in its multi-label form)."""
    return logits - labels * margins


@dataclass(frozen=True, kw_only=True)
class NegativeTolerant(Part):
    """NTR: negative-tolerant regularization (Eq. 7-9).

    Attributes:
        negative_scale: lambda, the slope on negatives: 5 for VOC-MLT, 2 for COCO-MLT.
        kappa: scale of the class-specific bias.
        nu: `published` divides the bias by lambda, as the code that made the paper's numbers; `paper` does not. Not
            tuned: with lambda and kappa free, both reach the same losses.
    """

    kind: ClassVar[str] = "negative-tolerant"
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"negative_scale": (1e-3, 1e3), "kappa": (0, 10)}
    search_space: ClassVar[SearchSpace] = {
        "negative_scale": Interval(low=1, high=20, scale="log", paper=5.0),
        "kappa": Interval(low=0, high=0.3, paper=0.05),
        "nu": Choice(options=("published", "paper"), paper="published", tuned=False),
    }

    negative_scale: float = 5.0
    kappa: float = 0.05
    nu: Literal["published", "paper"] = "published"

    def constants(self, statistics: ClassStatistics) -> Mapping[str, NDArray[np.float32]]:
        """Return the bias of each class."""
        bias = class_bias(statistics.counts, statistics.num_images, kappa=self.kappa)
        return {"bias": bias / np.float32(self.negative_scale if self.nu == "published" else 1)}

    def adjust(self, logits: Tensor, labels: Tensor, **constants: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return tolerant logits and 1/lambda on the negatives."""
        return negative_tolerant(logits, labels, constants["bias"], negative_scale=self.negative_scale)


@dataclass(frozen=True, kw_only=True)
class SymmetricTolerant(NegativeTolerant):
    """NTR on negatives and positives alike: (lambda (z - nu), 1/lambda) on every cell.

    The ablation of Sec. 4.5, "adding the same form of regularization to positive logits", after which the paper's
    results "slightly drop as expected".
    """

    kind: ClassVar[str] = "symmetric-tolerant"

    def adjust(self, logits: Tensor, labels: Tensor, **constants: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return logits with slope lambda, and 1/lambda."""
        return (logits - constants["bias"]) * self.negative_scale, 1 / self.negative_scale


@dataclass(frozen=True, kw_only=True)
class LabelMargin(Part):
    """LDAM: a larger margin for rare classes, Delta_i = c / n_i^(1/4) (Cao et al. 2019), on the logits of positives.

    Attributes:
        ldam_margin: c, nowhere published for the multi-label form. On Digits-MLT's validation split (seed 0, total mAP)
            .25 gave 76.7, .5 76.5, 1 76.9, 2 77.4, 4 77.6, 8 77.6: 2 is the smallest that is not behind.
    """

    kind: ClassVar[str] = "label-margin"
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"ldam_margin": (0, 100)}
    search_space: ClassVar[SearchSpace] = {"ldam_margin": Interval(low=0.1, high=10, scale="log")}

    ldam_margin: float = 2.0

    def constants(self, statistics: ClassStatistics) -> Mapping[str, NDArray[np.float32]]:
        """Return the margin of each class."""
        return {"margins": (self.ldam_margin / statistics.counts**0.25).astype(np.float32)}

    def adjust(self, logits: Tensor, labels: Tensor, **constants: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return logits less their margins; the loss scale stays 1."""
        return label_margin(logits, labels, constants["margins"]), 1.0
