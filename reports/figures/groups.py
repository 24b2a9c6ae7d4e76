"""mAP of every method by group, with its seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from ..results.results import GROUPS
from ..tables.rows import ResultTable
from ..tables.table import build_table
from .registry import FigureEntry, register_figure
from .source import FigureSource
from .style import GROUP_COLOURS, GROUP_MARKERS, legend_above, new_figure, plain, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def groups_frame(table: ResultTable, runs: pd.DataFrame) -> pd.DataFrame:
    """The seeds of a table's rows: dataset, method (its label), experiment_id, seed, group, value (mAP in percent).

    Args:
        table: whose rows are taken, from top to bottom.
        runs: as `load_runs` returns them.
    """
    rows = []
    for row in table.rows:
        own = runs[runs.experiment_id.isin(row.experiments)]
        long = own.melt(["experiment_id", "seed"], list(GROUPS), var_name="group", value_name="value")
        rows.append(long.assign(dataset=table.dataset, method=row.label))
    columns = ["dataset", "method", "experiment_id", "seed", "group", "value"]
    return pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)


@style()
def draw_groups(frame: pd.DataFrame) -> Figure:
    """Draw one line per method: small marks are seeds, large ones their mean.

    Args:
        frame: as `groups_frame` returns it.
    """
    names = list(dict.fromkeys(frame.method))
    figure, axes = new_figure(9, 1.2 + 0.34 * len(names))
    for group in GROUPS:
        own = frame[frame.group == group]
        looks = {"color": GROUP_COLOURS[group], "marker": GROUP_MARKERS[group]}
        axes.scatter(own.value, own.method.map(names.index), s=12, alpha=0.35, **looks)
        means = own.groupby("method").value.mean().reindex(names)
        axes.scatter(means, range(len(names)), s=62, label=group, zorder=3, **looks)
    axes.set_yticks(range(len(names)), [plain(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(f"mAP on {plain(frame.dataset.iloc[0])}, percent (small marks: seeds; large: their mean)")
    legend_above(axes, 4)
    axes.spines[["left", "right", "top"]].set_visible(False)
    return figure


def _collect(source: FigureSource) -> pd.DataFrame:
    runs = source.standard_runs
    table = build_table(runs, 1, source.dataset, recipe=source.recipe)
    return groups_frame(table, runs)


def _describe(frame: pd.DataFrame) -> str:
    means = frame.groupby(["group", "method"]).value.mean()
    best = [
        f"{group} {means[group].idxmax()} with {means[group].max():.1f}" for group in GROUPS if group in means.index
    ]
    return f"mAP of {frame.method.nunique()} methods by group. Best mean: {', '.join(best)}."


register_figure(
    FigureEntry(
        name="groups",
        title="mAP by group",
        caption="mAP of every method on {dataset} in total, head, medium and tail: every seed, and their mean.",
        describe=_describe,
        part="results",
        collect=_collect,
        draw=draw_groups,
        place=10,
    )
)
