"""What changes between two configurations, class by class."""

import pandas as pd
from matplotlib.figure import Figure

from ...datasets.long_tail.statistics import GROUPS
from .style import BLACK, GREY, PAGE, SMALL, group_style, legend_above, new_figure, plain, style, write_names


@style()
def draw_class_differences(classes: pd.DataFrame, *, first: str, second: str) -> Figure:
    """Draw the difference of each class with its interval over seeds, largest class first, in its group's colour.

    `classes` are those of a `Comparison`; a class without test images has no point.
    """
    figure, axes = new_figure(PAGE, 3.3)
    axes.axhline(0, color=BLACK, linewidth=0.8)
    for group in (name for name in GROUPS if (classes.group == name).any()):
        own, own_style = classes[classes.group == group], group_style(group)
        axes.vlines(own.index, own.low, own.high, color=own_style["color"], linewidth=1.2, alpha=0.7)
        axes.plot(own.index, own.difference, linestyle="", markersize=5, label=group, **own_style)
    names = [f"{row.class_name} ({row.class_size})" for row in classes.itertuples()]
    write_names(axes, "x", names, (PAGE - 0.7) / len(names))
    axes.set_xlim(-0.7, len(names) - 0.3)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("classes (training images), largest first")
    axes.set_ylabel(f"AP of {plain(second)} minus\n{plain(first)}, points")
    if (seeds := int(classes.n.max())) > 1:
        note = f"mean over {seeds} shared seeds, 95 % interval"
    else:
        note = "one shared seed: noise is unknown"
    axes.set_title(note, loc="right", fontsize=SMALL, fontweight="normal", color=GREY)
    legend_above(figure, axes)
    return figure
