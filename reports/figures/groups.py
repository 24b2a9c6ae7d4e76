"""mAP of every method by group, with its seeds."""

import pandas as pd
from matplotlib.figure import Figure

from ...benchmark.training.metrics import SCORE_NAMES
from ..tables.build import build_table
from ..tables.result_table import ResultTable
from .method_styles import marker_style
from .registry import register_figure
from .source import FigureSource
from .style import PAGE, SMALL, limits, name_rows, new_figure, plain


def groups_frame(table: ResultTable, runs: pd.DataFrame) -> pd.DataFrame:
    """The seeds of a table's rows among the runs of `load_runs`.

    One row per seed and group: dataset, method (the row's label), experiment_id, seed, group, value (mAP in percent).
    """
    rows = []
    for row in table.every_row:
        own = runs[runs.experiment_id.isin(row.experiments)]
        long = own.melt(["experiment_id", "seed"], list(SCORE_NAMES), var_name="group", value_name="value")
        rows.append(long.assign(dataset=table.dataset, method=row.label))
    columns = ["dataset", "method", "experiment_id", "seed", "group", "value"]
    return pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)


def _collect(source: FigureSource) -> pd.DataFrame:
    runs = source.standard_runs
    return groups_frame(build_table(runs, 1, source.dataset, recipe=source.recipe), runs)


def _describe(frame: pd.DataFrame) -> str:
    means = frame.groupby(["group", "method"]).value.mean().dropna()  # a group may have no class
    best = {group: means[group] for group in SCORE_NAMES if group in means.index}
    parts = ", ".join(f"{group} {own.idxmax()} with {own.max():.1f}" for group, own in best.items())
    return f"mAP of {frame.method.nunique()} methods by group. Best mean: {parts}."


@register_figure(
    name="groups",
    title="mAP by group",
    caption="mAP of every method on {dataset} in total, head, medium and tail: every seed, and their mean. Each "
    "panel has limits of its own, so that differences can be seen.",
    describe=_describe,
    part="results",
    collect=_collect,
)
def draw_groups(frame: pd.DataFrame) -> Figure:
    """Draw a panel per group, a row per method: small points are seeds, large ones their mean.

    Every panel has limits of its own, and a method outside of them, far from all others, is given as a number.
    """
    names = list(frame.method.unique())
    groups = [group for group in SCORE_NAMES if frame[frame.group == group].value.notna().any()]
    figure, panels = new_figure(PAGE, 0.85 + 0.17 * len(names), 1, len(groups), sharey=True, squeeze=False)
    for axes, group in zip(panels[0], groups, strict=True):
        own = frame[frame.group == group].dropna(subset=["value"])
        means = own.groupby("method", sort=False).value.mean()
        low, high = limits(own.value)
        axes.set_xlim(low, high)
        for name, mean in means.items():
            row, seeds = names.index(name), own[own.method == name].value
            axes.plot(seeds, [row] * len(seeds), alpha=0.45, **marker_style(name) | {"markersize": 2.5})
            axes.plot(mean, row, zorder=3, **marker_style(name))
            if not low <= mean <= high:
                text, end, side = (f"← {mean:.1f}", 0.02, "left") if mean < low else (f"{mean:.1f} →", 0.98, "right")
                axes.text(end, row, text, ha=side, va="center", fontsize=SMALL, transform=axes.get_yaxis_transform())
        axes.set_title(group)
        axes.spines["left"].set_visible(False)
    name_rows(panels[0, 0], names)
    figure.supxlabel(f"mAP on {plain(frame.dataset.iloc[0])}, percent (small points: seeds; large: their mean)")
    return figure
