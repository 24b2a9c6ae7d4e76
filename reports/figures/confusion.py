"""Label-wise confusion: how far a class scores higher because another one is in the image."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import rankdata

from ...datasets.long_tail.statistics import UNKNOWN
from .co_occurrence import co_occurrence
from .method_styles import marker_style
from .registry import register_figure
from .source import FigureSource, MissingDataError, run_command
from .style import DIVERGING, GREY, GRID, PAGE, REFERENCE, heat_map, legend_above, new_figure, plain

METHODS = ("erm", "rs", "r-bce", "db")
LEAST_IMAGES = 5
PAIRS_SHOWN = 25


def confusion_by_presence(scores: NDArray[np.floating], labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Confusion `(C, C)`: entry `[j, i]` is how often j lures class i, on images without i.

    It is the probability that a random image without i but with j scores higher for i than a random image without
    both (ties count half; the area under the ROC curve). .5 means that j changes nothing. Ranks alone count, so that
    methods with other scales of logits can be compared. NaN where fewer than 5 images are on one side, and for i = j.
    Scores and labels are `(N, C)`; where a label is unknown, the image is on neither side.
    """
    number = labels.shape[1]
    found = np.full((number, number), np.nan)
    complete = not (labels == UNKNOWN).any()
    for i in range(number):
        without = labels[:, i] == 0
        others, own = labels[without], scores[without, i]
        # Where j is unknown, images have other ranks.
        for columns in [slice(None)] if complete else [slice(j, j + 1) for j in range(number)]:
            known = others[:, columns][:, 0] != UNKNOWN
            held = others[known, columns].astype(np.float64)
            ranks = rankdata(own[known])
            present = held.sum(axis=0)
            absent = len(ranks) - present
            wins = held.T @ ranks - present * (present + 1) / 2
            enough = (present >= LEAST_IMAGES) & (absent >= LEAST_IMAGES)
            found[columns, i][enough] = wins[enough] / (present * absent)[enough]
    return found


def confusion(
    scores: Mapping[str, Sequence[NDArray[np.floating]]],
    test_labels: NDArray[np.uint8],
    training_labels: NDArray[np.uint8],
    classes: Sequence[str],
    *,
    dataset: str = "labels",
) -> pd.DataFrame:
    """Confusion of every ordered pair of classes, means over seeds, beside how often they co-occur in training.

    One row per method and pair, largest classes first: dataset, method, given (j), class_name (i), images (without i,
    with j), co_occurrence (training p(i|j)), confusion, seeds.

    Args:
        scores: by method's title, one `(N, C)` array of raw logits per seed.
        test_labels: `(N, C)`, of the same images.
        training_labels: `(M, C)`.
        classes: C class names.
        dataset: name shown in the figure.
    """
    order = np.argsort(-(training_labels == 1).sum(axis=0), kind="stable")
    pairs = np.ix_(order, order)
    images = (test_labels == 1).astype(np.int64).T @ (test_labels == 0).astype(np.int64)
    frame = co_occurrence(training_labels, classes, dataset=dataset).rename(columns={"probability": "co_occurrence"})
    frame = frame.assign(images=images[pairs].ravel())
    frames = []
    for method, arrays in scores.items():
        mean = np.mean([confusion_by_presence(one, test_labels) for one in arrays], axis=0)
        frames.append(frame.assign(method=method, confusion=mean[pairs].ravel(), seeds=len(arrays)))
    columns = ["dataset", "method", "given", "class_name", "images", "co_occurrence", "confusion", "seeds"]
    return pd.concat(frames, ignore_index=True)[columns]


def _collect(source: FigureSource) -> pd.DataFrame:
    scores = dict(found for name in METHODS if (found := source.test_scores(name)))
    if not scores:
        raise MissingDataError(f"no run of {', '.join(METHODS)}; {run_command(source.dataset, METHODS)} makes some")
    return confusion(scores, source.test.labels, *source.training, dataset=source.dataset)


def _describe(frame: pd.DataFrame) -> str:
    pairs = co_occurring_pairs(frame)[["given", "class_name"]]
    chosen = frame.merge(pairs, on=["given", "class_name"])
    means = chosen.groupby("method", sort=False).confusion.mean()
    parts = ", ".join(f"{method} {value:.2f}" for method, value in means.items())
    return (
        "How much the presence of one class lifts the score of another that is absent (.5: not at all). "
        f"Mean over the {len(pairs)} pairs that co-occur most in training: {parts}."
    )


@register_figure(
    name="confusion",
    title="Confusion of co-occurring classes",
    caption="On test images of {dataset} without class i: the probability that an image with class j scores higher "
    "for i than one without j (means over seeds; grey: fewer than 5 images). Above .5, class j is taken for a sign "
    "of i, as training on co-occurring classes teaches.",
    describe=_describe,
    part="results",
    collect=_collect,
    axes="white",
)
def draw_confusion(frame: pd.DataFrame) -> Figure:
    """Draw the last method's heat map, and all methods on the pairs that co-occur most in training."""
    last = frame[frame.method == frame.method.iloc[-1]]
    figure, (left, right) = new_figure(PAGE, 4.1, 1, 2, width_ratios=[1.15, 1])
    label = f"confusion under {plain(last.method.iloc[0])} (.5: none)"
    heat_map(left, last, "confusion", DIVERGING, 3.1, label=label)
    left.set_facecolor("#EDEDED")
    left.set(xlabel="class i, not in the image", ylabel="class j, in the image")
    left.set_title("does j lift the score of i?")
    _draw_pairs(figure, right, frame)
    return figure


def _draw_pairs(figure: Figure, axes: Axes, frame: pd.DataFrame) -> None:
    pairs = co_occurring_pairs(frame)
    keys = ["given", "class_name"]
    for method, own in frame.groupby("method", sort=False):
        values = pairs[keys].merge(own, on=keys, how="left").confusion
        axes.plot(values, range(len(pairs)), label=plain(method), **marker_style(method) | {"markersize": 3.5})
    texts = [f"{plain(a, 16)} → {plain(b, 16)} ({p:.2f})" for a, b, p in pairs[[*keys, "co_occurrence"]].to_numpy()]
    axes.set_yticks(range(len(pairs)), texts)
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=REFERENCE)
    axes.grid(axis="y", color=GRID)
    axes.spines[:].set_visible(True)
    axes.set_xlabel("confusion (.5: none)")
    axes.set_title("pairs j → i that co-occur most (training p(i|j))", loc="right")
    legend_above(figure, axes)


def co_occurring_pairs(frame: pd.DataFrame, number: int = PAIRS_SHOWN) -> pd.DataFrame:
    """Pairs with the highest training p(i|j) for which confusion is known, of one method."""
    own: pd.DataFrame = frame[(frame.method == frame.method.iloc[0]) & frame.confusion.notna()]
    return own.sort_values("co_occurrence", ascending=False, kind="stable").head(number)
