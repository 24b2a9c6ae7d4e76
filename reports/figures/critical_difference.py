"""Critical-difference diagram: average ranks over the classes of a dataset, and which methods do not differ."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..results.significance import average_ranks, cliques_of
from .method_styles import marker_style
from .registry import register_figure
from .source import MissingDataError
from .style import BLACK, GREY, PAGE, SMALL, TEXT_SIZE, new_figure, plain

LINE = 0.55
CLAIM = (
    "Classes of one dataset, sharing their images, each counting alike: no claim about other datasets or further seeds."
)


def ranks_frame(per_class: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Average ranks over the classes: method, rank, classes, seeds, friedman_p, dataset, critical_difference.

    Within a class, methods are ranked by their AP on the test split, averaged over the seeds that all of them have:
    that of `load_per_class`, with one configuration per method.

    Raises:
        MissingDataError: for fewer than 3 methods that share a seed.
    """
    test = per_class[(per_class.split == "test") & per_class.ap.notna()]
    seeds = [set(own.seed) for _, own in test.groupby("title")]
    shared = set.intersection(*seeds) if seeds else set()
    values = test[test.seed.isin(shared)].pivot_table(index="class_name", columns="title", values="ap", sort=False)
    values = values.dropna()
    if values.shape[1] < 3 or len(values) < 2:
        raise MissingDataError("average ranks need at least 3 methods that share a seed, and 2 classes")
    found = average_ranks(values)
    frame = pd.DataFrame({"method": list(found.ranks), "rank": list(found.ranks.values())})
    constant = {"classes": found.blocks, "seeds": len(shared), "friedman_p": found.p}
    return frame.assign(dataset=dataset, **constant, critical_difference=found.critical_difference)


def _describe(frame: pd.DataFrame) -> str:
    ranks = ", ".join(f"{row.method} {row.rank:.2f}" for row in frame[["method", "rank"]].itertuples(index=False))
    first = frame.iloc[0]
    return f"Average ranks, best first: {ranks}. Critical difference {first.critical_difference:.2f}."


@register_figure(
    name="critical-difference",
    title="Critical difference",
    caption="Average ranks of the methods over the classes of {dataset}, 1 is best; a bar joins methods that "
    "Nemenyi's test at 5 % does not distinguish (Demšar, JMLR 2006). The blocks are classes of one dataset sharing "
    "their images, and every class counts alike: read it as how evenly a method wins over these classes. It claims "
    "nothing about other datasets, and seeds are averaged, not counted.",
    describe=_describe,
    part="results",
    collect=lambda source: ranks_frame(source.per_class, source.dataset),
    axes="white",
)
def draw_critical_difference(frame: pd.DataFrame) -> Figure:
    """Draw average ranks on one line; a bar joins methods whose ranks are closer than the critical difference."""
    ranks = dict(zip(frame.method, frame["rank"], strict=True))
    first, number = frame.iloc[0], len(ranks)
    cliques = cliques_of(ranks, float(first.critical_difference))
    half = (number + 1) // 2
    depth = 0.6 + 0.28 * len(cliques)
    figure, axes = new_figure(PAGE, 1.2 + 0.13 * len(cliques) + 0.17 * half)
    axes.set_xlim(0.2 - 0.16 * number, number * 1.16 + 0.8)
    axes.set_ylim(-(depth + LINE * half), 1.9)
    axes.axis("off")
    _scale(axes, number, float(first.critical_difference))
    for i, (name, rank) in enumerate(ranks.items()):
        left = i < half
        y = -(depth + LINE * (i if left else number - 1 - i))
        edge = 0.8 if left else number + 0.2
        axes.plot([rank, rank, edge], [0, y, y], color=GREY, linewidth=0.7)
        axes.plot(rank, 0, zorder=3, **marker_style(name))
        text, side = f"{plain(name)}  {rank:.2f}", "right" if left else "left"
        axes.text(edge + (-0.08 if left else 0.08), y, text, ha=side, va="center")
    for i, clique in enumerate(cliques):
        ends = [ranks[clique[0]] - 0.06, ranks[clique[-1]] + 0.06]
        axes.plot(ends, [-0.35 - 0.28 * i] * 2, color=BLACK, linewidth=2.5, solid_capstyle="butt")
    figure.suptitle(
        f"Average rank over {int(first.classes)} classes of {plain(str(first.dataset))} "
        f"(mean of {int(first.seeds)} shared seeds; Friedman p = {first.friedman_p:.2g})",
        x=0.01,
        ha="left",
        fontsize=TEXT_SIZE,
        weight="bold",
    )
    figure.supxlabel(CLAIM, fontsize=SMALL, x=0.01, ha="left")
    return figure


def _scale(axes: Axes, number: int, critical: float) -> None:
    above: Any = {"ha": "center", "va": "bottom", "fontsize": SMALL}
    axes.plot([1, number], [0, 0], color=BLACK, linewidth=1.2)
    for rank in range(1, number + 1):
        axes.plot([rank, rank], [0, 0.12], color=BLACK, linewidth=1)
        axes.text(rank, 0.22, str(rank), **above)
    end = 1 + min(critical, number - 1)
    axes.plot([1, 1, 1, end, end, end], [1.05, 1.25, 1.15, 1.15, 1.25, 1.05], color=BLACK, linewidth=1)
    axes.text((1 + end) / 2, 1.3, f"critical difference {critical:.2f} (Nemenyi, 5 %)", **above)
