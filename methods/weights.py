"""Loss weights: how much each cell `(image, class)` of the loss counts."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..datasets.long_tail.statistics import ClassStatistics
from .context import Context
from .part import Arrays, Part, hyper_parameter
from .search_space import Choice, Interval

SINGLE: np.dtype[Any] = np.dtype(np.float32)


class Weights(Protocol):
    """What a weighting must be: constants of the training set, and weights of a batch."""

    kind: ClassVar[str]
    takes_context: ClassVar[bool]

    @property
    def hard_labels_only(self) -> bool:
        """Whether it weighs an image by the labels that it has, so that none may be soft."""

    def constants(self, statistics: ClassStatistics, dtype: np.dtype[Any]) -> Arrays:
        """Return arrays that the loss keeps as buffers and hands to `weigh`."""

    def weigh(self, labels: Tensor, **constants: Any) -> Tensor:
        """Weights of a batch of hard labels `(N, C)`, of a shape that broadcasts to it.

        Of unknown cells `labels` are 0, and the constant `known` says which cells are known, `(N, C)` of 0 and 1. A
        soft label is asked about as a 1 and as a 0, in a batch of nothing else.
        """


def inverse_square_root_weights(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Smoothed inverse frequencies `(C,)` in 0..1: sqrt(N/n_i) over its largest, which is sqrt(n_min/n_i) (Sec. 4.2).

    The paper normalises "to be between 0 and 1 in a mini-batch". Every class stands in every batch (as a negative at
    least), so that the largest weight of a batch is always that of the rarest class.
    """
    return np.asarray(np.sqrt(counts.min() / counts))


def effective_number_weights(
    counts: NDArray[np.int64], *, cb_beta: float, dtype: np.dtype[Any] = SINGLE
) -> NDArray[np.floating[Any]]:
    """Inverse effective numbers `(C,)`: (1 - beta) / (1 - beta^n_i) (Cui et al. 2019; Sec. 4.2).

    In float32 beta^n_i is rounded before it leaves 1, as published: float64 throughout differs by 2e-5 at beta .999.
    The power itself is taken in float64, for NumPy's float32 power is an ulp off (6e-6 in the weight of n_i = 6).
    """
    effective = 1 - (np.float64(dtype.type(cb_beta)) ** counts).astype(dtype)
    return np.asarray(dtype.type(1 - cb_beta) / effective, dtype=dtype)


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

    equation: ClassVar[str] = "sqrt(n_min / n_c)"

    def constants(self, statistics: ClassStatistics, dtype: np.dtype[Any]) -> Arrays:
        """Return the class weights."""
        return {"class_weights": inverse_square_root_weights(statistics.counts)}

    def weigh(self, labels: Tensor, **constants: Any) -> Tensor:
        """Return one weight per class `(C,)`."""
        weights: Tensor = constants["class_weights"]
        return weights


@dataclass(frozen=True, kw_only=True)
class EffectiveNumber(Part, slot="weights", kind="effective-number"):
    """CB: weights by the inverse effective number of images.

    Soft labels have no mean or sum over an image's labels: the two modes by class alone take them. The loss stays the
    mean over cells; `sum_w` was published as the sum over cells by the number of positive cells of the batch.

    Attributes:
        cb_beta: beta of the effective number, .9 by default as published (the paper does not give its value). On
            Digits-MLT's validation split (seed 0, total mAP) .9 gave 77.3, .99 72.8, .999 70.0.
        cb_mode: `average_w`, one weight per image as published; `by_class`, one weight per class, not divided. Of
            weights with sum C: `sum_w`, the sum of an image's labels' weights, 0 without labels (Ju et al. 2023);
            `positives`, one weight per class on positives alone, 1 on negatives.
    """

    equation: ClassVar[str] = "w_c = (1 - cb_beta) / (1 - cb_beta^n_c); by image or class, see cb_mode"

    cb_beta: float = hyper_parameter(0.9, allowed=(0, 0.999999), search=Choice(options=(0.9, 0.99, 0.999, 0.9999)))
    cb_mode: Literal["average_w", "by_class", "sum_w", "positives"] = hyper_parameter(
        "average_w", search=Choice(options=("average_w", "by_class", "sum_w", "positives"), tuned=False)
    )

    @property
    def hard_labels_only(self) -> bool:
        """Whether an image is weighed by its labels."""
        return self.cb_mode in ("average_w", "sum_w")

    def constants(self, statistics: ClassStatistics, dtype: np.dtype[Any]) -> Arrays:
        """Return the class weights."""
        if self.cb_mode in ("average_w", "by_class"):
            return {"class_weights": effective_number_weights(statistics.counts, cb_beta=self.cb_beta, dtype=dtype)}
        # Originals take these in float32 too, which at beta .9999 shows in the fifth digit.
        weights = effective_number_weights(statistics.counts, cb_beta=self.cb_beta, dtype=np.dtype(np.float64))
        return {"class_weights": weights * (len(weights) / weights.sum())}

    def weigh(self, labels: Tensor, **constants: Any) -> Tensor:
        """Return one weight per image `(N, 1)`, per class `(C,)` or per cell `(N, C)`, by mode."""
        weights: Tensor = constants["class_weights"]
        if self.cb_mode == "average_w":
            return image_mean_weights(labels, weights, constants.get("known"))
        if self.cb_mode == "sum_w":
            return (labels * weights).sum(dim=1, keepdim=True)
        return weights if self.cb_mode == "by_class" else labels * (weights - 1) + 1


