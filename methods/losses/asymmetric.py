"""ASL: asymmetric loss (Ridnik et al., ICCV 2021)."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from ..part import Part, hyper_parameter
from ..search_space import Choice, Interval

# Probabilities in logarithms are at least this: a positive below z = -18.42 costs 18.42 and has no gradient. The floor
# is in the published code, not in the paper.
FLOOR = 1e-8
# A power below 1 is infinitely steep at 0; the smallest float32 keeps its gradient finite.
SMALLEST = 1.2e-38


class Asymmetric(NamedTuple):
    """What losses of this family are made of, each `(N, C)`."""

    log_present: Tensor  # log p, floored
    absent: Tensor  # q = min(1 - p + clip, 1): probability of absence after asymmetric clipping
    focus_positive: Tensor  # 1 - p
    focus_negative: Tensor  # 1 - q, not above 0 where p <= clip

    @property
    def log_absent(self) -> Tensor:
        """The logarithm of q, floored."""
        return self.absent.clamp(min=FLOOR).log()


def asymmetric(logits: Tensor, *, clip: float) -> Asymmetric:
    """Probabilities and focusing terms of logits; 1 - p and 1 - q are taken without cancellation."""
    absent = logits.neg().sigmoid()
    return Asymmetric(
        log_present=F.logsigmoid(logits).clamp(min=math.log(FLOOR)),
        absent=(absent + clip).clamp(max=1),
        focus_positive=absent,
        focus_negative=logits.sigmoid() - clip,
    )


def focused(
    cells: Tensor, labels: Tensor, terms: Asymmetric, positive: float, negative: float | Tensor, *, blocked: bool
) -> Tensor:
    """Multiply cells by (1 - p)^positive where the label is 1 and by (1 - q)^negative where it is 0.

    Blocked, the weight is a constant for the gradient.
    """
    of_one = terms.focus_positive.clamp(min=SMALLEST) ** positive
    of_zero = terms.focus_negative.clamp(min=SMALLEST) ** negative
    weight = labels * of_one + (1 - labels) * of_zero
    return cells * (weight.detach() if blocked else weight)


@dataclass(frozen=True, kw_only=True)
class AsymmetricLoss(Part, slot="loss", kind="asl"):
    """ASL: easy negatives count less than easy positives, and negatives with p < clip not at all.

    The original is the sum over cells, N C times this mean; its two classes have the same value and another gradient.
    Its class defaults to `gamma_positive` 1, its training script runs 0.

    Attributes:
        clip: probability by which negatives are shifted down.
        focus_gradient: `blocked` takes the focusing weight as a constant for the gradient, as the plain published
            class; `through`, as the optimised one and as the paper's equation has it.
    """

    equation: ClassVar[str] = "-[y (1-p)^gamma_positive log p + (1-y) (1-q)^gamma_negative log q], q = min(1-p+clip, 1)"

    gamma_negative: float = hyper_parameter(4.0, allowed=(0, 20), search=Interval(low=0, high=8, paper=4.0))
    gamma_positive: float = hyper_parameter(0.0, allowed=(0, 20), search=Interval(low=0, high=4, paper=0.0))
    clip: float = hyper_parameter(0.05, allowed=(0, 0.99), search=Interval(low=0, high=0.2, paper=0.05))
    focus_gradient: Literal["blocked", "through"] = hyper_parameter(
        "blocked", search=Choice(options=("blocked", "through"), paper="blocked")
    )

    def cells(self, logits: Tensor, labels: Tensor, **constants: Tensor) -> Tensor:
        """Loss of each cell `(N, C)`."""
        terms = asymmetric(logits, clip=self.clip)
        cells = labels * self.positive(terms) + (1 - labels) * self.negative(terms, logits)
        blocked = self.focus_gradient == "blocked"
        return focused(cells, labels, terms, self.gamma_positive, self.gamma_negative, blocked=blocked)

    def positive(self, terms: Asymmetric) -> Tensor:
        """Loss of a positive before focusing: -log p, floored."""
        return -terms.log_present

    def negative(self, terms: Asymmetric, logits: Tensor) -> Tensor:
        """Loss of a negative before focusing: -log q, floored."""
        return -terms.log_absent
