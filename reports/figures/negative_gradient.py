"""Fig. 3: the gradient that a negative logit gets from cross-entropy, BCE and NT-BCE."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import expit

from .registry import register_figure
from .style import PAGE, curve_style, new_figure

POSITIVE_LOGITS = (-2.0, 0.0, 2.0, 4.0)
NEGATIVE_SCALES = (1.0, 2.0, 5.0, 10.0)
LOGITS = np.linspace(-6, 6, 121)


def negative_gradient() -> pd.DataFrame:
    """Gradients to a negative logit beside one positive logit, of the losses of one image, per class.

    Cross-entropy is the softmax loss of one label (Eq. 6): exp(n) / (exp(n) + exp(p)) of a negative logit n beside a
    positive p. BCE (Eq. 5): sigmoid(n). NT-BCE (Eq. 7, with a bias of 0): sigmoid(lambda n). The suite's losses,
    differentiated automatically, give the same to 1e-6, which a test checks.

    One row per point: loss, positive_logit, negative_scale (lambda), negative_logit, gradient.
    """
    curves = [("CE", p, np.nan, expit(LOGITS - p)) for p in POSITIVE_LOGITS]
    curves += [("BCE", p, 1.0, expit(LOGITS)) for p in POSITIVE_LOGITS]
    curves += [("NT-BCE", 0.0, scale, expit(scale * LOGITS)) for scale in NEGATIVE_SCALES]
    columns = ["loss", "positive_logit", "negative_scale", "negative_logit", "gradient"]
    rows = [(*names, LOGITS, gradient) for *names, gradient in curves]
    return pd.concat([pd.DataFrame(dict(zip(columns, row, strict=True))) for row in rows], ignore_index=True)


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


@register_figure(
    name="negative-gradient",
    title="Gradient to a negative logit (Fig. 3)",
    caption="(a) With CE a high positive logit makes the gradient small; (b) with BCE it depends on the negative "
    "logit alone, so that suppression continues; (c) NT-BCE drops sharply below the threshold, the more so the "
    "larger lambda. By Eq. 5-7, to which the suite's losses are tested.",
    describe=_describe,
    part="equations",
    collect=lambda source: negative_gradient(),
)
def draw_negative_gradient(frame: pd.DataFrame) -> Figure:
    """Draw three panels: cross-entropy and BCE over positive logits, NT-BCE over lambda."""
    figure, panels = new_figure(PAGE, 2.5, 1, 3, sharey=True)
    for axes, letter, loss in zip(panels, "abc", ("CE", "BCE", "NT-BCE"), strict=True):
        key, name = ("negative_scale", r"$\lambda$ =") if loss == "NT-BCE" else ("positive_logit", "$p$ =")
        for i, (value, curve) in enumerate(frame[frame.loss == loss].groupby(key)):
            # BCE's curves lie on each other: wider ones first, so that all are seen.
            width = 4.7 - 1.2 * i if loss == "BCE" else 1.2
            axes.plot(curve.negative_logit, curve.gradient, markevery=(5 + 4 * i, 20), linewidth=width,
                      label=f"{name} {value:g}", **curve_style(i))  # fmt: skip
        axes.set_title(f"({letter}) {loss}, " + (r"scale $\lambda$" if loss == "NT-BCE" else "positive logit $p$"))
        axes.set_xlabel("negative logit")
        axes.legend(loc="upper left")
    panels[0].set_ylabel("gradient to the negative logit")
    return figure
