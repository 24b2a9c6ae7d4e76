"""Training cost against mAP."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.isotonic import IsotonicRegression

from .registry import register_figure
from .source import need_rows
from .style import GREY, line_style, new_figure, plain

# Names beside the figure are this far apart, as a share of its height.
LEAST_DISTANCE = 0.055


def cost(runs: pd.DataFrame) -> pd.DataFrame:
    """Training time and mAP of each method, means over seeds, from finished runs of one dataset and recipe.

    One row per configuration, best mAP first: dataset, method (title and overrides), seconds, seconds_deviation, total
    (mAP in percent), total_deviation, images_per_second, seeds.
    """
    named = runs.assign(label=[f"{t} ({o})" if o else t for t, o in zip(runs.title, runs.overrides, strict=True)])
    groups = named.dropna(subset=["train_seconds", "total"]).groupby("configuration_id", sort=False)
    frame = groups.agg(
        dataset=("dataset", "first"),
        method=("label", "first"),
        seconds=("train_seconds", "mean"),
        seconds_deviation=("train_seconds", "std"),
        total=("total", "mean"),
        total_deviation=("total", "std"),
        images_per_second=("images_per_second", "mean"),
        seeds=("seed", "nunique"),
    )
    return frame.sort_values("total", ascending=False, ignore_index=True)


def _describe(frame: pd.DataFrame) -> str:
    best, cheapest = frame.iloc[0], frame.sort_values("seconds").iloc[0]
    return (
        f"Total mAP against training time of {len(frame)} methods. Best: {best.method}, {best.total:.1f} in "
        f"{best.seconds:.0f} s. Cheapest: {cheapest.method}, {cheapest.total:.1f} in {cheapest.seconds:.0f} s."
    )


@register_figure(
    name="cost",
    title="Training cost against mAP",
    caption="Total mAP on {dataset} over the training time of one run, evaluation left out: means, and standard "
    "deviations over seeds. Times of runs that shared a machine with others are longer.",
    describe=_describe,
    part="results",
    collect=lambda source: need_rows(
        cost(source.standard_runs), f"no run on {source.dataset} has its training time in MLflow"
    ),
)
def draw_cost(frame: pd.DataFrame) -> Figure:
    """Draw one point per method with its spread over seeds; names are in a column beside, tied to their points."""
    figure, axes = new_figure(8, max(4.2, 0.27 * len(frame) + 0.8))
    for i, row in enumerate(frame.itertuples()):
        axes.errorbar(row.seconds, row.total, xerr=row.seconds_deviation, yerr=row.total_deviation, markersize=6,
                      elinewidth=0.8, **line_style(i) | {"linestyle": "none"})  # fmt: skip
    axes.margins(0.08)
    low, high = axes.get_ylim()
    heights = spread_out(((frame.total - low) / (high - low)).to_numpy(), LEAST_DISTANCE * 4.2 / figure.get_figheight())
    for i, (row, height) in enumerate(zip(frame.itertuples(), heights, strict=True)):
        axes.annotate(
            plain(row.method), (row.seconds, row.total), xytext=(1.04, height), textcoords="axes fraction", va="center",
            fontsize=8, arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkB": 4},
        )  # fmt: skip
        axes.plot(1.025, height, transform=axes.transAxes, clip_on=False, markersize=5, **line_style(i))
    axes.set_xlabel(f"training time on {plain(frame.dataset.iloc[0])}, seconds per run")
    axes.set_ylabel("total mAP, percent")
    return figure


def spread_out(heights: np.ndarray, distance: float) -> np.ndarray:
    """Heights in 0..1, highest first, moved apart until neighbours are `distance` apart; their order stays.

    >>> spread_out(np.array([0.5, 0.5]), 0.1).round(2).tolist()
    [0.55, 0.45]
    """
    number = len(heights)
    steps = min(distance, 1 / max(number - 1, 1)) * np.arange(number)
    # Moving apart by `distance` is isotonic regression of the heights with the distances added back.
    levels = IsotonicRegression(increasing=False).fit_transform(np.arange(number), heights + steps)
    return np.asarray(np.clip(levels, steps[-1] if number else 0, 1) - steps)
