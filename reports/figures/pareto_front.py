"""Total against tail: what tuning can trade for what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from .registry import FigureEntry, register_figure
from .source import FigureSource, MissingDataError
from .study_trials import need_tuning
from .style import legend_above, look, new_figure, plain, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def front_frame(trials: pd.DataFrame) -> pd.DataFrame:
    """One line per trial: dataset, title, trial, default, total, tail, front (no other is better in one and as good).

    Args:
        trials: as `need_tuning` returns them.
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


@style()
def draw_front(frame: pd.DataFrame) -> Figure:
    """Draw every trial as a small mark, each method's front as a line, its defaults as a large hollow mark.

    Args:
        frame: as `front_frame` returns it.
    """
    figure, axes = new_figure(7, 5)
    for i, (title, own) in enumerate(frame.groupby("title", sort=False)):
        looks = look(i)
        axes.scatter(own.total, own["tail"], s=12, color=looks["color"], marker=looks["marker"], alpha=0.35)
        front = own[own.front].sort_values("total")
        axes.plot(front.total, front["tail"], markersize=5, label=plain(str(title)), **looks)
        default = own[own.default]
        axes.scatter(
            default.total, default["tail"], s=110, facecolors="none", edgecolors=looks["color"], linewidths=1.6
        )
    axes.set_xlabel(f"total mAP, validation split of {plain(frame.dataset.iloc[0])}, percent")
    axes.set_ylabel("tail mAP, percent")
    legend_above(axes, 5)
    axes.spines[["right", "top"]].set_visible(False)
    return figure


def _collect(source: FigureSource) -> pd.DataFrame:
    frame = front_frame(need_tuning(source))
    if frame.empty:
        raise MissingDataError(f"no trial on {source.dataset} has a tail to show")
    return frame


def _describe(frame: pd.DataFrame) -> str:
    sizes = frame[frame.front].groupby("title", sort=False).size()
    return "Total against tail mAP of all trials. Trials on the Pareto front: " + ", ".join(
        f"{title} {size}" for title, size in sizes.items()
    )


register_figure(
    FigureEntry(
        name="pareto-front",
        title="Total against tail: Pareto fronts of tuned methods",
        caption="Complete trials of the last tuning on {dataset} (small marks), the front that no other trial of the "
        "method surpasses in both (lines), and the defaults (rings). Validation split.",
        describe=_describe,
        part="studies",
        collect=_collect,
        draw=draw_front,
        place=41,
    )
)
