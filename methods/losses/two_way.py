"""Two-way multi-label loss (Kobayashi, CVPR 2023)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from ..part import Part, hyper_parameter
from ..search_space import Interval

# Takes a logit out of a sum of exponentials, and leaves that of nothing finite with no gradient.
OUT = -1e30


@dataclass(frozen=True, kw_only=True)
class TwoWay(Part, slot="loss", kind="two-way"):
    """Two-way: positives above negatives among an image's classes, and among a class's images.

    By definition the mean over classes with a positive in the batch plus the mean over images with one; where there is
    none, that mean is 0 (the original has NaN). In small batches few tail classes count; published is a batch of 512.
    """

    equation: ClassVar[str] = (
        "mean over classes of A(images) + mean over images of A(classes), "
        "A = softplus(Tn log sum over y=0 of e^(z/Tn) + Tp log sum over y=1 of e^(-z/Tp))"
    )

    temperature_positive: float = hyper_parameter(
        4.0, allowed=(1e-3, 1e3), search=Interval(low=0.5, high=8, scale="log", paper=4.0)
    )
    temperature_negative: float = hyper_parameter(
        1.0, allowed=(1e-3, 1e3), search=Interval(low=0.5, high=8, scale="log", paper=1.0)
    )

    @property
    def hard_labels_only(self) -> bool:
        """It ranks those that are there above those that are not."""
        return True

    def value(self, logits: Tensor, present: Tensor, absent: Tensor, **buffers: Any) -> Tensor:
        """Sum of both means."""
        return sum(  # type: ignore[return-value]
            (self.terms(logits, present, absent, axis) * counts).sum() / counts.sum().clamp(min=1)
            for axis in (0, 1)
            for counts in [(present.sum(dim=axis) > 0).to(logits.dtype)]
        )

    def terms(self, logits: Tensor, present: Tensor, absent: Tensor, axis: int) -> Tensor:
        """A along an axis: `(C,)` over images, `(N,)` over classes."""
        of_zero, of_one = self.temperature_negative, self.temperature_positive
        zeros = (logits / of_zero).where(absent > 0, OUT).logsumexp(dim=axis)
        ones = (-logits / of_one).where(present > 0, OUT).logsumexp(dim=axis)
        return F.softplus(of_zero * zeros + of_one * ones)
