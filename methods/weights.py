"""Loss weights: how much each cell `(image, class)` of the loss counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..datasets.long_tail.statistics import ClassStatistics
from .part import Part, hyper_parameter
from .search_space import Choice, Interval


class Weights(Protocol):
    """What a weighting must be: constants of the training set, and weights of a batch."""

    kind: ClassVar[str]

    def constants(self, statistics: ClassStatistics) -> Mapping[str, NDArray[np.float32]]:
        """Return arrays that the loss keeps as buffers and hands to `weigh`."""

    def weigh(self, labels: Tensor, **constants: Tensor) -> Tensor:
        """Weights of a batch of labels `(N, C)`: by class, `(C,)`, or by image, of a shape that broadcasts to `(N, C)`.

        Of unknown cells `labels` are 0, and the constant `known` says which cells are known, `(N, C)` of 0 and 1. Only
        weights by class are asked about soft labels.
        """


def inverse_square_root_weights(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Smoothed inverse frequencies `(C,)` in 0..1: sqrt(N/n_i) over its largest, which is sqrt(n_min/n_i) (Sec. 4.2).

    The paper normalises "to be between 0 and 1 in a mini-batch". Every class stands in every batch (as a negative at
    least), so that the largest weight of a batch is always that of the rarest class.
    """
    return np.asarray(np.sqrt(counts.min() / counts), dtype=np.float32)


def effective_number_weights(counts: NDArray[np.int64], *, cb_beta: float) -> NDArray[np.float32]:
    """Inverse effective numbers `(C,)`: (1 - beta) / (1 - beta^n_i) (Cui et al. 2019; Sec. 4.2).

    beta^n_i is rounded to float32 before it leaves 1, as published: float64 throughout differs by 2e-5 at beta .999.
    The power itself is taken in float64, for NumPy's float32 power is an ulp off (6e-6 in the weight of n_i = 6).
    """
    effective = 1 - (np.float64(np.float32(cb_beta)) ** counts).astype(np.float32)
    return np.asarray(np.float32(1 - cb_beta) / effective, dtype=np.float32)


def image_mean_weights(labels: Tensor, class_weights: Tensor, known: Tensor | None = None) -> Tensor:
    """One weight per image `(N, 1)`: the mean class weight of its labels, over the largest such mean of the batch.

    An image without labels gets the mean weight of all classes before the division (the paper has no such image); of
    its known classes, where `known` `(N, C)` says that some are not.
    """
    number = labels.sum(dim=1, keepdim=True)
    mean = (labels * class_weights).sum(dim=1, keepdim=True) / number
    everything = class_weights.mean()
    if known is not None:
        everything = (known * class_weights).sum(dim=1, keepdim=True) / known.sum(dim=1, keepdim=True).clamp(min=1)
    mean = mean.where(number > 0, everything)
    # Of a batch in which nothing is known all means are 0.
    return mean / mean.amax().clamp(min=1.2e-38)


@dataclass(frozen=True, kw_only=True)
class InverseSquareRoot(Part, slot="weights", kind="inverse-square-root"):
    """RW: weights by the inverse square root of class frequency."""

    def constants(self, statistics: ClassStatistics) -> Mapping[str, NDArray[np.float32]]:
        """Return the class weights."""
        return {"class_weights": inverse_square_root_weights(statistics.counts)}

    def weigh(self, labels: Tensor, **constants: Tensor) -> Tensor:
        """Return one weight per class `(C,)`."""
        return constants["class_weights"]


@dataclass(frozen=True, kw_only=True)
class EffectiveNumber(Part, slot="weights", kind="effective-number"):
    """CB: weights by the inverse effective number of images.

    Soft labels have no such mean over an image's labels: `by_class` alone takes them.

    Attributes:
        cb_beta: beta of the effective number, .9 by default as published (the paper does not give its value). On
            Digits-MLT's validation split (seed 0, total mAP) .9 gave 77.3, .99 72.8, .999 70.0.
        cb_mode: `average_w`, one weight per image as published; or `by_class`, one weight per class, not divided.
    """

    cb_beta: float = hyper_parameter(0.9, allowed=(0, 0.999999), search=Choice(options=(0.9, 0.99, 0.999, 0.9999)))
    cb_mode: Literal["average_w", "by_class"] = hyper_parameter(
        "average_w", search=Choice(options=("average_w", "by_class"))
    )

    def constants(self, statistics: ClassStatistics) -> Mapping[str, NDArray[np.float32]]:
        """Return the class weights."""
        return {"class_weights": effective_number_weights(statistics.counts, cb_beta=self.cb_beta)}

    def weigh(self, labels: Tensor, **constants: Tensor) -> Tensor:
        """Return one weight per image `(N, 1)` or per class `(C,)`, by mode."""
        weights = constants["class_weights"]
        return image_mean_weights(labels, weights, constants.get("known")) if self.cb_mode == "average_w" else weights


@dataclass(frozen=True, kw_only=True)
class Rebalanced(Part, slot="weights", kind="rebalanced"):
    """R-BCE: re-balanced weights after re-sampling (Eq. 2-4).

    Eq. 2 says how often the sampler draws an image for the labels that it has, of which a soft label says nothing: half
    a label of a rare class would outweigh all others. Soft labels are refused.

    Attributes:
        alpha: overall lift of the weight.
        beta: slope of the smoothing function.
        mu: its centre: .3 for VOC-MLT, .2 for COCO-MLT.
    """

    alpha: float = hyper_parameter(0.1, allowed=(0, 100), search=Interval(low=0.01, high=1, scale="log", paper=0.1))
    beta: float = hyper_parameter(10.0, allowed=(0, 1e4), search=Interval(low=0.1, high=100, scale="log", paper=10.0))
    mu: float = hyper_parameter(0.3, allowed=(0, 1), search=Interval(low=0, high=1, paper=0.3))

    def constants(self, statistics: ClassStatistics) -> Mapping[str, NDArray[np.float32]]:
        """Return 1/n_i."""
        return {"inverse_counts": (1.0 / statistics.counts).astype(np.float32)}

    def weigh(self, labels: Tensor, **constants: Tensor) -> Tensor:
        """Return one weight per cell `(N, C)`: alpha + sigmoid(beta (r - mu)), r = (1/n_i) / sum of 1/n_j over labels.

        Used for positive and negative cells alike, as the paper does. For an image without labels r is infinite and
        every weight alpha + 1 (unless beta is 0) (the paper has no such image).
        """
        inverse_counts = constants["inverse_counts"]
        # The largest float32 stands for infinity, which beta = 0 would turn into NaN.
        ratio = (inverse_counts / (labels * inverse_counts).sum(dim=1, keepdim=True)).clamp(max=3.4e38)
        return self.alpha + (self.beta * (ratio - self.mu)).sigmoid()
