"""mAP of every method by group, with its seeds."""

import pandas as pd
from matplotlib.figure import Figure

from ...benchmark.training.metrics import SCORE_NAMES
from ..tables.build import build_table
from ..tables.result_table import ResultTable
from .registry import register_figure
from .source import FigureSource
from .style import group_style, legend_above, name_rows, new_figure, plain


def groups_frame(table: ResultTable, runs: pd.DataFrame) -> pd.DataFrame:
    """The seeds of a table's rows among the runs of `load_runs`.

    One row per seed and group: dataset, method (the row's label), experiment_id, seed, group, value (mAP in percent).
    """
    rows = []
    for row in table.rows:
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
    caption="mAP of every method on {dataset} in total, head, medium and tail: every seed, and their mean.",
    describe=_describe,
    part="results",
    collect=_collect,
)
def draw_groups(frame: pd.DataFrame) -> Figure:
    """Draw one line per method: small points are seeds, large ones their mean."""
    names = list(frame.method.unique())
    figure, axes = new_figure(9, 1.2 + 0.34 * len(names))
    for group in SCORE_NAMES:
        own = frame[frame.group == group]
        axes.scatter(own.value, own.method.map(names.index), s=12, alpha=0.35, **group_style(group))
        means = own.groupby("method").value.mean().reindex(names)
        axes.scatter(means, range(len(names)), s=62, label=group, zorder=3, **group_style(group))
    name_rows(axes, names)
    axes.set_xlabel(f"mAP on {plain(frame.dataset.iloc[0])}, percent (small points: seeds; large: their mean)")
    legend_above(axes, 4)
    return figure
