"""A dataset in one picture: scenes with their labels, class sizes by group, co-occurrence."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..dataset import Dataset
from ..long_tail.statistics import GROUPS, HEAD_AT_LEAST, TAIL_BELOW, ClassStatistics, within_class_sampling_variance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# Okabe and Ito's colours, told apart with any colour vision.
GROUP_COLOURS = {"head": "#0072B2", "medium": "#E69F00", "tail": "#D55E00"}
SCENES = 12
# From this many classes on, names along the axes cannot be read.
MOST_NAMED_CLASSES = 40


def draw_dataset(dataset: Dataset, path: Path) -> None:
    """Write the picture of a dataset as PNG, PDF or SVG, by the path's ending.

    Raises:
        InputError: if the file cannot be written.
    """
    import matplotlib.figure
    import seaborn as sns

    try:
        dataset.split("train")
    except InputError:  # labels without images have a picture, too
        draw_labels(dataset.name, dataset.labels("train"), dataset.classes, path)
        return
    with sns.axes_style("white"):
        figure = matplotlib.figure.Figure(figsize=(13, 13), layout="constrained")
        grid = figure.add_gridspec(2, 1, height_ratios=[1, 1.9])
        _draw_scenes(figure.add_subfigure(grid[0]), dataset)
        _draw_statistics(figure.add_subfigure(grid[1]), dataset.labels("train"), dataset.classes)
        _save(figure, path)


def draw_labels(name: str, labels: NDArray[np.uint8], classes: Sequence[str], path: Path) -> None:
    """Write the picture of a label matrix alone: class sizes by group, co-occurrence, sampling.

    Raises:
        InputError: if the file cannot be written.
    """
    import matplotlib.figure
    import seaborn as sns

    with sns.axes_style("white"):
        figure = matplotlib.figure.Figure(figsize=(13, 9), layout="constrained")
        figure.suptitle(_title(name, labels), weight="bold")
        _draw_statistics(figure.add_subfigure(figure.add_gridspec(1, 1)[0]), labels, classes)
        _save(figure, path)


def _title(name: str, labels: NDArray[np.uint8]) -> str:
    images, classes = labels.shape
    return f"{name}: {images:,} training images, {classes} classes, {labels.sum() / images:.3f} labels per image"


def _save(figure: Figure, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write the picture to {path}: {error}; give a writable .png with --out") from error


def _draw_statistics(figure: SubFigure, labels: NDArray[np.uint8], classes: Sequence[str]) -> None:
    statistics = ClassStatistics.from_labels(labels, class_names=classes)
    (counts, conditional), (frequencies, variances) = figure.subplots(
        2, 2, width_ratios=[1.15, 1], height_ratios=[1.3, 1]
    )
    _draw_counts(counts, statistics, classes)
    _draw_conditional(conditional, statistics, classes)
    uniform = 1 / statistics.num_classes
    _draw_bars(frequencies, statistics.expected_frequencies, statistics, classes)
    frequencies.set(title="Class frequency under class-aware sampling (Eq. 1)", ylabel="mean over j of p(i|j)")
    frequencies.axhline(uniform, color="black", linewidth=0.8, linestyle="--", label=f"1/C = {uniform:.3f}")
    frequencies.legend(frameon=False, loc="upper right")
    _draw_bars(variances, within_class_sampling_variance(labels), statistics, classes)
    variances.set(title="Variance of sampling times within each class (Fig. 5)", ylabel="variance")


def _draw_bars(axes: Axes, values: NDArray[np.float64], statistics: ClassStatistics, classes: Sequence[str]) -> None:
    order = np.argsort(-statistics.counts, kind="stable")
    colours = [GROUP_COLOURS[statistics.group_names[i]] for i in order]
    axes.bar(range(len(order)), values[order], color=colours, width=0.8)
    # Room for the legend above the bars; and an axis where all values are 0.
    axes.set(xmargin=0.01, ylim=(0, max(1.2 * values.max(), 0.01)))
    _name_classes(axes, [classes[i] for i in order])
    axes.spines[["top", "right"]].set_visible(False)


def _draw_scenes(figure: SubFigure, dataset: Dataset) -> None:
    train = dataset.split("train")
    figure.suptitle(_title(dataset.name, train.labels), weight="bold")
    chosen = np.linspace(0, len(train) - 1, min(SCENES, len(train))).astype(int)
    for axes, i in zip(figure.subplots(2, SCENES // 2).flat, chosen, strict=False):
        axes.imshow(train.images[i])
        names = ", ".join(dataset.classes[c] for c in np.flatnonzero(train.labels[i]))
        axes.set_title(textwrap.shorten(names, 34, placeholder=" ..."), fontsize=9)
        axes.set_axis_off()


def _draw_counts(axes: Axes, statistics: ClassStatistics, classes: Sequence[str]) -> None:
    order = np.argsort(-statistics.counts, kind="stable")
    colours = [GROUP_COLOURS[statistics.group_names[i]] for i in order]
    bars = axes.bar(range(len(order)), statistics.counts[order], color=colours, width=0.8)
    axes.set_yscale("log")
    # From below 1, so that the bar of a class of one image is seen; a quarter above the bars is for the legend.
    bottom = 0.7
    top = bottom * (statistics.counts.max() / bottom) ** (4 / 3)
    axes.set(title="Training images per class", ylabel="images (log scale)", xmargin=0.01, ylim=(bottom, top))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_minor_formatter("")
    _name_classes(axes, [classes[i] for i in order])
    if len(order) <= MOST_NAMED_CLASSES:
        axes.bar_label(bars, fontsize=7, padding=1)
    bounds = {"head": f"at least {HEAD_AT_LEAST}", "medium": f"{TAIL_BELOW} to {HEAD_AT_LEAST - 1}"}
    bounds["tail"] = f"under {TAIL_BELOW}"
    for group in GROUPS:
        mask = statistics.group_mask(group)
        words = "class" if mask.sum() == 1 else "classes"
        each = statistics.counts[mask].sum() / statistics.num_images
        label = f"{group}: {mask.sum()} {words} of {bounds[group]}, {each:.3f} labels per image"
        axes.bar(0, 0, color=GROUP_COLOURS[group], label=label)
    axes.legend(frameon=False, loc="upper right", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_conditional(axes: Axes, statistics: ClassStatistics, classes: Sequence[str]) -> None:
    import seaborn as sns

    order = np.argsort(-statistics.counts, kind="stable")
    # Fig. 5: column i, row j holds p(i|j); `conditional` has i along its rows.
    matrix = statistics.conditional[np.ix_(order, order)].T
    names = [classes[i] for i in order] if len(order) <= MOST_NAMED_CLASSES else False
    sns.heatmap(
        matrix, ax=axes, cmap="rocket_r", vmin=0, vmax=1, square=True, xticklabels=names, yticklabels=names,
        cbar_kws={"label": "p(i|j)", "shrink": 0.8},
    )  # fmt: skip
    axes.set(title="Co-occurrence: p(column i | row j), by class size")
    axes.tick_params(labelsize=8)


def _name_classes(axes: Axes, names: list[str]) -> None:
    if len(names) > MOST_NAMED_CLASSES:
        axes.set_xticks([])
        axes.set_xlabel(f"{len(names)} classes by size")
        return
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
