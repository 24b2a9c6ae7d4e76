"""The focal term: easy cells count less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .parameters import Part
from .search_space import Interval, SearchSpace

if TYPE_CHECKING:
    from torch import Tensor


def focal_term(loss: Tensor, *, gamma: float, focal_scale: float) -> Tensor:
    """Focal loss from cross-entropy `(N, C)`: s (1 - p_t)^gamma L, p_t = exp(-L) (Lin et al. 2017; Sec. 4.2).

    p_t comes from the adjusted logit (bias and slope included), the gradient flows through it, and the scale multiplies
    positives and negatives alike, as published.
    """
    # A power below 1 is infinitely steep at 0, where a well-scored cell ends; the smallest float32 keeps it finite.
    return focal_scale * (1 - (-loss).exp()).clamp(min=1.2e-38) ** gamma * loss


@dataclass(frozen=True, kw_only=True)
class Focal(Part):
    """Focal loss.

    Attributes:
        gamma: focusing exponent.
        focal_scale: the paper's "balance parameter of 2"; a factor of the whole loss, which is not tuned, for the
            learning rate does the same.
    """

    kind: ClassVar[str] = "focal"
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"gamma": (0, 20), "focal_scale": (0, 1e3)}
    search_space: ClassVar[SearchSpace] = {
        "gamma": Interval(low=0, high=5, paper=2.0),
        "focal_scale": Interval(low=0.5, high=8, scale="log", paper=2.0, tuned=False),
    }

    gamma: float = 2.0
    focal_scale: float = 2.0

    def modulate(self, loss: Tensor) -> Tensor:
        """Return the focal loss of each cell."""
        return focal_term(loss, gamma=self.gamma, focal_scale=self.focal_scale)
