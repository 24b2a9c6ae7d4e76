"""Eq. 4: how the smoothing function turns the re-balancing ratio r into a weight."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import expit

from .registry import register_figure
from .style import PAGE, curve_style, new_figure

BETAS, MUS = (2.0, 5.0, 10.0, 20.0), (0.1, 0.2, 0.3, 0.5)
CHOSEN_BETA, CHOSEN_MU = 10.0, 0.3
RATIOS = np.arange(5, 1000, 10) / 1000


def weight_function(*, alpha: float = 0.1) -> pd.DataFrame:
    """The weight of Eq. 4, alpha + sigmoid(beta (r - mu)).

    The suite's re-balanced loss, its gradient taken over that of plain BCE, gives the same, which a test checks.
    One row per point: varied (`beta` or `mu`), beta, mu, alpha, ratio (r, Eq. 3), weight.
    """
    curves = [("beta", beta, CHOSEN_MU) for beta in BETAS] + [("mu", CHOSEN_BETA, mu) for mu in MUS]
    rows = [
        pd.DataFrame({"varied": varied, "beta": beta, "mu": mu, "alpha": alpha, "ratio": RATIOS,
                      "weight": alpha + expit(beta * (RATIOS - mu))})
        for varied, beta, mu in curves
    ]  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def _describe(frame: pd.DataFrame) -> str:
    own = frame[(frame.varied == "mu") & np.isclose(frame.mu, CHOSEN_MU)]
    low, high = own.weight.iloc[0], own.weight.iloc[-1]
    return (
        "Weight of Eq. 4 over the ratio r, for several beta and several mu. It rises from near alpha to alpha + 1: "
        f"with beta {CHOSEN_BETA:g}, mu {CHOSEN_MU:g} from {low:.2f} at r = {own.ratio.iloc[0]:g} to {high:.2f} at "
        f"{own.ratio.iloc[-1]:g}. Larger beta makes it steeper; larger mu moves it to the right."
    )


@register_figure(
    name="weight-function",
    title="Weight function (Eq. 4)",
    caption="The weight over the ratio r of expected to actual sampling (alpha = 0.1): beta is its slope, mu its "
    "centre. The suite's re-balanced loss is tested to weigh so.",
    describe=_describe,
    part="equations",
    collect=lambda source: weight_function(),
)
def draw_weight_function(frame: pd.DataFrame) -> Figure:
    """Draw two panels: the weight over r for several beta, and for several mu."""
    figure, panels = new_figure(PAGE, 2.6, 1, 2, sharey=True)
    for axes, varied, fixed in zip(panels, ("beta", "mu"), ("mu", "beta"), strict=True):
        own = frame[frame.varied == varied]
        for i, (value, curve) in enumerate(own.groupby(varied)):
            axes.plot(curve.ratio, curve.weight, markevery=(4 + 3 * i, 18),
                      label=rf"$\{varied}$ = {value:g}", **curve_style(i))  # fmt: skip
        axes.set_title(rf"over $\{varied}$, with $\{fixed}$ = {own[fixed].iloc[0]:g}")
        axes.set_xlabel("ratio $r$ (Eq. 3)")
        axes.legend(loc="lower right")
    panels[0].set_ylabel(r"weight $\hat{r}$ (Eq. 4)")
    return figure
