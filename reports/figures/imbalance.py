"""The same methods as the tail gets longer."""

import pandas as pd
from matplotlib.figure import Figure

from ..results.runs import per_class_frame, runs_frame
from .method_styles import method_style
from .registry import register_figure
from .source import FigureSource, need_rows
from .style import PAGE, curve_with_band, legend_above, new_figure, plain

SHARE_OF_RAREST = 0.4


def imbalance_frame(per_class: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """One line per training: dataset, title, seed, ratio, total, rarest and most frequent.

    `ratio` is that of the largest to the smallest class; `rarest` is the mean AP of the rarest 40 % of the classes and
    `frequent` of the others, whatever their sizes: fixed groups would change their members with the ratio. They are
    computed from a frame of `load_per_class` on one split, whose datasets are the variants.
    """
    rows = []
    for (title, seed, _), own in per_class.groupby(["title", "seed", "dataset"], sort=False):
        ordered = own.sort_values("class_size", kind="stable")
        split = round(SHARE_OF_RAREST * len(ordered))
        means = (ordered.ap.mean(), ordered.ap[:split].mean(), ordered.ap[split:].mean())
        rows.append((dataset, title, seed, own.class_size.max() / own.class_size.min(), *means))
    return pd.DataFrame(rows, columns=["dataset", "title", "seed", "ratio", "total", "rarest", "frequent"])


def _collect(source: FigureSource) -> pd.DataFrame:
    store, trials = source.need_store(), source.sweep("imbalance")
    runs = runs_frame(store, kind="trial")
    per_class = per_class_frame(store, runs[runs.run_id.isin(trials.run_id)])
    lacking = "the trainings of the sweep 'imbalance' have no per-class results in MLflow"
    return imbalance_frame(need_rows(per_class[per_class.split == "validation"], lacking), source.dataset)


def _describe(frame: pd.DataFrame) -> str:
    means = frame.pivot_table(index="title", columns="ratio", values="total", sort=False).sort_index(axis=1)
    parts = ", ".join(f"{title} falls from {own.iloc[0]:.1f} to {own.iloc[-1]:.1f}" for title, own in means.iterrows())
    ends = f"from the smallest ratio ({means.columns[0]:.0f}) to the largest ({means.columns[-1]:.0f})"
    return f"Total mAP {ends}: {parts}."


@register_figure(
    name="imbalance",
    title="The same methods as the tail gets longer",
    caption="mAP on the validation split of {dataset} against the ratio of the largest to the smallest training "
    "class, at equal numbers of training images. Not in the paper. Bands are one standard deviation over seeds.",
    describe=_describe,
    part="studies",
    collect=_collect,
)
def draw_imbalance(frame: pd.DataFrame) -> Figure:
    """Draw a panel for all, the rarest and the other classes: mean over seeds against the ratio, with bands."""
    names = {"total": "all classes", "rarest": "rarest 40 % of classes", "frequent": "other classes"}
    figure, panels = new_figure(PAGE, 2.8, 1, 3)
    ratios = sorted(frame.ratio.unique())
    for axes, (column, name) in zip(panels, names.items(), strict=True):
        for title, own in frame.groupby("title", sort=False):
            curve_with_band(axes, own, "ratio", column, label=plain(title), **method_style(title))
        axes.set_xscale("log")
        axes.set_xticks(ratios, [f"{ratio:.0f}" for ratio in ratios])
        axes.minorticks_off()
        axes.set_title(name)
    panels[0].set_ylabel("validation mAP, percent")
    figure.supxlabel(f"largest class / smallest class ({plain(frame.dataset.iloc[0])})")
    legend_above(figure, panels[0])
    return figure