@dataclass(frozen=True, kw_only=True)
class DeferredEffectiveNumber(Part, slot="weights", kind="deferred-effective-number"):
    """DRW: weights by the inverse effective number on positives, from late in training on (Cao et al. 2019).

    Multi-label forms differ: this one weighs positives alone, others every cell of a class.

    Attributes:
        deferred_until: share of all epochs that are trained without weights; .8 in the original, 160 of 200.
    """

    equation: ClassVar[str] = "y w_c + 1 - y after deferred_until of the epochs, w_c of effective numbers with sum C"
    takes_context: ClassVar[bool] = True

    cb_beta: float = hyper_parameter(
        0.9999, allowed=(0, 0.999999), search=Choice(options=(0.9, 0.99, 0.999, 0.9999), paper=0.9999)
    )
    deferred_until: float = hyper_parameter(0.8, allowed=(0, 1), search=Interval(low=0, high=1, paper=0.8))

    def constants(self, statistics: ClassStatistics, dtype: np.dtype[Any]) -> Arrays:
        """Return the class weights."""
        return EffectiveNumber(cb_beta=self.cb_beta, cb_mode="positives").constants(statistics, dtype)

    def weigh(self, labels: Tensor, **constants: Any) -> Tensor:
        """Return one weight per cell `(N, C)`."""
        context: Context = constants["context"]
        weights: Tensor = constants["class_weights"]
        return labels * (weights - 1) * context.reached(self.deferred_until) + 1


@dataclass(frozen=True, kw_only=True)
class Prevalence(Part, slot="weights", kind="prevalence"):
    """Positives of rare and negatives of frequent classes count up to e times (CheXFusion; Kim 2023).

    Weights lie in 1..e: near e on a rare class's positives and near 1 on its negatives, the reverse for a class in
    nearly every image. The mean is over cells, as in the original, not over weights.
    """

    equation: ClassVar[str] = "e^(1 - n_c/N) on positives, e^(n_c/N) on negatives"

    def constants(self, statistics: ClassStatistics, dtype: np.dtype[Any]) -> Arrays:
        """Return the share of images that hold each class, of those in which it is known."""
        return {"share": statistics.counts / statistics.known_images}

    def weigh(self, labels: Tensor, **constants: Any) -> Tensor:
        """Return one weight per cell `(N, C)`."""
        share: Tensor = constants["share"]
        return (labels * (1 - share) + (1 - labels) * share).exp()


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

    equation: ClassVar[str] = "alpha + sigmoid(beta (r - mu)), r = (1/n_c) / sum of 1/n_j over the image's labels"

    alpha: float = hyper_parameter(0.1, allowed=(0, 100), search=Interval(low=0.01, high=1, scale="log", paper=0.1))
    beta: float = hyper_parameter(10.0, allowed=(0, 1e4), search=Interval(low=0.1, high=100, scale="log", paper=10.0))
    mu: float = hyper_parameter(0.3, allowed=(0, 1), search=Interval(low=0, high=1, paper=0.3))

    @property
    def hard_labels_only(self) -> bool:
        """Eq. 2 asks which labels an image has."""
        return True

    def constants(self, statistics: ClassStatistics, dtype: np.dtype[Any]) -> Arrays:
        """Return 1/n_i."""
        return {"inverse_counts": 1.0 / statistics.counts}

    def weigh(self, labels: Tensor, **constants: Any) -> Tensor:
        """Return one weight per cell `(N, C)`: alpha + sigmoid(beta (r - mu)), r = (1/n_i) / sum of 1/n_j over labels.

        Used for positive and negative cells alike, as the paper does. For an image without labels r is infinite and
        every weight alpha + 1 (unless beta is 0) (the paper has no such image).
        """
        inverse_counts: Tensor = constants["inverse_counts"]
        # The largest float32 stands for infinity, which beta = 0 would turn into NaN.
        ratio = (inverse_counts / (labels * inverse_counts).sum(dim=1, keepdim=True)).clamp(max=3.4e38)
        return self.alpha + (self.beta * (ratio - self.mu)).sigmoid()
