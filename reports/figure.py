"""The demo's one figure: mAP of every method by group, with its seeds."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from .results import GROUPS
from .table import ResultTable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart with any colour vision; markers say the same without colour.
COLOURS = {"total": "#000000", "head": "#0072B2", "medium": "#E69F00", "tail": "#D55E00"}
MARKERS = {"total": "D", "head": "o", "medium": "s", "tail": "v"}


def draw_groups(table: ResultTable, runs: pd.DataFrame) -> Figure:
    """Draw one line per method: small marks are seeds, large ones their mean.

    Args:
        table: whose rows are drawn, from top to bottom.
        runs: as `load_runs` returns them.
    """
    import matplotlib.figure
    import seaborn as sns

    rows = [row for row in table.rows if row.seeds]
    with sns.axes_style("whitegrid"):
        figure = matplotlib.figure.Figure(figsize=(9, 1.4 + 0.38 * len(rows)), layout="constrained")
        axes = figure.subplots()
        for group in GROUPS:
            for y, row in enumerate(rows):
                values = runs[runs.experiment_id.isin(row.experiments)][group]
                axes.scatter(values, [y] * len(values), s=12, color=COLOURS[group], marker=MARKERS[group], alpha=0.35)
            means = [row.cells[group].mean or float("nan") for row in rows]
            axes.scatter(
                means, range(len(rows)), s=62, color=COLOURS[group], marker=MARKERS[group], label=group, zorder=3
            )
        axes.set_yticks(range(len(rows)), [row.label.replace("$", r"\$") for row in rows])
        axes.invert_yaxis()
        axes.set_xlabel(f"average precision on {table.dataset}, percent (small marks: seeds; large: mean)")
        axes.legend(ncols=4, loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
        sns.despine(figure, left=True)
    return figure


def as_svg(figure: Figure) -> str:
    """The figure as an SVG element, with text as text, to be put into a page."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mltbench"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
