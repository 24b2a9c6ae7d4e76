"""Training cost against mAP."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.isotonic import IsotonicRegression

from .method_styles import marker_style
from .registry import register_figure
from .source import need_rows
from .style import COLUMN, GREY, SMALL, limits, new_figure, plain, round_numbers

LEAST_INCHES = 0.13  # between two names beside the figure
LOGARITHMIC_FROM = 10  # times as long as the cheapest


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
    """Draw one point per method with its spread over seeds; names are in a column beside, tied to their points.

    A method far below or above all others stands at the edge, its mAP beside its name.
    """
    figure, axes = new_figure(COLUMN, max(2.6, LEAST_INCHES * len(frame) + 0.8))
    spread = frame.total_deviation.fillna(0)
    low, high = limits(np.concatenate([frame.total - spread, frame.total + spread]), margin=0.08)
    axes.set_ylim(low, high)
    shown = frame.total.clip(low, high)
    heights = spread_out(((shown - low) / (high - low)).to_numpy(), LEAST_INCHES / (figure.get_figheight() - 0.6))
    for row, y, height in zip(frame.itertuples(), shown, heights, strict=True):
        marker = marker_style(row.method)
        inside = y == row.total
        axes.errorbar(row.seconds, y, xerr=row.seconds_deviation, yerr=row.total_deviation if inside else None,
                      elinewidth=0.7, clip_on=inside, **marker)  # fmt: skip
        name = plain(row.method, 18) + ("" if inside else f" ({row.total:.1f})")
        axes.annotate(
            name, (row.seconds, y), xytext=(1.1, height), textcoords="axes fraction", va="center",
            fontsize=SMALL, arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.4, "shrinkA": 8, "shrinkB": 3},
        )  # fmt: skip
        axes.plot(1.05, height, transform=axes.transAxes, clip_on=False, **marker)
    axes.margins(x=0.08)
    if frame.seconds.max() > LOGARITHMIC_FROM * frame.seconds.min() > 0:
        axes.set_xscale("log")
        round_numbers(axes.xaxis, (1, 3))
    axes.set_xlabel(f"seconds per run on {plain(frame.dataset.iloc[0])}")
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
