"""Fig. 5: which classes appear together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...datasets.long_tail.statistics import ClassStatistics
from .registry import register_figure
from .style import COLUMN, PAGE, SEQUENTIAL, heat_map, new_figure, plain

FIT_A_COLUMN = 20  # classes; more need the page


def co_occurrence(labels: Any, classes: Sequence[str], *, dataset: str = "labels") -> pd.DataFrame:
    """Conditional probabilities p(i|j) = n_ij / n_j of labels `(N, C)`; NaN where no image knows both.

    One row per pair, largest classes first: dataset, given (j), given_size (n_j), class_name (i), class_size (n_i),
    probability.
    """
    statistics = ClassStatistics.from_labels(labels, class_names=classes)
    sizes = statistics.counts
    order = np.argsort(-sizes, kind="stable")
    given, shown = (index.ravel() for index in np.meshgrid(order, order, indexing="ij"))
    names = np.array([str(name) for name in classes], dtype=object)
    pairs = {"given": names[given], "given_size": sizes[given], "class_name": names[shown], "class_size": sizes[shown]}
    return pd.DataFrame({"dataset": dataset, **pairs, "probability": statistics.conditional[shown, given]})


def _describe(frame: pd.DataFrame) -> str:
    others = frame[frame.given != frame.class_name]
    mean = others.groupby("class_name").probability.mean().sort_values(ascending=False)
    leaders = ", ".join(f"{name} {value:.2f}" for name, value in mean.head(3).items())
    return (
        f"Heat map of p(i|j) for {frame.given.nunique()} classes. "
        f"Highest on average over the other classes: {leaders}; the median class has {mean.median():.2f}."
    )


@register_figure(
    name="co-occurrence",
    title="Co-occurrence (Fig. 5)",
    caption="Conditional probabilities p(i|j) of the training labels of {dataset}: column i, row j, largest "
    "classes first. A dark column is a class that comes along whatever else is sampled.",
    describe=_describe,
    part="labels",
    collect=lambda source: co_occurrence(*source.training, dataset=source.dataset),
    axes="white",
)
def draw_co_occurrence(frame: pd.DataFrame) -> Figure:
    """Draw the heat map of p(i|j): column i, row j, both by class size, as Fig. 5."""
    width = COLUMN if frame.given.nunique() <= FIT_A_COLUMN else PAGE
    figure, axes = new_figure(width, 0.93 * width + 0.3)
    heat_map(axes, frame, "probability", SEQUENTIAL, width - 0.35, label="p(i|j)")
    axes.set(xlabel=f"class i of {plain(frame.dataset.iloc[0])}, largest first", ylabel="given class j, largest first")
    return figure
