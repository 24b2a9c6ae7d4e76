"""SPLC: self-paced loss correction (Zhang et al., arXiv 2112.07368, 2021)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from ..context import Context
from ..part import Part, hyper_parameter
from ..search_space import Interval
from .asymmetric import SMALLEST


@dataclass(frozen=True, kw_only=True)
class SelfPacedCorrection(Part, slot="loss", kind="splc"):
    """SPLC: negatives that the network is sure of are taken for positives whose label is missing.

    The original is the sum over cells, N C times this mean. Before the switch it is a focal loss with a margin, whose
    focusing acts on negatives too. A corrected negative is scored as a positive without the margin.

    Attributes:
        threshold: tau, the probability above which a negative is corrected.
        margin: taken off the logits of positives.
        correct_from: share of all epochs after which negatives are corrected; published is one epoch, which this is for
            up to 80 epochs.
    """

    equation: ClassVar[str] = (
        "-[t (1-p)^gamma log p + (1-t) p^gamma log(1-p)], p = sigmoid(z - margin y); t = y, after correct_from of the "
        "epochs also 1 where p > threshold"
    )
    takes_context: ClassVar[bool] = True

    threshold: float = hyper_parameter(0.6, allowed=(0, 1), search=Interval(low=0.3, high=0.95, paper=0.6))
    margin: float = hyper_parameter(1.0, allowed=(-100, 100), search=Interval(low=0, high=3, paper=1.0))
    gamma: float = hyper_parameter(2.0, allowed=(0, 20), search=Interval(low=0, high=5, paper=2.0))
    correct_from: float = hyper_parameter(0.0125, allowed=(0, 1), search=Interval(low=0.0125, high=1, paper=0.0125))

    def cells(self, logits: Tensor, labels: Tensor, **constants: Any) -> Tensor:
        """Loss of each cell `(N, C)`."""
        context: Context = constants["context"]
        shifted = logits - self.margin * labels
        present, absent = shifted.sigmoid(), shifted.neg().sigmoid()
        corrected = (labels == 1) | ((present > self.threshold) & context.reached(self.correct_from))
        one = -(absent.clamp(min=SMALLEST) ** self.gamma) * F.logsigmoid(shifted)
        zero = -(present.clamp(min=SMALLEST) ** self.gamma) * F.logsigmoid(-shifted)
        return one.where(corrected, zero)
