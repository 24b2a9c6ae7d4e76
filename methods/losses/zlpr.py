"""ZLPR: zero-bounded log-sum-exp and pairwise ranking loss (Su et al., arXiv 2208.02955, 2022)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..part import Part
from .asymmetric import SMALLEST


def log_one_plus_sum(logits: Tensor, weights: Tensor) -> Tensor:
    """log(1 + sum over classes of w e^z) `(N,)` of logits `(N, C)` and weights `(N, C)` in 0..1."""
    weighted = (logits + weights.clamp(min=SMALLEST).log()).where(weights != 0, -torch.inf)
    return torch.cat([torch.zeros_like(logits[:, :1]), weighted], dim=1).logsumexp(dim=1)


@dataclass(frozen=True, kw_only=True)
class Zlpr(Part, slot="loss", kind="zlpr"):
    """ZLPR: every positive's logit above 0 and above every negative's.

    By definition one value per image, of which this is the mean, as the original's framework takes it. It has no
    hyper-parameters; 0 is the threshold of logits at inference. Soft labels weigh the terms of both sums.
    """

    equation: ClassVar[str] = "log(1 + sum over y=0 of e^z) + log(1 + sum over y=1 of e^-z), the mean over images"

    def value(self, logits: Tensor, present: Tensor, absent: Tensor, **buffers: Any) -> Tensor:
        """Mean over the images of which a label is known."""
        of_images = log_one_plus_sum(logits, absent) + log_one_plus_sum(-logits, present)
        return of_images.sum() / ((present + absent).sum(dim=1) > 0).sum().clamp(min=1)
