"""Fig. 5, below: how unequally class-aware re-sampling visits the images of one class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...datasets.long_tail.statistics import GROUPS, ClassStatistics, within_class_sampling_variance
from .registry import FigureEntry, register_figure
from .source import FigureSource
from .style import GROUP_COLOURS, GROUP_HATCHES, legend_above, name_classes, new_figure, plain, style, width_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def sampling_variance(labels: Any, classes: Sequence[str], *, dataset: str = "labels") -> pd.DataFrame:
    """Variance of the normalised sampling times within each class (Sec. 4.4), largest classes first.

    Args:
        labels: `(N, C)` of 0/1.
        classes: C class names.
        dataset: how the figure calls it.

    Returns:
        One row per class: dataset, class_name, class_size, group, variance.
    """
    statistics = ClassStatistics.from_labels(labels, class_names=classes)
    frame = pd.DataFrame(
        {
            "dataset": dataset,
            "class_name": [str(name) for name in classes],
            "class_size": statistics.counts,
            "group": statistics.group_names,
            "variance": within_class_sampling_variance(labels),
        }
    )
    return frame.sort_values("class_size", ascending=False, kind="stable", ignore_index=True)


@style()
def draw_sampling_variance(frame: pd.DataFrame) -> Figure:
    """Draw one bar per class, by group.

    Args:
        frame: as `sampling_variance` returns it.
    """
    figure, axes = new_figure(width_for(len(frame)), 3.8)
    for group in GROUPS:
        own = frame[frame.group == group]
        mean = f"mean {own.variance.mean():.2f}" if len(own) else "no class"
        axes.bar(own.index, own.variance, width=0.8, color=GROUP_COLOURS[group], hatch=GROUP_HATCHES[group],
                 edgecolor="white", linewidth=0, label=f"{group} ({mean})")  # fmt: skip
    axes.set_ylabel("variance of normalised\nsampling times")
    name_classes(axes, list(frame.class_name))
    axes.set_xlabel(f"classes of {plain(frame.dataset.iloc[0])}, largest first")
    legend_above(axes, 3)
    axes.spines[["right", "top"]].set_visible(False)
    return figure


def _collect(source: FigureSource) -> pd.DataFrame:
    return sampling_variance(source.training.labels, source.training.classes, dataset=source.dataset)


def _describe(frame: pd.DataFrame) -> str:
    means = frame.groupby("group").variance.mean()
    parts = [f"{group} {means[group]:.2f}" for group in GROUPS if group in means.index]
    most = frame.iloc[int(frame.variance.argmax())]
    return (
        f"Variance of normalised sampling times within each of {len(frame)} classes. "
        f"Mean by group: {', '.join(parts)}. Highest: {most.class_name} with {most.variance:.2f}."
    )


register_figure(
    FigureEntry(
        name="sampling-variance",
        title="Imbalance within classes after re-sampling (Fig. 5)",
        caption="For each class of {dataset}, the expected sampling times of its images (Eq. 2) are scaled to a mean "
        "of 1; the bar is their variance. High bars: some images of the class are drawn far more often than others.",
        describe=_describe,
        part="labels",
        collect=_collect,
        draw=draw_sampling_variance,
        place=30,
    )
)
