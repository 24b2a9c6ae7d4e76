"""BAL: balanced asymmetric loss of LM-CLIP (Timmermann, Jung, Kim and Lee, IEEE Access 13, 2025)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...datasets.long_tail.statistics import ClassStatistics
from ...errors import InputError
from ..part import Arrays, Part, hyper_parameter
from ..search_space import Interval
from .asymmetric import FLOOR, SMALLEST


@dataclass(frozen=True, kw_only=True)
class BalancedAsymmetric(Part, slot="loss", kind="bal"):
    """BAL: ASL of logits by the largest of the batch, with smoothed positives and weights for rare classes.

    Made for similarities of CLIP, nearly all positive; published as one term beside CLIP's own. The mean over cells, as
    in the original. Where the largest logit of a batch is not positive, dividing by it would turn the order of scores
    around: that is an error on the CPU, and NaN on a GPU, which is never asked. With a `gamma_negative` that is no even
    number the original is NaN as soon as a negative's base falls below 0; here the base ends at 0.

    Attributes:
        smoothing: l of the positives' target t = (1 - l) y + l / C.
        class_power: k of the class weights (N/n_c)^k, over their largest.
    """

    equation: ClassVar[str] = (
        "-[t (1 + W_c) log p + (1-y) log q] (1 - p t - q (1-y))^(gamma_positive t + gamma_negative (1-y)), "
        "p = sigmoid(z / max z), q = min(1-p+clip, 1), t = (1 - smoothing) y + smoothing / C"
    )

    gamma_negative: float = hyper_parameter(12.0, allowed=(0, 100), search=Interval(low=0, high=16, paper=12.0))
    gamma_positive: float = hyper_parameter(0.0, allowed=(0, 20), search=Interval(low=0, high=4, paper=0.0))
    clip: float = hyper_parameter(0.05, allowed=(0, 0.99), search=Interval(low=0, high=0.2, paper=0.05))
    smoothing: float = hyper_parameter(0.01, allowed=(0, 1), search=Interval(low=0, high=0.2, paper=0.01))
    class_power: float = hyper_parameter(0.7, allowed=(0, 10), search=Interval(low=0, high=2, paper=0.7))

    @property
    def hard_labels_only(self) -> bool:
        """It smooths labels itself."""
        return True

    def constants(self, statistics: ClassStatistics, dtype: np.dtype[Any]) -> Arrays:
        """Return the class weights."""
        return {"class_weights": (statistics.counts.min() / statistics.counts) ** self.class_power}

    def value(self, logits: Tensor, present: Tensor, absent: Tensor, **buffers: Any) -> Tensor:
        """Mean over known cells, 0 without one.

        Raises:
            InputError: on the CPU, if no logit is positive.
        """
        known = present + absent
        anything = (known > 0).any()
        largest = logits.where(known > 0, -torch.inf).amax()
        if largest.device.type == "cpu" and not torch.compiler.is_compiling() and largest <= 0 and anything:
            raise InputError(
                f"BAL divides logits by the largest of the batch, which is {largest.item():g}: that would turn the "
                "order of scores around. It is made for similarities of CLIP; take asl for logits of any sign"
            )
        cells = self.elements(logits / largest.where((largest > 0) | ~anything, torch.nan), present, **buffers)
        return (cells * known).sum() / known.sum().clamp(min=1)

    def elements(self, scaled: Tensor, labels: Tensor, **buffers: Any) -> Tensor:
        """Loss of each cell `(N, C)` of logits over their largest."""
        p, absent = scaled.sigmoid(), 1 - labels
        q = (scaled.neg().sigmoid() + self.clip).clamp(max=1)
        target = (1 - self.smoothing) * labels + self.smoothing / labels.shape[1]
        weights: Tensor = 1 + buffers["class_weights"]
        # No logit is above the largest, and hence no q below sigmoid(-1): it needs no floor.
        logs = target * weights * p.clamp(min=FLOOR).log() + absent * q.log()
        base = (1 - p * target - q * absent).clamp(min=SMALLEST)
        return -logs * base ** (self.gamma_positive * target + self.gamma_negative * absent)
