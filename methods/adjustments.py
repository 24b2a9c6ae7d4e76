"""Logit adjustments: what happens to logits in training before the cross-entropy; inference uses the raw logits."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..datasets.long_tail.statistics import ClassStatistics
from ..errors import InputError
from .part import Arrays, Part, hyper_parameter
from .search_space import Choice, Interval


class LogitAdjustment(Protocol):
    """What a logit adjustment must be: constants of the training set, and adjusted logits with their loss scale."""

    kind: ClassVar[str]
    takes_context: ClassVar[bool]

    @property
    def hard_labels_only(self) -> bool:
        """Whether a logit's adjustment depends on other labels of its image."""

    def constants(self, statistics: ClassStatistics, dtype: np.dtype[Any]) -> Arrays:
        """Return arrays that the loss keeps as buffers and hands to `adjust`."""

    def adjust(self, logits: Tensor, labels: Tensor, **constants: Tensor) -> tuple[Tensor, Tensor | float]:
        """Adjusted logits `(N, C)`, and the scale of the loss that makes up for them; `labels` `(N, C)` are 0 and 1."""


def class_bias(statistics: ClassStatistics, *, kappa: float, cure: str = "set kappa=0") -> NDArray[np.float64]:
    """Class-specific bias `(C,)`: nu_i = kappa log(N/n_i - 1) (Eq. 9), N the images in which class i is known."""
    counts, images = statistics.counts, statistics.known_images
    if kappa == 0:
        return np.zeros(len(counts))
    everywhere = np.flatnonzero(counts == images)
    if everywhere.size:
        first = int(everywhere[0])
        known = "" if statistics.is_complete else " where it is known"
        raise InputError(
            f"class {first} is in all {images[first]} training images{known}: its bias log(N/n - 1) is infinite. "
            f"Drop the column, or {cure}"
        )
    return np.asarray(kappa * np.log(images / counts - 1))


