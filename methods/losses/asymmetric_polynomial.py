"""APL: asymmetric polynomial loss (Huang, Qi, Wang and Lin, ICASSP 2023)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..part import hyper_parameter
from ..search_space import Interval
from .asymmetric import FLOOR, Asymmetric, AsymmetricLoss


@dataclass(frozen=True, kw_only=True)
class AsymmetricPolynomialLoss(AsymmetricLoss, slot="loss", kind="apl"):
    """APL: ASL with other leading coefficients in the Taylor series of its logarithms.

    The original is the sum over cells, N C times this mean. With `epsilon_positive` 1 the linear term of -log p is
    gone, with `epsilon_positive_square` -2.5 the quadratic one is 1.75. The negatives' polynomial is in q, as the
    published code has it, not in 1 - q, of which -log q is a series.
    """

    equation: ClassVar[str] = (
        "-(1-p)^gamma_positive [log p + e1 (1-p) + e2/2 (1-p)^2] on positives, -(1-q)^gamma_negative [log q + en q] "
        "on negatives; e1 = epsilon_positive, e2 = epsilon_positive_square, en = epsilon_negative"
    )

    epsilon_positive: float = hyper_parameter(1.0, allowed=(-100, 100), search=Interval(low=0, high=2, paper=1.0))
    epsilon_positive_square: float = hyper_parameter(
        -2.5, allowed=(-100, 100), search=Interval(low=-5, high=0, paper=-2.5)
    )
    epsilon_negative: float = hyper_parameter(
        0.0, allowed=(-100, 100), search=Interval(low=-1, high=1, paper=0.0, tuned=False)
    )

    def positive(self, terms: Asymmetric) -> Tensor:
        """-[log p + e1 (1-p) + e2/2 (1-p)^2], p floored."""
        rest = terms.focus_positive.clamp(max=1 - FLOOR)
        return -(terms.log_present + self.epsilon_positive * rest + self.epsilon_positive_square / 2 * rest**2)

    def negative(self, terms: Asymmetric, logits: Tensor) -> Tensor:
        """-[log q + en q], q floored."""
        return -(terms.log_absent + self.epsilon_negative * terms.absent.clamp(min=FLOOR))
