"""RAL: robust asymmetric loss (Park, Park, Kim and Ryu, ICCV 2023 workshop CVAMD)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from ..part import hyper_parameter
from ..search_space import Choice, Interval
from .asymmetric import Asymmetric
from .asymmetric_polynomial import AsymmetricPolynomialLoss


@dataclass(frozen=True, kw_only=True)
class RobustAsymmetricLoss(AsymmetricPolynomialLoss, slot="loss", kind="ral"):
    """RAL: APL whose negatives are also held down by Hill's factors, which lets noisy ones go.

    The original is the sum over cells, N C times this mean. Both factors multiply a logarithm, which Hill itself has
    none of; q is the clipped probability of absence, p the raw one of presence.

    Attributes:
        hill_lambda: lambda of both factors.
    """

    equation: ClassVar[str] = (
        "as apl on positives, -(1-q)^gamma_negative (hill_lambda - p) p^2 (hill_lambda - q) [log q + en q] on negatives"
    )

    focus_gradient: Literal["blocked", "through"] = hyper_parameter(
        "through", search=Choice(options=("blocked", "through"), paper="through")
    )
    hill_lambda: float = hyper_parameter(1.5, allowed=(1, 100), search=Interval(low=1, high=2, paper=1.5))

    def negative(self, terms: Asymmetric, logits: Tensor) -> Tensor:
        """That of APL times (hill_lambda - p) p^2 (hill_lambda - q)."""
        p = logits.sigmoid()
        hill = (self.hill_lambda - p) * p**2 * (self.hill_lambda - terms.absent)
        return hill * super().negative(terms, logits)
