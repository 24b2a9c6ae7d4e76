"""The same methods as the tail gets longer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..results.artifacts import local_artifact
from .registry import FigureEntry, register_figure
from .source import FigureSource, MissingDataError
from .study_trials import need_sweep
from .style import legend_above, look, new_figure, plain, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARE_OF_RAREST = 0.4


def imbalance_frame(per_class: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """One line per training: dataset, title, seed, ratio, total, rarest and most frequent.

    `ratio` is that of the largest to the smallest class; `rarest` is the mean AP of the rarest 40 % of the classes and
    `frequent` of the others, whatever their sizes: fixed groups would change their members with the ratio.

    Args:
        per_class: title, seed, variant, class_name, class_size, ap (percent).
        dataset: that the variants belong to.
    """
    rows = []
    for (title, seed, _), own in per_class.groupby(["title", "seed", "variant"], sort=False):
        ordered = own.sort_values("class_size", kind="stable")
        split = round(SHARE_OF_RAREST * len(ordered))
        marks = (ordered.ap.mean(), ordered.ap[:split].mean(), ordered.ap[split:].mean())
        rows.append((dataset, title, seed, own.class_size.max() / own.class_size.min(), *marks))
    return pd.DataFrame(rows, columns=["dataset", "title", "seed", "ratio", "total", "rarest", "frequent"])


@style()
def draw_imbalance(frame: pd.DataFrame) -> Figure:
    """Draw a panel for all, the rarest and the other classes: mean over seeds against the ratio, with bands.

    Args:
        frame: as `imbalance_frame` returns it.
    """
    names = {"total": "all classes", "rarest": "rarest 40 % of classes", "frequent": "other classes"}
    figure, panels = new_figure(11, 3.8, 1, 3, sharey=True)
    ratios = sorted(frame.ratio.unique())
    for axes, (column, name) in zip(panels, names.items(), strict=True):
        for i, (title, own) in enumerate(frame.groupby("title", sort=False)):
            points = own.groupby("ratio")[column].agg(["mean", "std"])
            axes.plot(points.index, points["mean"], markersize=5, label=plain(str(title)), **look(i))
            spread = points["std"].fillna(0)
            axes.fill_between(points.index, points["mean"] - spread, points["mean"] + spread,
                              color=look(i)["color"], alpha=0.13, linewidth=0)  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks(ratios, [f"{ratio:.0f}" for ratio in ratios])
        axes.minorticks_off()
        axes.set_xlabel("largest class / smallest class")
        axes.set_title(name, loc="right", pad=24)  # above the legend of the first panel
        axes.spines[["right", "top"]].set_visible(False)
    panels[0].set_ylabel(f"mAP, validation split of {plain(frame.dataset.iloc[0])}, percent")
    legend_above(panels[0], 4)
    return figure


def _collect(source: FigureSource) -> pd.DataFrame:
    trials, store = need_sweep(source, "imbalance"), source.need_store()
    lines = []
    for trial in trials.itertuples():
        path = local_artifact(store, trial, "per_class.json")
        if path is None:
            continue
        data = json.loads(path.read_text(encoding="utf-8"))
        for name, ap in data["average_precision"]["validation"].items():
            size = data["training_images_per_class"][name]
            lines.append((trial.title, trial.seed, trial.dataset, name, size, 100 * ap if ap is not None else np.nan))
    if not lines:
        raise MissingDataError("the trainings of the sweep 'imbalance' have no per-class results in MLflow")
    columns = ["title", "seed", "variant", "class_name", "class_size", "ap"]
    return imbalance_frame(pd.DataFrame(lines, columns=columns), source.dataset)


def _describe(frame: pd.DataFrame) -> str:
    means = frame.groupby(["title", "ratio"], sort=False).total.mean().reset_index()
    parts = []
    for title, own in means.groupby("title", sort=False):
        ordered = own.sort_values("ratio")
        first, last = ordered.iloc[0], ordered.iloc[-1]
        parts.append(f"{title} falls from {first.total:.1f} to {last.total:.1f}")
    return f"Total mAP from the smallest ratio ({means.ratio.min():.0f}) to the largest ({means.ratio.max():.0f}): " + (
        ", ".join(parts) + "."
    )


register_figure(
    FigureEntry(
        name="imbalance",
        title="The same methods as the tail gets longer",
        caption="mAP on the validation split of {dataset} against the ratio of the largest to the smallest training "
        "class, at equal numbers of training images. Not in the paper. Bands are one standard deviation over seeds.",
        describe=_describe,
        part="studies",
        collect=_collect,
        draw=draw_imbalance,
        place=30,
    )
)
