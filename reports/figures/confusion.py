"""Label-wise confusion: how far a class scores higher because another one is in the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...datasets.long_tail.statistics import ClassStatistics
from .registry import FigureEntry, register_figure
from .source import FigureSource, MissingDataError
from .style import DIVERGING, GREY, legend_above, look, name_size, new_figure, plain, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = ("erm", "rs", "r-bce", "db")
LEAST_IMAGES = 5
PAIRS_SHOWN = 25


def confusion_by_presence(scores: NDArray[np.float32], labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Confusion `(C, C)`: entry `[j, i]` is how often j lures class i, on images without i.

    It is the probability that a random image without i but with j scores higher for i than a random image without
    both (ties count half; the area under the ROC curve). .5 means that j changes nothing. Ranks alone count, so that
    methods with other scales of logits can be compared. NaN where fewer than 5 images are on one side, and for i = j.

    Args:
        scores: `(N, C)`, larger is more likely.
        labels: `(N, C)` of 0/1.
    """
    from scipy.stats import rankdata

    number = labels.shape[1]
    found = np.full((number, number), np.nan)
    for i in range(number):
        without = labels[:, i] == 0
        others = labels[without].astype(np.float64)
        ranks = rankdata(scores[without, i])
        present = others.sum(axis=0)
        absent = len(ranks) - present
        wins = others.T @ ranks - present * (present + 1) / 2
        enough = (present >= LEAST_IMAGES) & (absent >= LEAST_IMAGES)
        found[enough, i] = wins[enough] / (present * absent)[enough]
    return found


def confusion(
    scores: Mapping[str, Sequence[NDArray[np.float32]]],
    test_labels: NDArray[np.uint8],
    training_labels: NDArray[np.uint8],
    classes: Sequence[str],
    *,
    dataset: str = "labels",
) -> pd.DataFrame:
    """Confusion of every ordered pair of classes, means over seeds, beside how often they co-occur in training.

    Args:
        scores: by method's title, one `(N, C)` array of raw logits per seed.
        test_labels: `(N, C)` of 0/1, of the same images.
        training_labels: `(M, C)` of 0/1.
        classes: C class names.
        dataset: how the figure calls it.

    Returns:
        One row per method and pair, largest classes first: dataset, method, given (j), class_name (i), images
        (without i, with j), co_occurrence (training p(i|j)), confusion, seeds.
    """
    statistics = ClassStatistics.from_labels(training_labels, class_names=classes)
    order = np.argsort(-statistics.counts, kind="stable")
    given, shown = (index.ravel() for index in np.meshgrid(order, order, indexing="ij"))
    names = np.array([str(name) for name in classes], dtype=object)
    images = test_labels.astype(np.int64).T @ (1 - test_labels.astype(np.int64))
    frames = [
        pd.DataFrame(
            {
                "dataset": dataset,
                "method": method,
                "given": names[given],
                "class_name": names[shown],
                "images": images[given, shown],
                "co_occurrence": statistics.conditional[shown, given],
                "confusion": np.mean([confusion_by_presence(one, test_labels) for one in arrays], axis=0)[given, shown],
                "seeds": len(arrays),
            }
        )
        for method, arrays in scores.items()
    ]
    return pd.concat(frames, ignore_index=True)


@style("white")
def draw_confusion(frame: pd.DataFrame) -> Figure:
    """Draw the last method's heat map, and all methods on the pairs that co-occur most in training.

    Args:
        frame: as `confusion` returns it.
    """
    import seaborn as sns

    methods = list(dict.fromkeys(frame.method))
    last = frame[frame.method == methods[-1]]
    names = list(dict.fromkeys(last.given))
    matrix = last.confusion.to_numpy().reshape(len(names), len(names))
    side = max(6.6, 1.5 + 0.14 * len(names))
    figure, (left, right) = new_figure(side + 6, side, 1, 2, width_ratios=[side, 5])
    sns.heatmap(
        matrix, ax=left, cmap=DIVERGING, vmin=0, vmax=1, square=True, rasterized=True,
        xticklabels=[plain(name) for name in names], yticklabels=[plain(name) for name in names],
        cbar_kws={"label": f"confusion under {plain(methods[-1])} (.5: none)", "shrink": 0.6, "aspect": 30,
                  "location": "bottom", "pad": 0.01},
    )  # fmt: skip
    left.set_facecolor("#EDEDED")
    left.tick_params(labelsize=name_size(len(names)), length=0, pad=1)
    left.tick_params(axis="x", rotation=90)
    left.set(xlabel="class i, not in the image", ylabel="class j, in the image")
    left.set_title("does the presence of j lift the score of i?")
    _draw_pairs(right, frame, methods)
    return figure


def _draw_pairs(axes: Any, frame: pd.DataFrame, methods: Sequence[str]) -> None:
    pairs = co_occurring_pairs(frame)
    for i, method in enumerate(methods):
        own = frame[frame.method == method].set_index(["given", "class_name"]).confusion
        values = [own[pair] for pair in zip(pairs.given, pairs.class_name, strict=True)]
        looks = look(i) | {"linestyle": "none"}
        axes.plot(values, range(len(pairs)), label=plain(method), markersize=5.5, **looks)
    texts = [f"{plain(row.given)} → {plain(row.class_name)}  ({row.co_occurrence:.2f})" for row in pairs.itertuples()]
    axes.set_yticks(range(len(pairs)), texts, fontsize=8)
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.grid(axis="y", color="#E3E3E3")
    axes.set_xlabel("confusion (.5: none)")
    axes.set_title("pairs j → i that co-occur most in training\n(p(i|j) in brackets)", pad=26)
    legend_above(axes, len(methods))


def co_occurring_pairs(frame: pd.DataFrame, number: int = PAIRS_SHOWN) -> pd.DataFrame:
    """Pairs with the highest training p(i|j) for which confusion is known, of one method."""
    own = frame[(frame.method == frame.method.iloc[0]) & frame.confusion.notna()]
    found: pd.DataFrame = own.sort_values("co_occurrence", ascending=False, kind="stable").head(number)
    return found


def _collect(source: FigureSource) -> pd.DataFrame:
    chosen = [runs for name in METHODS if not (runs := source.runs_of(name)).empty]
    if not chosen:
        raise MissingDataError(f"none of {', '.join(METHODS)} has a finished run on {source.dataset}")
    scores = {str(runs.title.iloc[0]): [source.test_scores(run) for run in runs.itertuples()] for runs in chosen}
    training = source.training
    return confusion(scores, source.test.labels, training.labels, training.classes, dataset=source.dataset)


def _describe(frame: pd.DataFrame) -> str:
    pairs = co_occurring_pairs(frame)[["given", "class_name"]]
    chosen = frame.merge(pairs, on=["given", "class_name"])
    means = chosen.groupby("method", sort=False).confusion.mean()
    parts = ", ".join(f"{method} {value:.2f}" for method, value in means.items())
    return (
        "How much the presence of one class lifts the score of another that is absent (.5: not at all). "
        f"Mean over the {len(pairs)} pairs that co-occur most in training: {parts}."
    )


register_figure(
    FigureEntry(
        name="confusion",
        title="Confusion of co-occurring classes",
        caption="On test images of {dataset} without class i: the probability that an image with class j scores higher "
        "for i than one without j (means over seeds; grey: fewer than 5 images). Above .5, class j is taken for a sign "
        "of i, as training on co-occurring classes teaches.",
        describe=_describe,
        part="results",
        collect=_collect,
        draw=draw_confusion,
        place=40,
    )
)
