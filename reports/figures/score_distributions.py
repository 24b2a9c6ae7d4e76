"""What Fig. 1 claims: logits of positives and negatives by group, before and after negative-tolerant regularization."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ...datasets.long_tail.statistics import GROUPS, ClassStatistics
from .method_styles import method_style
from .registry import register_figure
from .source import FigureSource, MissingDataError
from .style import PAGE, NotebookFigure, legend_above, plain

# Methods that differ in negative-tolerant regularization alone.
PAIRS = (("rs", "nt-bce"), ("r-bce", "db"), ("r-bce-focal", "db-focal"))
BINS = 80


def score_distributions(
    scores: Mapping[str, Sequence[NDArray[np.floating]]],
    labels: NDArray[np.uint8],
    group_names: Sequence[str],
    *,
    dataset: str = "labels",
) -> pd.DataFrame:
    """Densities of raw test logits by method, group, and whether the class is there.

    One row per bin, the same bins for all: dataset, method, group, kind (`positive` or `negative`), low, high (of the
    bin), density (of all logits; one in a thousand lies outside the bins), mean (of these logits), cells (how many,
    over all seeds).

    Args:
        scores: by method's title, one `(N, C)` array of raw logits per seed.
        labels: `(N, C)` of 0 and 1; unknown cells count nowhere.
        group_names: C names, `head`, `medium` or `tail`.
        dataset: name shown in the figure.
    """
    everything = np.concatenate([array.ravel() for arrays in scores.values() for array in arrays])
    low, high = np.quantile(everything, [0.0005, 0.9995]).tolist()
    edges = np.linspace(low, high, BINS + 1)
    rows = []
    for method, group, (kind, wanted) in product(scores, GROUPS, (("positive", 1), ("negative", 0))):
        chosen = (np.array(group_names) == group) & (labels == wanted)
        values = np.concatenate([array[chosen] for array in scores[method]])
        if len(values):
            names = {"dataset": dataset, "method": method, "group": group, "kind": kind}
            density = np.histogram(values, edges)[0] / len(values) / np.diff(edges)
            histogram = {"low": edges[:-1], "high": edges[1:], "density": density}
            rows.append(pd.DataFrame({**names, **histogram, "mean": float(values.mean()), "cells": len(values)}))
    return pd.concat(rows, ignore_index=True)


def _collect(source: FigureSource) -> pd.DataFrame:
    frames = []
    for pair in PAIRS:
        scores = dict(found for name in pair if (found := source.test_scores(name)))
        if len(scores) == len(pair):
            groups = ClassStatistics.from_labels(source.training[0]).group_names
            frame = score_distributions(scores, source.test.labels, groups, dataset=source.dataset)
            frames.append(frame.assign(pair=" and ".join(scores)))
    if not frames:
        wanted = ", or ".join(f"{before} and {after}" for before, after in PAIRS)
        raise MissingDataError(f"no pair of methods that differ in NTR alone has runs on {source.dataset}: {wanted}")
    return pd.concat(frames, ignore_index=True)


def _describe(frame: pd.DataFrame) -> str:
    means = frame.groupby(["pair", "method", "group", "kind"], sort=False)["mean"].first().unstack()
    parts = []
    for (_, method), own in means.groupby(level=["pair", "method"], sort=False):
        by_group = own.reset_index("group").itertuples()
        of = [f"{row.group} {row.positive:+.2f} and {row.negative:+.2f}" for row in by_group]
        parts.append(f"{method}: {', '.join(of)}")
    return f"Densities of raw logits. Mean logit of positives and negatives: {'; '.join(parts)}."


@register_figure(
    name="score-distributions",
    title="Scores before and after negative-tolerant regularization (Fig. 1)",
    caption="Raw logits of all test images of {dataset}: filled where the class is there, lines where it is not; "
    "all seeds together, short dotted strokes at the means. The second method of each pair adds negative-tolerant "
    "regularization, which should leave negatives less suppressed. Logits of two methods share no unit: compare the "
    "overlap within a method.",
    describe=_describe,
    part="results",
    collect=_collect,
)
def draw_score_distributions(frame: pd.DataFrame) -> Figure:
    """Draw one row of panels per pair of methods, one column per group: positives filled, negatives as lines.

    The frame is that of `score_distributions`, with a column `pair` where there are several pairs.
    """
    framed = frame if "pair" in frame else frame.assign(pair=" and ".join(frame.method.unique()))
    groups = [group for group in GROUPS if group in set(frame.group)]
    pairs = [pair for _, pair in framed.groupby("pair", sort=False)]
    figure = NotebookFigure(figsize=(PAGE, 0.3 + 1.8 * len(pairs)), layout="constrained")
    for part, pair in zip(figure.subfigures(len(pairs), squeeze=False)[:, 0], pairs, strict=True):
        row = part.subplots(1, len(groups), squeeze=False, sharey=True)[0]
        for axes, group in zip(row, groups, strict=True):
            for (method, kind), cells in pair[pair.group == group].groupby(["method", "kind"], sort=False):
                _draw_histogram(axes, cells, str(method), str(kind))
            axes.set_title(f"{group} classes")
        row[0].set_ylim(0, 1.05 * pair.density.max())
        row[0].set_ylabel("density")
        legend_above(part, row[0])
    figure.supxlabel(f"raw logit on the test images of {plain(frame.dataset.iloc[0])}")
    return figure


def _draw_histogram(axes: Axes, cells: pd.DataFrame, method: str, kind: str) -> None:
    style, label = method_style(method), f"{plain(method)}, {kind}s"
    colour, edges = style["color"], [*cells.low, cells.high.iloc[-1]]
    if kind == "positive":
        axes.stairs(cells.density, edges, fill=True, color=colour, alpha=0.3, label=label)
        axes.stairs(cells.density, edges, color=colour, linewidth=0.7)
    else:
        axes.stairs(cells.density, edges, color=colour, linewidth=1.2, linestyle=style["linestyle"], label=label)
    axes.axvline(cells["mean"].iloc[0], color=colour, linewidth=0.8, linestyle=(0, (1, 2)), ymax=0.06)
