"""EQL v2: equalization loss by gradients (Tan et al., CVPR 2021)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...datasets.long_tail.statistics import ClassStatistics
from ..part import Arrays, Part, hyper_parameter
from ..search_space import Interval

# Ratio of positive to negative gradients before a class has any.
FIRST_RATIO = 100.0


@dataclass(frozen=True, kw_only=True)
class EqualizationV2(Part, slot="loss", kind="eql-v2"):
    """EQL v2: a class whose negatives have pulled more than its positives gets its positives up and negatives down.

    What pulled so far is kept in buffers, G+ and G- of each class, never decayed; the first batch is plain
    cross-entropy. Weights are constants for the gradient. The original is the sum over cells by the number of images, C
    times this mean; it is made for detection, and its column for objectness has no meaning here.
    """

    equation: ClassVar[str] = (
        "(y (1 + eql_alpha (1 - r)) + (1 - y) r) BCE, r = sigmoid(eql_gamma (G+/G- - eql_mu)); "
        "G+ and G-: sums so far of weight |p - y| over positives and negatives"
    )

    eql_gamma: float = hyper_parameter(12.0, allowed=(0, 1000), search=Interval(low=4, high=24, paper=12.0))
    eql_mu: float = hyper_parameter(0.8, allowed=(0, 100), search=Interval(low=0.2, high=1.4, paper=0.8))
    eql_alpha: float = hyper_parameter(4.0, allowed=(0, 100), search=Interval(low=0, high=8, paper=4.0))

    @property
    def hard_labels_only(self) -> bool:
        """Gradients are counted as those of positives or of negatives."""
        return True

    def constants(self, statistics: ClassStatistics, dtype: np.dtype[Any]) -> Arrays:
        """Return what nothing has pulled at yet."""
        return {name: np.zeros(statistics.num_classes) for name in ("positive_gradients", "negative_gradients")}

    def value(self, logits: Tensor, present: Tensor, absent: Tensor, **buffers: Any) -> Tensor:
        """Mean over known cells."""
        weights = self.weights(present, absent, **buffers)
        loss = F.binary_cross_entropy_with_logits(logits, present, reduction="none")
        if buffers["remember"]:
            with torch.no_grad():
                pulls = weights * (logits.sigmoid() - present).abs()
                buffers["positive_gradients"] += (pulls * present).sum(dim=0)
                buffers["negative_gradients"] += (pulls * absent).sum(dim=0)
        return (weights * loss).sum() / (present + absent).sum().clamp(min=1)

    def weights(self, present: Tensor, absent: Tensor, **buffers: Any) -> Tensor:
        """Weight of each cell `(N, C)`, 0 where it is unknown."""
        positive: Tensor = buffers["positive_gradients"]
        negative: Tensor = buffers["negative_gradients"]
        # The tiny number is the original's, and keeps a class without negatives finite.
        ratio = (positive / (negative + 1e-10)).where(positive + negative > 0, FIRST_RATIO)
        share = (self.eql_gamma * (ratio - self.eql_mu)).sigmoid()
        return present * (1 + self.eql_alpha * (1 - share)) + absent * share
