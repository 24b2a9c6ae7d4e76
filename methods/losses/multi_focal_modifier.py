"""MFM: the multi-focal modifier loss of COMIC (Zhang et al., ICCV 2023)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from ...datasets.long_tail.statistics import ClassStatistics
from ..part import Arrays, hyper_parameter
from ..search_space import Interval
from .asymmetric import FLOOR, Asymmetric
from .multi_grained import MultiGrained


@dataclass(frozen=True, kw_only=True)
class MultiFocalModifier(MultiGrained, slot="loss", kind="mfm"):
    """MFM: multi-grained focal loss with probabilities shifted by how classes occur together.

    The original is the sum over cells, N C times this mean; the focusing weight is a constant for its gradient. It runs
    `gamma_positive` 0 everywhere, though its constructor says 1. With 0 the co-occurrence itself never reaches the
    gradient, log(p (1-a)) having the slope of log p: all that counts is which negatives occur beside the image's
    labels. COMIC's numbers come from three branches and samplers and a term that corrects labels, not from this alone.

    A label whose class occurs beside no other has a = 1 where it is alone, and so neither a slope nor less than the
    floor's loss, as published. An image without labels has a = 0, where the original has NaN. The published file of
    co-occurrence was not available; here it is that of the training set, n_cc included.

    Attributes:
        beside_factor: of q for negatives that occur beside the image's labels.
    """

    equation: ClassVar[str] = (
        "as multi-grained of P = p (1-a) and Q = q where a = 0, min(beside_factor q, 1) elsewhere; a = mean over the "
        "image's labels of n_ic / (sum of n_kc over k), divided by its sum"
    )

    gamma_negative: float = hyper_parameter(3.0, allowed=(0, 20), search=Interval(low=0, high=8, paper=3.0))
    rarity_exponent: float = hyper_parameter(1 / 3, allowed=(0, 10), search=Interval(low=0, high=1, paper=1 / 3))
    beside_factor: float = hyper_parameter(1.2, allowed=(1, 10), search=Interval(low=1, high=2, paper=1.2))

    @property
    def hard_labels_only(self) -> bool:
        """An image's labels decide which negatives occur beside them."""
        return True

    def constants(self, statistics: ClassStatistics, dtype: np.dtype[Any]) -> Arrays:
        """Return weights and co-occurrence, each column of which has sum 1."""
        joint = statistics.joint_counts
        return {**super().constants(statistics, dtype), "beside": joint / joint.sum(axis=0)}

    def terms(self, logits: Tensor, labels: Tensor, **constants: Tensor) -> Asymmetric:
        """Those of P and Q."""
        plain, beside = super().terms(logits, labels), labels @ constants["beside"]
        beside = beside / beside.sum(dim=1, keepdim=True).clamp(min=FLOOR)
        factor = (beside > 0).to(logits.dtype) * (self.beside_factor - 1) + 1
        return Asymmetric(
            log_present=(plain.log_present.exp() * (1 - beside)).clamp(min=FLOOR).log(),
            absent=(factor * plain.absent).clamp(max=1),
            focus_positive=1 - logits.sigmoid() * (1 - beside),
            focus_negative=1 - factor * plain.absent,
        )
