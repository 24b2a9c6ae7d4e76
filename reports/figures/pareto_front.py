"""Total against tail: what tuning can trade for what."""

import pandas as pd
from matplotlib.figure import Figure

from .method_styles import marker_style, method_style
from .registry import register_figure
from .source import need_rows
from .style import COLUMN, legend_above, new_figure, plain


def front_frame(trials: pd.DataFrame) -> pd.DataFrame:
    """One line per trial of `FigureSource.tuning`: dataset, title, trial, default, total, tail, front.

    A trial is on the front if no other of its method is as good in both scores and better in one.
    """
    own = trials.dropna(subset=["total", "tail"])
    front = []
    for trial in own.to_dict("records"):
        rivals = own[own.title == trial["title"]]
        as_good = (rivals.total >= trial["total"]) & (rivals["tail"] >= trial["tail"])
        better = (rivals.total > trial["total"]) | (rivals["tail"] > trial["tail"])
        front.append(not bool((as_good & better).any()))
    columns = ["dataset", "title", "trial", "default", "total", "tail", "front"]
    return own.assign(front=front)[columns].reset_index(drop=True)


def _describe(frame: pd.DataFrame) -> str:
    sizes = frame[frame.front].groupby("title", sort=False).size()
    parts = ", ".join(f"{title} {size}" for title, size in sizes.items())
    return f"Total against tail mAP of all trials. Trials on the Pareto front: {parts}"


@register_figure(
    name="pareto-front",
    title="Total against tail: Pareto fronts of tuned methods",
    caption="Complete trials of the last tuning on {dataset} (small points), the front that no other trial of the "
    "method surpasses in both (lines), and the defaults (rings). Validation split.",
    describe=_describe,
    part="studies",
    collect=lambda source: need_rows(front_frame(source.tuning()), f"no trial on {source.dataset} has a tail to show"),
)
def draw_front(frame: pd.DataFrame) -> Figure:
    """Draw every trial as a small point, each method's front as a line, its defaults as a large ring."""
    figure, axes = new_figure(COLUMN, 3.2)
    for title, own in frame.groupby("title", sort=False):
        axes.plot(own.total, own["tail"], markersize=3, alpha=0.4, **marker_style(title))
        front = own[own.front].sort_values("total")
        axes.plot(front.total, front["tail"], label=plain(title), **method_style(title))
        default = own[own.default]
        ring = method_style(title)["color"]
        axes.scatter(default.total, default["tail"], s=80, facecolors="none", edgecolors=ring, linewidths=1.2)
    axes.set_xlabel(f"total mAP, validation split of {plain(frame.dataset.iloc[0])}, percent")
    axes.set_ylabel("tail mAP, percent")
    legend_above(figure, axes)
    return figure
