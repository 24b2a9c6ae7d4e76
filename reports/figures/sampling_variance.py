"""Fig. 5, below: how unequally class-aware re-sampling visits the images of one class."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ...datasets.long_tail.statistics import GROUPS, ClassStatistics, within_class_sampling_variance
from .registry import register_figure
from .source import classes_frame
from .style import PAGE, group_bars, legend_above, name_classes, new_figure


def sampling_variance(labels: Any, classes: Sequence[str], *, dataset: str = "labels") -> pd.DataFrame:
    """Variance of the normalised sampling times within each class (Sec. 4.4).

    One row per class of the labels `(N, C)`, largest first: dataset, class_name, class_size, group, variance.
    """
    statistics = ClassStatistics.from_labels(labels, class_names=classes)
    return classes_frame(statistics, classes, dataset, variance=within_class_sampling_variance(labels))


def _describe(frame: pd.DataFrame) -> str:
    means = frame.groupby("group").variance.mean()
    parts = [f"{group} {means[group]:.2f}" for group in GROUPS if group in means.index]
    most = frame.iloc[int(frame.variance.argmax())]
    return (
        f"Variance of normalised sampling times within each of {len(frame)} classes. "
        f"Mean by group: {', '.join(parts)}. Highest: {most.class_name} with {most.variance:.2f}."
    )


@register_figure(
    name="sampling-variance",
    title="Imbalance within classes after re-sampling (Fig. 5)",
    caption="For each class of {dataset}, the expected sampling times of its images (Eq. 2) are scaled to a mean "
    "of 1; the bar is their variance. High bars: some images of the class are drawn far more often than others.",
    describe=_describe,
    part="labels",
    collect=lambda source: sampling_variance(*source.training, dataset=source.dataset),
)
def draw_sampling_variance(frame: pd.DataFrame) -> Figure:
    """Draw one bar per class, by group."""
    figure, axes = new_figure(PAGE, 2.3)
    means = frame.groupby("group").variance.mean().map("mean {:.2f}".format)
    group_bars(axes, frame, "variance", label=lambda group: f"{group} ({means.get(group, 'no class')})")
    axes.set_ylabel("variance of normalised\nsampling times")
    name_classes(axes, frame)
    legend_above(figure, axes)
    return figure
