"""Multi-grained focal loss of COMIC (Zhang et al., ICCV 2023)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...datasets.long_tail.statistics import ClassStatistics
from ..part import Arrays, Part, hyper_parameter
from ..search_space import Interval
from .asymmetric import Asymmetric, asymmetric, focused


def rarity_weights(counts: NDArray[np.int64], *, exponent: float) -> NDArray[np.float64]:
    """(1 - log(n_c / max n))^exponent `(C,)`: 1 for the largest class, more for rarer ones."""
    return np.asarray((1 - np.log(counts / counts.max())) ** exponent)


@dataclass(frozen=True, kw_only=True)
class MultiGrained(Part, slot="loss", kind="multi-grained"):
    """Multi-grained focal loss: ASL with a larger weight and a stronger focus on negatives for rarer classes.

    The original is the sum over cells, N C times this mean; the focusing weight is a constant for its gradient.

    Attributes:
        rarity_exponent: of 1 - log(n_c / max n); 1/6 makes 1.36 of VOC-MLT's rarest class.
    """

    equation: ClassVar[str] = (
        "-w_c [y (1-p)^gamma_positive log p + (1-y) (1-q)^(gamma_negative + w_c) log q], "
        "w_c = (1 - log(n_c / max n))^rarity_exponent, q = min(1-p+clip, 1)"
    )

    gamma_negative: float = hyper_parameter(4.0, allowed=(0, 20), search=Interval(low=0, high=8, paper=4.0))
    gamma_positive: float = hyper_parameter(0.0, allowed=(0, 20), search=Interval(low=0, high=4, paper=0.0))
    clip: float = hyper_parameter(0.05, allowed=(0, 0.99), search=Interval(low=0, high=0.2, paper=0.05))
    rarity_exponent: float = hyper_parameter(1 / 6, allowed=(0, 10), search=Interval(low=0, high=1, paper=1 / 6))

    def constants(self, statistics: ClassStatistics, dtype: np.dtype[Any]) -> Arrays:
        """Return the weight of each class."""
        return {"rarity": rarity_weights(statistics.counts, exponent=self.rarity_exponent)}

    def cells(self, logits: Tensor, labels: Tensor, **constants: Tensor) -> Tensor:
        """Loss of each cell `(N, C)`."""
        rarity, terms = constants["rarity"], self.terms(logits, labels, **constants)
        cells = -(labels * terms.log_present + (1 - labels) * terms.log_absent)
        return rarity * focused(cells, labels, terms, self.gamma_positive, self.gamma_negative + rarity, blocked=True)

    def terms(self, logits: Tensor, labels: Tensor, **constants: Tensor) -> Asymmetric:
        """The probabilities and focusing terms that the loss is of."""
        return asymmetric(logits, clip=self.clip)
