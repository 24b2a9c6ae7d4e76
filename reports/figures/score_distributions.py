"""What Fig. 1 claims: logits of positives and negatives by group, before and after negative-tolerant regularization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...datasets.long_tail.statistics import GROUPS, ClassStatistics
from .registry import FigureEntry, register_figure
from .source import FigureSource, MissingDataError
from .style import BLACK, VERMILLION, new_figure, plain, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Methods that differ in negative-tolerant regularization alone.
PAIRS = (("rs", "nt-bce"), ("r-bce", "db"), ("r-bce-focal", "db-focal"))
BINS = 80


def score_distributions(
    scores: Mapping[str, Sequence[NDArray[np.float32]]],
    labels: NDArray[np.uint8],
    group_names: Sequence[str],
    *,
    dataset: str = "labels",
    bins: int = BINS,
) -> pd.DataFrame:
    """Densities of raw test logits by method, group, and whether the class is there.

    Args:
        scores: by method's title, one `(N, C)` array of raw logits per seed.
        labels: `(N, C)` of 0/1.
        group_names: C names, `head`, `medium` or `tail`.
        dataset: how the figure calls it.
        bins: of the histograms, the same for all.

    Returns:
        One row per bin: dataset, method, group, kind (`positive` or `negative`), low, high (of the bin), density (of
        all logits; one in a thousand lies outside the bins), mean (of these logits), cells (how many, over all seeds).
    """
    everything = np.concatenate([array.ravel() for arrays in scores.values() for array in arrays])
    low, high = np.quantile(everything, [0.0005, 0.9995]).tolist()
    edges = np.linspace(low, high, bins + 1)
    columns = {group: np.array([name == group for name in group_names]) for group in GROUPS}
    rows = []
    for method, arrays in scores.items():
        for group, mask in columns.items():
            for kind, wanted in (("positive", 1), ("negative", 0)):
                there = labels[:, mask] == wanted
                values = np.concatenate([array[:, mask][there] for array in arrays])
                if len(values):
                    rows.append(_histogram(values, edges, method=method, group=group, kind=kind, dataset=dataset))
    return pd.concat(rows, ignore_index=True)


@style()
def draw_score_distributions(frame: pd.DataFrame) -> Figure:
    """Draw one row of panels per pair of methods, one column per group: positives filled, negatives as lines.

    Args:
        frame: as `score_distributions` returns it, with a column `pair` where there are several pairs.
    """
    framed = frame if "pair" in frame else frame.assign(pair=" and ".join(dict.fromkeys(frame.method)))
    pairs = list(dict.fromkeys(framed.pair))
    groups = [group for group in GROUPS if group in set(frame.group)]
    figure, panels = new_figure(
        1 + 3.2 * len(groups), 0.5 + 2.75 * len(pairs), len(pairs), len(groups), squeeze=False, sharey="row"
    )
    for row, pair in zip(panels, pairs, strict=True):
        for axes, group in zip(row, groups, strict=True):
            own = framed[(framed.pair == pair) & (framed.group == group)]
            for (method, kind), part in own.groupby(["method", "kind"], sort=False):
                _draw_histogram(axes, part, method, kind, first=method == own.method.iloc[0])
            axes.set_title(f"{group} classes", pad=34 if axes is row[0] else 6)
            axes.set_ylim(0, 1.05 * framed[framed.pair == pair].density.max())
            axes.spines[["right", "top"]].set_visible(False)
        row[0].set_ylabel("density")
        legend = row[0].legend(ncols=4, loc="lower left", bbox_to_anchor=(-0.02, 1.0), columnspacing=1.2)
        # It is wider than its panel; the layout would give the panel that width.
        legend.set_in_layout(False)
        for axes in row[1:]:
            axes.set_title(axes.get_title("left"), pad=34)
    figure.supxlabel(f"raw logit on the test images of {plain(frame.dataset.iloc[0])}", fontsize=9)
    return figure


def _draw_histogram(axes: Any, part: pd.DataFrame, method: str, kind: str, *, first: bool) -> None:
    colour = BLACK if first else VERMILLION
    edges = [*part.low, part.high.iloc[-1]]
    label = f"{plain(method)}, {kind}s"
    if kind == "positive":
        axes.stairs(part.density, edges, fill=True, color=colour, alpha=0.3, label=label)
        axes.stairs(part.density, edges, color=colour, linewidth=0.8)
    else:
        axes.stairs(part.density, edges, color=colour, linewidth=1.4, linestyle="-" if first else (0, (3, 1.2)),
                    label=label)  # fmt: skip
    axes.axvline(part["mean"].iloc[0], color=colour, linewidth=0.8, linestyle=(0, (1, 2)), ymax=0.06)


def _histogram(values: NDArray[Any], edges: NDArray[Any], **labels: str) -> pd.DataFrame:
    counts, _ = np.histogram(values, edges)
    density = counts / len(values) / np.diff(edges)
    columns = {"low": edges[:-1], "high": edges[1:], "density": density, "mean": float(values.mean())}
    order = ["dataset", "method", "group", "kind", "low", "high", "density", "mean", "cells"]
    return pd.DataFrame({**labels, **columns, "cells": len(values)})[order]


def _collect(source: FigureSource) -> pd.DataFrame:
    frames = []
    for before, after in PAIRS:
        pair = {name: source.runs_of(name) for name in (before, after)}
        if any(runs.empty for runs in pair.values()):
            continue
        titles = {name: str(runs.title.iloc[0]) for name, runs in pair.items()}
        scores = {titles[name]: [source.test_scores(run) for run in runs.itertuples()] for name, runs in pair.items()}
        statistics = ClassStatistics.from_labels(source.training.labels)
        frame = score_distributions(scores, source.test.labels, statistics.group_names, dataset=source.dataset)
        frames.append(frame.assign(pair=f"{titles[before]} and {titles[after]}"))
    if not frames:
        wanted = ", or ".join(f"{before} and {after}" for before, after in PAIRS)
        raise MissingDataError(f"no pair of methods that NTR alone tells apart has runs: {wanted}")
    return pd.concat(frames, ignore_index=True)


def _describe(frame: pd.DataFrame) -> str:
    means = frame.groupby(["pair", "method", "group", "kind"], sort=False)["mean"].first().unstack()
    parts = []
    for (_, method), own in means.groupby(level=["pair", "method"], sort=False):
        by_group = own.reset_index("group").itertuples()
        of = [f"{row.group} {row.positive:+.2f} and {row.negative:+.2f}" for row in by_group]
        parts.append(f"{method}: {', '.join(of)}")
    return f"Densities of raw logits. Mean logit of positives and negatives: {'; '.join(parts)}."


register_figure(
    FigureEntry(
        name="score-distributions",
        title="Scores before and after negative-tolerant regularization (Fig. 1)",
        caption="Raw logits of all test images of {dataset}: filled where the class is there, lines where it is not; "
        "all seeds together, short dotted strokes at the means. Black (in the dark: white) is without, red and dashed "
        "with negative-tolerant regularization, which should leave negatives less suppressed. Logits of two methods "
        "share no unit: compare the overlap within a method.",
        describe=_describe,
        part="results",
        collect=_collect,
        draw=draw_score_distributions,
        place=50,
    )
)