@dataclass(frozen=True, kw_only=True)
class NegativeTolerant(Part, slot="adjustment", kind="negative-tolerant"):
    """NTR: negative-tolerant regularization (Eq. 7-9).

    Attributes:
        negative_scale: lambda, the slope on negatives: 5 for VOC-MLT, 2 for COCO-MLT.
        kappa: scale of the class-specific bias.
        nu: `published` divides the bias by lambda, as the code that made the paper's numbers; `paper` does not. Not
            tuned: with lambda and kappa free, both reach the same losses.
    """

    equation: ClassVar[str] = "z' = z - nu_c on positives, lambda (z - nu_c) on negatives, whose loss is over lambda"

    negative_scale: float = hyper_parameter(
        5.0, allowed=(1e-3, 1e3), search=Interval(low=1, high=20, scale="log", paper=5.0)
    )
    kappa: float = hyper_parameter(0.05, allowed=(0, 10), search=Interval(low=0, high=0.3, paper=0.05))
    nu: Literal["published", "paper"] = hyper_parameter(
        "published", search=Choice(options=("published", "paper"), paper="published", tuned=False)
    )

    def constants(self, statistics: ClassStatistics, dtype: np.dtype[Any]) -> Arrays:
        """Return the bias of each class."""
        bias = class_bias(statistics, kappa=self.kappa).astype(dtype)
        return {"bias": bias / dtype.type(self.negative_scale if self.nu == "published" else 1)}

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
class UndividedTolerant(NegativeTolerant, slot="adjustment", kind="undivided-tolerant"):
    """NTR whose negatives are not divided by lambda: (lambda (z - nu), 1), as text losses have it without weights.

    At lambda 2 a negative at z = 1 costs softplus(2), not softplus(2) / 2 (Huang et al. 2021, NTR-Focal).
    """

    def adjust(self, logits: Tensor, labels: Tensor, **constants: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return logits with slope lambda on negatives, and 1."""
        return super().adjust(logits, labels, **constants)[0], 1.0


@dataclass(frozen=True, kw_only=True)
class PriorLogOdds(Part, slot="adjustment", kind="prior-log-odds"):
    """Logit adjustment: the log odds of each class in the training set are added in training (Menon et al. 2021).

    The sigmoid's form of logit-adjusted and of balanced softmax; inference uses z. A class in every image has infinite
    log odds and is refused.

    Attributes:
        tau: how much of the log odds; 1 is the Bayes-consistent value.
    """

    equation: ClassVar[str] = "BCE(z + tau log(n_c / (N - n_c)), y)"

    tau: float = hyper_parameter(1.0, allowed=(-10, 10), search=Interval(low=0, high=2, paper=1.0))

    def constants(self, statistics: ClassStatistics, dtype: np.dtype[Any]) -> Arrays:
        """Return what is taken off the logits of each class."""
        return {"bias": class_bias(statistics, kappa=self.tau, cure="set tau=0")}

    def adjust(self, logits: Tensor, labels: Tensor, **constants: Tensor) -> tuple[Tensor, Tensor | float]:
        """Add the log odds; the loss scale stays 1."""
        return logits - constants["bias"], 1.0


@dataclass(frozen=True, kw_only=True)
class LabelMargin(Part, slot="adjustment", kind="label-margin"):
    """LDAM in its multi-label form: a larger margin for rare classes, Delta_i = c / n_i^(1/4) (Cao et al. 2019).

    Attributes:
        ldam_margin: c, nowhere published for the multi-label form. On Digits-MLT's validation split (seed 0, total mAP)
            .25 gave 76.7, .5 76.5, 1 76.9, 2 77.4, 4 77.6, 8 77.6: 2 is the smallest that is not behind.
        ldam_scale: s; the 30 of the original suits cosines. On raw logits it is a steep hinge, and the learning rate
            acts like s times itself.
    """

    equation: ClassVar[str] = "BCE(ldam_scale (z - y Delta_c), y), Delta_c = ldam_margin / n_c^(1/4)"

    ldam_margin: float = hyper_parameter(2.0, allowed=(0, 100), search=Interval(low=0.1, high=10, scale="log"))
    ldam_scale: float = hyper_parameter(
        1.0, allowed=(1e-3, 1e3), search=Interval(low=1, high=30, scale="log", paper=30.0, tuned=False), added=True
    )

    def constants(self, statistics: ClassStatistics, dtype: np.dtype[Any]) -> Arrays:
        """Return the margin of each class."""
        return {"margins": self.ldam_margin / statistics.counts**0.25}

    def adjust(self, logits: Tensor, labels: Tensor, **constants: Tensor) -> tuple[Tensor, Tensor | float]:
        """Lower the logits of positives by their class margin, s (z - y Delta); the loss scale stays 1."""
        return (logits - labels * constants["margins"]) * self.ldam_scale, 1.0


@dataclass(frozen=True, kw_only=True)
class LargestMargin(Part, slot="adjustment", kind="largest-margin"):
    """LDAM with the margin of the rarest class given: Delta_i = m (n_min / n_i)^(1/4) (Cao et al. 2019, its code).

    Attributes:
        largest_margin: m, that of the rarest class.
        ldam_scale: s, as of `LabelMargin`; 30 in the original, which suits cosines.
    """

    equation: ClassVar[str] = "BCE(ldam_scale (z - y Delta_c), y), Delta_c = largest_margin (n_min / n_c)^(1/4)"

    largest_margin: float = hyper_parameter(
        0.5, allowed=(0, 100), search=Interval(low=0.1, high=5, scale="log", paper=0.5)
    )
    ldam_scale: float = hyper_parameter(
        30.0, allowed=(1e-3, 1e3), search=Interval(low=1, high=30, scale="log", paper=30.0)
    )

    def constants(self, statistics: ClassStatistics, dtype: np.dtype[Any]) -> Arrays:
        """Return the margin of each class."""
        return {"margins": self.largest_margin * (statistics.counts.min() / statistics.counts) ** 0.25}

    def adjust(self, logits: Tensor, labels: Tensor, **constants: Tensor) -> tuple[Tensor, Tensor | float]:
        """Lower the logits of positives by their class margin, s (z - y Delta); the loss scale stays 1."""
        return (logits - labels * constants["margins"]) * self.ldam_scale, 1.0
