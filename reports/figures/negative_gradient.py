"""Fig. 3: the gradient that a negative logit gets from cross-entropy, BCE and NT-BCE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...datasets.statistics import ClassStatistics
from ...methods.catalogue import create_loss
from .registry import FigureEntry, register_figure
from .source import FigureSource
from .style import legend_above, look, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

POSITIVE_LOGITS = (-2.0, 0.0, 2.0, 4.0)
NEGATIVE_SCALES = (1.0, 2.0, 5.0, 10.0)
LOGITS = np.linspace(-6, 6, 121)


def negative_gradient(
    *,
    positive_logits: Sequence[float] = POSITIVE_LOGITS,
    negative_scales: Sequence[float] = NEGATIVE_SCALES,
    logits: NDArray[np.float64] = LOGITS,
) -> pd.DataFrame:
    """Gradients to a negative logit beside one positive logit, by automatic differentiation of the losses themselves.

    Cross-entropy is the softmax loss of one label (Eq. 6); BCE and NT-BCE are the suite's losses (Eq. 5-7, with a bias
    of 0), times C so that all three are per class.

    Returns:
        One row per point: loss, positive_logit, negative_scale (lambda), negative_logit, gradient.
    """
    import torch.nn.functional as F

    statistics = ClassStatistics.from_counts([50, 50], 100)
    rows = [
        _curve(lambda z: F.cross_entropy(z, _first(z), reduction="sum"), positive, logits)
        | {"loss": "CE", "positive_logit": positive, "negative_scale": np.nan}
        for positive in positive_logits
    ]
    bce = create_loss("erm", statistics)
    rows += [
        _curve(lambda z: bce(z, _one_hot(z)) * z.numel(), positive, logits)
        | {"loss": "BCE", "positive_logit": positive, "negative_scale": 1.0}
        for positive in positive_logits
    ]
    for scale in negative_scales:
        tolerant = create_loss("nt-bce", statistics, negative_scale=scale, kappa=0)
        curve = _curve(lambda z, loss=tolerant: loss(z, _one_hot(z)) * z.numel(), 0.0, logits)
        rows.append(curve | {"loss": "NT-BCE", "positive_logit": 0.0, "negative_scale": scale})
    columns = ["loss", "positive_logit", "negative_scale", "negative_logit", "gradient"]
    return pd.concat([pd.DataFrame(row) for row in rows], ignore_index=True)[columns]


@style()
def draw_negative_gradient(frame: pd.DataFrame) -> Figure:
    """Draw three panels: cross-entropy and BCE over positive logits, NT-BCE over lambda.

    Args:
        frame: as `negative_gradient` returns it.
    """
    figure, panels = new_figure(10.5, 3.7, 1, 3, sharey=True)
    for axes, (loss, title, key, name) in zip(
        panels,
        [
            ("CE", "(a) CE", "positive_logit", "positive logit"),
            ("BCE", "(b) BCE", "positive_logit", "positive logit"),
            ("NT-BCE", "(c) NT-BCE", "negative_scale", r"$\lambda$ ="),
        ],
        strict=True,
    ):
        for i, (value, curve) in enumerate(frame[frame.loss == loss].groupby(key)):
            # BCE's curves lie on each other: wider ones first, so that all are seen.
            width = 5.5 - 1.4 * i if loss == "BCE" else 1.6
            axes.plot(curve.negative_logit, curve.gradient, markevery=(5 + 4 * i, 20), markersize=4.5, linewidth=width,
                      label=f"{name} {value:g}", **look(i))  # fmt: skip
        axes.set_title(title, pad=38)
        axes.set_xlabel("negative logit")
        legend_above(axes, 2)
        axes.spines[["right", "top"]].set_visible(False)
    panels[0].set_ylabel("gradient to the negative logit")
    return figure


def _curve(loss: object, positive: float, logits: NDArray[np.float64]) -> dict[str, object]:
    import torch

    z = torch.stack([torch.full((len(logits),), positive, dtype=torch.float64), torch.from_numpy(logits)], dim=1)
    z.requires_grad_(True)
    loss(z).backward()  # type: ignore[operator]
    assert z.grad is not None
    return {"negative_logit": logits, "gradient": z.grad[:, 1].numpy()}


def _first(z: Tensor) -> Tensor:
    return z.new_zeros(len(z)).long()


def _one_hot(z: Tensor) -> Tensor:
    labels = z.new_zeros(z.shape)
    labels[:, 0] = 1
    return labels


def _collect(_: FigureSource) -> pd.DataFrame:
    return negative_gradient()


def _describe(frame: pd.DataFrame) -> str:
    at = frame[np.isclose(frame.negative_logit, -2)]
    tolerant = at[at.loss == "NT-BCE"]
    values = ", ".join(f"{row.gradient:.4f} at lambda {row.negative_scale:g}" for row in tolerant.itertuples())
    ce = at[at.loss == "CE"].set_index("positive_logit").gradient
    return (
        "Gradients to a negative logit. Cross-entropy: the higher the positive logit, the smaller "
        f"(at a negative logit of -2: {ce.iloc[0]:.3f} beside a positive logit of {ce.index[0]:g}, {ce.iloc[-1]:.4f} "
        f"beside {ce.index[-1]:g}). BCE: the positive logit changes nothing. NT-BCE at -2: {values}."
    )


register_figure(
    FigureEntry(
        name="negative-gradient",
        title="Gradient to a negative logit (Fig. 3)",
        caption="(a) With CE a high positive logit makes the gradient small; (b) with BCE it depends on the negative "
        "logit alone, so that suppression goes on; (c) NT-BCE drops sharply below the threshold, the more so the "
        "larger lambda. Computed by differentiating the suite's own losses.",
        describe=_describe,
        part="equations",
        collect=_collect,
        draw=draw_negative_gradient,
        place=10,
    )
)
