"""Fig. 2 and 5: how often each class is drawn, before and after class-aware re-sampling."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...datasets.long_tail.statistics import UNKNOWN, ClassStatistics, as_label_matrix
from ...methods.samplers import ClassAware
from .registry import register_figure
from .source import classes_frame
from .style import BLACK, BLUE, PAGE, PALE, REFERENCE, VERMILLION, legend_above, name_classes, new_figure

EPOCHS = 10


def class_distribution(
    labels: Any, classes: Sequence[str], *, dataset: str = "labels", epochs: int = EPOCHS, seed: int = 0
) -> pd.DataFrame:
    """Share of images that hold each class: without re-sampling, by Eq. 1, and as the sampler really draws.

    One row per class of the labels `(N, C)`, largest first: dataset, class_name, class_size, group, original (n_i/N),
    expected (Eq. 1), sampled (mean over the epochs) and sampled_deviation (between epochs). Shares are of the images in
    which the class is known.
    """
    matrix = as_label_matrix(labels)
    statistics = ClassStatistics.from_labels(matrix, class_names=classes)
    stream = ClassAware().open(matrix, np.random.default_rng(seed))
    drawn = (matrix[stream.next_epoch()] for _ in range(epochs))
    shares = np.array([(labels == 1).sum(axis=0) / np.maximum((labels != UNKNOWN).sum(axis=0), 1) for labels in drawn])
    return classes_frame(
        statistics,
        classes,
        dataset,
        original=statistics.counts / statistics.known_images,
        expected=statistics.expected_frequencies,
        sampled=shares.mean(axis=0),
        sampled_deviation=shares.std(axis=0, ddof=1) if epochs > 1 else np.full(len(classes), np.nan),
    )


def _describe(frame: pd.DataFrame) -> str:
    before, after = (frame[column].max() / frame[column].min() for column in ("original", "expected"))
    error = (frame.sampled - frame.expected).abs().max()
    return (
        f"Share of drawn images that hold each of {len(frame)} classes. The most frequent class is drawn {before:,.0f} "
        f"times as often as the rarest without re-sampling and {after:.0f} times as often with it. "
        f"The sampler's draws and Eq. 1 differ by at most {error:.1e}."
    )


@register_figure(
    name="class-distribution",
    title="Class distribution before and after re-sampling (Fig. 2 and 5)",
    caption="Share of drawn images of {dataset} that hold each class (logarithmic): without re-sampling, with "
    "class-aware re-sampling by Eq. 1, and in epochs that the suite's sampler drew (bars: standard deviation "
    "between epochs). An even distribution would lie on the dashed line.",
    describe=_describe,
    part="labels",
    collect=lambda source: class_distribution(*source.training, dataset=source.dataset),
)
def draw_class_distribution(frame: pd.DataFrame) -> Figure:
    """Draw bars without re-sampling, Eq. 1 as a line, and what the sampler drew as crosses."""
    figure, axes = new_figure(PAGE, 2.8)
    x = np.arange(len(frame))
    axes.bar(x, frame.original, width=0.85, color=PALE, label=r"without re-sampling, $n_i/N$")
    axes.plot(x, frame.expected, color=BLUE, marker="o", fillstyle="none", linewidth=1,
              label="class-aware re-sampling, Eq. 1")  # fmt: skip
    axes.errorbar(x, frame.sampled, yerr=frame.sampled_deviation, color=VERMILLION, fmt="x",
                  elinewidth=1, label=f"class-aware re-sampling, {EPOCHS} epochs drawn", zorder=4)  # fmt: skip
    axes.axhline(1 / len(frame), color=BLACK, linewidth=0.8, linestyle=REFERENCE, label="even, 1/C")
    axes.set_ylabel("share of drawn images")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")  # plain shares instead of powers of ten
    name_classes(axes, frame)
    legend_above(figure, axes)
    return figure
