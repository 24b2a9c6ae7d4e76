"""A surrogate of mean average precision, whose gradient is a moving average's (Qi et al., NeurIPS 2021; LibAUC)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...datasets.long_tail.statistics import ClassStatistics
from ..context import Context
from ..part import Arrays, Part, hyper_parameter
from ..search_space import Interval


@dataclass(frozen=True, kw_only=True)
class MapSurrogate(Part, slot="loss", kind="map-surrogate"):
    """mAP surrogate: positives above all other images of the batch, by moving averages for every training image.

    By definition the mean over the classes with a positive in the batch, 0 without one. Only its gradient means
    something: the value is 0 up to rounding at first and may be negative later. It remembers two numbers for every
    class and training image, which checkpoints hold, and takes memory by the square of the batch times the classes.
    Batches should hold positives of several classes, see the sampler `positives-and-negatives`.

    Attributes:
        map_margin: by which a positive's score in 0..1 should lie above others.
        map_decay: share of a batch's own value in the moving averages.
    """

    equation: ClassVar[str] = (
        "mean over classes, their positives i and all images j of (V_i - U_i y_j) / U_i^2 l_ij, "
        "l_ij = max(map_margin - (p_i - p_j), 0)^2; U_i, V_i: moving averages of the means over j of l_ij and l_ij y_j"
    )
    takes_context: ClassVar[bool] = True

    map_margin: float = hyper_parameter(1.0, allowed=(1e-3, 10), search=Interval(low=0.1, high=2, paper=1.0))
    map_decay: float = hyper_parameter(0.9, allowed=(1e-3, 1), search=Interval(low=0.1, high=1, paper=0.9))

    @property
    def hard_labels_only(self) -> bool:
        """It ranks the images that hold a class."""
        return True

    def constants(self, statistics: ClassStatistics, dtype: np.dtype[Any]) -> Arrays:
        """Return the moving averages of every class and training image, which begin at 0."""
        shape = (statistics.num_classes, statistics.num_images)
        return {name: np.zeros(shape, dtype=dtype) for name in ("average_all", "average_positive")}

    def value(self, logits: Tensor, present: Tensor, absent: Tensor, **buffers: Any) -> Tensor:
        """Mean over the classes with a positive in the batch."""
        terms = self.terms(logits, present, absent, **buffers)
        has = (present.sum(dim=0) > 0).to(logits.dtype)
        return (terms * has).sum() / has.sum().clamp(min=1)

    def terms(self, logits: Tensor, present: Tensor, absent: Tensor, **buffers: Any) -> Tensor:
        """Value of each class `(C,)`; 0 of one without a positive."""
        context: Context = buffers["context"]
        rows, scores, known = context.rows(len(logits)), logits.sigmoid(), present + absent
        # (i, j, class): positives i beside images j.
        lags = (self.map_margin - (scores[:, None] - scores[None, :])).clamp(min=0) ** 2
        with torch.no_grad():
            images = known.sum(dim=0).clamp(min=1)
            now = ((lags * known).sum(dim=1) / images, (lags * present).sum(dim=1) / images)
            kept = [buffers[name][:, rows].T for name in ("average_all", "average_positive")]
            # An image that is twice in a batch has the values of its last place, on every device.
            places = torch.arange(len(rows), device=rows.device)
            last = ((rows[:, None] == rows[None, :]) * places).amax(dim=1)
            both = [
                ((1 - self.map_decay) * old + self.map_decay * new).where(present > 0, old)[last]
                for old, new in zip(kept, now, strict=True)
            ]
            if buffers["remember"]:
                for name, averages in zip(("average_all", "average_positive"), both, strict=True):
                    buffers[name][:, rows] = averages.T
            every, positive = (averages[:, None] for averages in both)
            factors: Tensor = (positive - every * present[None, :]) / every.where(present[:, None] > 0, 1) ** 2
        return (factors * lags * known[None, :] * present[:, None]).sum(dim=(0, 1)) / (
            present.sum(dim=0).clamp(min=1) * images
        )
