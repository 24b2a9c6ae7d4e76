"""What the best method finds, misses and mistakes: a few test images of each class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from ...benchmark.training.metrics import average_precision
from ...datasets.dataset import Split
from ...datasets.long_tail.statistics import GROUPS, ClassStatistics
from .registry import register_figure
from .source import FigureSource, MissingDataError
from .style import DOTS_PER_INCH, GROUP_COLOURS, PAGE, SMALL, new_figure, plain

KINDS = {
    "found": "found: highest of the class",
    "missed": "missed: lowest of the class",
    "mistaken": "mistaken: highest of the others",
}
SHOWN = 3  # images of a kind
CLASSES_SHOWN = 12
# Inches: a picture, the room between two, that for its score, and that of names.
SIDE, GAP, BELOW, NAMES = 0.56, 0.05, 0.15, 0.95


@dataclass(frozen=True, eq=False, kw_only=True)
class Picture:
    """An image of a split, read when it is drawn; as text, its row."""

    images: NDArray[np.uint8]  # `(N, H, W, 3)`, perhaps memory-mapped
    row: int

    def __str__(self) -> str:
        return str(self.row)

    def small(self, side: int) -> NDArray[np.uint8]:
        """The image `(H, W, 3)`, at most `side` pixels high and wide."""
        image = Image.fromarray(np.array(self.images[self.row]))
        image.thumbnail((side, side))
        return np.asarray(image)


def examples(
    scores: Sequence[NDArray[np.floating]],
    test: Split,
    statistics: ClassStatistics,
    classes: Sequence[str],
    *,
    method: str,
    dataset: str = "images",
) -> pd.DataFrame:
    """Images of each class that a method finds, misses and mistakes.

    One row per class and image, largest class first: dataset, method, class_name, class_size, group, ap (in percent,
    mean over seeds), kind, rank (1 is the best or the worst), id, score (raw logit, mean over seeds), picture. Kinds:
    `found`, the positives with the highest scores; `missed`, those with the lowest, of the others; `mistaken`, the
    negatives with the highest. A class without test images is left out.

    Args:
        scores: one `(N, C)` array of raw logits per seed.
        test: the N images.
        statistics: of the training split, for sizes and groups.
        classes: C class names.
        method: its title.
        dataset: name shown in the figure.
    """
    mean = np.stack(scores).mean(axis=0, dtype=np.float64)
    precision = 100 * np.stack([average_precision(one, test.labels) for one in scores]).mean(axis=0)
    rows = []
    for i in np.argsort(-statistics.counts, kind="stable"):
        if np.isnan(precision[i]):
            continue
        best_first = np.argsort(-mean[:, i], kind="stable")
        ranked = test.labels[best_first, i]
        positives, negatives = best_first[ranked == 1], best_first[ranked == 0]
        missed = positives[SHOWN:][::-1][:SHOWN]
        about = (str(classes[i]), int(statistics.counts[i]), statistics.group_names[i], float(precision[i]))
        for kind, chosen in zip(KINDS, (positives[:SHOWN], missed, negatives[:SHOWN]), strict=True):
            for rank, row in enumerate(chosen.tolist(), 1):
                picture = Picture(images=test.images, row=row)
                rows.append((*about, kind, rank, str(test.ids[row]), float(mean[row, i]), picture))
    columns = ["class_name", "class_size", "group", "ap", "kind", "rank", "id", "score", "picture"]
    frame = pd.DataFrame(rows, columns=columns)
    frame.insert(0, "method", method)
    frame.insert(0, "dataset", dataset)
    return frame


def best_method(runs: pd.DataFrame) -> str:
    """The method with the highest mean total, of those with most seeds."""
    means = runs.groupby("method", sort=False).agg(total=("total", "mean"), seeds=("seed", "nunique"))
    return str(means[means.seeds == means.seeds.max()].total.idxmax())


def shown_classes(frame: pd.DataFrame, number: int = CLASSES_SHOWN) -> list[str]:
    """All classes; where they are more than `number`, of each group as many with the highest and the lowest AP."""
    classes = frame.drop_duplicates("class_name")
    if len(classes) <= number:
        return list(classes.class_name)
    groups = [classes[classes.group == group].sort_values("ap") for group in GROUPS if group in set(classes.group)]
    each = number // len(groups)
    high, low = each // 2, each - each // 2
    kept = {name for own in groups for name in (*own.class_name[:low], *own.class_name[low:][-high:])}
    return [name for name in classes.class_name if name in kept]


def _collect(source: FigureSource) -> pd.DataFrame:
    scores = source.test_scores(best_method(source.standard_runs))
    if scores is None:
        raise MissingDataError(f"no finished run on {source.dataset} has its test scores")
    labels, classes = source.training
    statistics = ClassStatistics.from_labels(labels)
    return examples(scores[1], source.test, statistics, classes, method=scores[0], dataset=source.dataset)


def _describe(frame: pd.DataFrame) -> str:
    by_ap = frame.drop_duplicates("class_name").sort_values("ap", kind="stable")
    worst, best = by_ap.iloc[0], by_ap.iloc[-1]
    return (
        f"Test images that {frame.method.iloc[0]} finds, misses and mistakes, {len(shown_classes(frame))} of "
        f"{len(by_ap)} classes. Highest AP: {best.class_name} with {best.ap:.1f}; lowest: {worst.class_name} with "
        f"{worst.ap:.1f}."
    )


@register_figure(
    name="examples",
    title="Best and worst images of each class",
    caption="Test images of {dataset} under the method with the highest total (of those with most seeds), by raw "
    "logit, mean over seeds: the highest-scoring and the lowest-scoring images that hold the class, and the "
    f"highest-scoring ones that do not. Of more than {CLASSES_SHOWN} classes, those with the highest and the lowest "
    "AP of each group; the data beside the figure have all, with ids.",
    describe=_describe,
    part="results",
    collect=_collect,
    axes="white",
)
def draw_examples(frame: pd.DataFrame) -> Figure:
    """Draw a row per class and three pictures of each kind, with their scores."""
    names = shown_classes(frame)
    top = 0.5
    height = top + len(names) * (SIDE + BELOW)
    figure, axes = new_figure(PAGE, height)
    figure.set_layout_engine("none")
    axes.set_position((0, 0, 1, 1))
    axes.set(xlim=(0, PAGE), ylim=(height, 0))
    axes.axis("off")
    wide = SHOWN * (SIDE + GAP)
    starts = {kind: NAMES + i * (wide + (PAGE - NAMES - 3 * wide) / 3) for i, kind in enumerate(KINDS)}
    for kind, start in starts.items():
        axes.text(start, top - 0.08, KINDS[kind], fontsize=SMALL, weight="bold")
    about = f"{plain(frame.method.iloc[0])} on {plain(frame.dataset.iloc[0])}: raw logit below each test image"
    axes.text(0.05, 0.2, about, weight="bold")
    for name, y in zip(names, top + (SIDE + BELOW) * np.arange(len(names)), strict=True):
        own = frame[frame.class_name == name]
        _draw_name(axes, own.iloc[0], y)
        for start, kind in zip(starts.values(), KINDS, strict=True):
            pictures = own[own.kind == kind]
            for i, (picture, score) in enumerate(zip(pictures.picture, pictures.score, strict=True)):
                _draw_picture(axes, picture, score, start + i * (SIDE + GAP), y)
    return figure


def _draw_name(axes: Axes, example: "pd.Series[str]", y: float) -> None:
    axes.plot([0.03, 0.03], [y, y + SIDE], color=GROUP_COLOURS[example.group], linewidth=2)
    axes.text(0.08, y + 0.1, plain(example.class_name, 16), weight="bold", fontsize=SMALL, va="center")
    axes.text(0.08, y + 0.26, f"AP {float(example.ap):.1f}", fontsize=SMALL, va="center")
    axes.text(0.08, y + 0.42, f"{example.group}, {example.class_size}", fontsize=SMALL, va="center")


def _draw_picture(axes: Axes, picture: Picture, score: float, x: float, y: float) -> None:
    pixels = picture.small(round(SIDE * DOTS_PER_INCH))
    tall, wide = pixels.shape[:2]
    scale = SIDE / max(tall, wide)
    left, above = x + (SIDE - scale * wide) / 2, y + (SIDE - scale * tall) / 2
    axes.imshow(
        pixels, extent=(left, left + scale * wide, above + scale * tall, above), aspect="auto", interpolation="none"
    )
    axes.text(x + SIDE / 2, y + SIDE + 0.075, f"{score:+.1f}", ha="center", va="center", fontsize=SMALL)
