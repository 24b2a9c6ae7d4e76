"""Logit adjustments: what happens to logits in training before the cross-entropy; inference uses the raw logits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..datasets.long_tail.statistics import ClassStatistics
from ..errors import InputError
from .part import Part, hyper_parameter
from .search_space import Choice, Interval


class LogitAdjustment(Protocol):
    """What a logit adjustment must be: constants of the training set, and adjusted logits with their loss scale."""

    kind: ClassVar[str]

    def constants(self, statistics: ClassStatistics) -> Mapping[str, NDArray[np.float32]]:
        """Return arrays that the loss keeps as buffers and hands to `adjust`."""

    def adjust(self, logits: Tensor, labels: Tensor, **constants: Tensor) -> tuple[Tensor, Tensor | float]:
        """Adjusted logits `(N, C)`, and the scale of the loss that makes up for them; `labels` `(N, C)` are 0 and 1."""


def class_bias(statistics: ClassStatistics, *, kappa: float) -> NDArray[np.float32]:
    """Class-specific bias `(C,)`: nu_i = kappa log(N/n_i - 1) (Eq. 9), N the images in which class i is known."""
    counts, images = statistics.counts, statistics.known_images
    if kappa == 0:
        return np.zeros(len(counts), dtype=np.float32)
    everywhere = np.flatnonzero(counts == images)
    if everywhere.size:
        first = int(everywhere[0])
        known = "" if statistics.is_complete else " where it is known"
        raise InputError(
            f"class {first} is in all {images[first]} training images{known}: its bias log(N/n - 1) is infinite. "
            "Drop the column, or set kappa=0"
        )
    return (kappa * np.log(images / counts - 1)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class NegativeTolerant(Part, slot="adjustment", kind="negative-tolerant"):
    """NTR: negative-tolerant regularization (Eq. 7-9).

    Attributes:
        negative_scale: lambda, the slope on negatives: 5 for VOC-MLT, 2 for COCO-MLT.
        kappa: scale of the class-specific bias.
        nu: `published` divides the bias by lambda, as the code that made the paper's numbers; `paper` does not. Not
            tuned: with lambda and kappa free, both reach the same losses.
    """

    negative_scale: float = hyper_parameter(
        5.0, allowed=(1e-3, 1e3), search=Interval(low=1, high=20, scale="log", paper=5.0)
    )
    kappa: float = hyper_parameter(0.05, allowed=(0, 10), search=Interval(low=0, high=0.3, paper=0.05))
    nu: Literal["published", "paper"] = hyper_parameter(
        "published", search=Choice(options=("published", "paper"), paper="published", tuned=False)
    )

    def constants(self, statistics: ClassStatistics) -> Mapping[str, NDArray[np.float32]]:
        """Return the bias of each class."""
        bias = class_bias(statistics, kappa=self.kappa)
        return {"bias": bias / np.float32(self.negative_scale if self.nu == "published" else 1)}

    def adjust(self, logits: Tensor, labels: Tensor, **constants: Tensor) -> tuple[Tensor, Tensor | float]:
        """Tolerant logits and their loss scale: (z - nu, 1) on positives, (lambda (z - nu), 1/lambda) on negatives.

        Eq. 7 with the signs of Eq. 5: as printed, Eq. 7 and Eq. 10 have both signs flipped.
        """
        negatives = 1 - labels
        slope = labels + negatives * self.negative_scale
        return (logits - constants["bias"]) * slope, labels + negatives / self.negative_scale


@dataclass(frozen=True, kw_only=True)
class SymmetricTolerant(NegativeTolerant, slot="adjustment", kind="symmetric-tolerant"):
    """NTR on negatives and positives alike: (lambda (z - nu), 1/lambda) on every cell.

    The ablation of Sec. 4.5, "adding the same form of regularization to positive logits", after which the paper's
    results "slightly drop as expected".
    """

    def adjust(self, logits: Tensor, labels: Tensor, **constants: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return logits with slope lambda, and 1/lambda."""
        return (logits - constants["bias"]) * self.negative_scale, 1 / self.negative_scale


@dataclass(frozen=True, kw_only=True)
class LabelMargin(Part, slot="adjustment", kind="label-margin"):
    """LDAM in its multi-label form: a larger margin for rare classes, Delta_i = c / n_i^(1/4) (Cao et al. 2019).

    Attributes:
        ldam_margin: c, nowhere published for the multi-label form. On Digits-MLT's validation split (seed 0, total mAP)
            .25 gave 76.7, .5 76.5, 1 76.9, 2 77.4, 4 77.6, 8 77.6: 2 is the smallest that is not behind.
    """

    ldam_margin: float = hyper_parameter(2.0, allowed=(0, 100), search=Interval(low=0.1, high=10, scale="log"))

    def constants(self, statistics: ClassStatistics) -> Mapping[str, NDArray[np.float32]]:
        """Return the margin of each class."""
        return {"margins": (self.ldam_margin / statistics.counts**0.25).astype(np.float32)}

    def adjust(self, logits: Tensor, labels: Tensor, **constants: Tensor) -> tuple[Tensor, Tensor | float]:
        """Lower the logits of positives by their class margin: z - y Delta; the loss scale stays 1."""
        return logits - labels * constants["margins"], 1.0
