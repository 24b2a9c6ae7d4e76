"""Hill loss (Zhang et al., arXiv 2112.07368, 2021)."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from ..part import Part, hyper_parameter
from ..search_space import Interval
from .asymmetric import SMALLEST


@dataclass(frozen=True, kw_only=True)
class HillLoss(Part, slot="loss", kind="hill"):
    """Hill: a negative's gradient vanishes at both ends, so that a label which is missing costs little.

    The original is the sum over cells, N C times this mean; it is NaN below z = -88 in single precision, this one is
    not. Focusing is on positives alone, and the gradient passes it.

    Attributes:
        margin: taken off the logits of positives.
        hill_lambda: the largest cost of a negative is lambda - 1.
    """

    equation: ClassVar[str] = "-(1-p_m)^gamma log p_m, p_m = sigmoid(z - margin), on positives; (hill_lambda - p) p^2"

    margin: float = hyper_parameter(1.0, allowed=(-100, 100), search=Interval(low=0, high=3, paper=1.0))
    gamma: float = hyper_parameter(2.0, allowed=(0, 20), search=Interval(low=0, high=5, paper=2.0))
    hill_lambda: float = hyper_parameter(1.5, allowed=(1, 100), search=Interval(low=1, high=2, paper=1.5))

    def cells(self, logits: Tensor, labels: Tensor, **constants: Tensor) -> Tensor:
        """Loss of each cell `(N, C)`."""
        shifted, p = logits - self.margin, logits.sigmoid()
        positive = -(shifted.neg().sigmoid().clamp(min=SMALLEST) ** self.gamma) * F.logsigmoid(shifted)
        return labels * positive + (1 - labels) * (self.hill_lambda - p) * p**2
