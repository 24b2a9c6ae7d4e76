"""What tuning gave: tuned minus default on the test split, on seeds that tuning never saw."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...benchmark.training.metrics import SCORE_NAMES
from ..tables.tuned import tuned_frame
from .registry import register_figure
from .source import FigureSource, need_rows
from .style import GREY, GROUP_COLOURS, GROUP_MARKERS, PAGE, legend_above, name_rows, new_figure, plain


def _collect(source: FigureSource) -> pd.DataFrame:
    lacking = f"no winner of a study was tested on {source.dataset}; `mltbench run --from-study NAME --seeds 5` does it"
    runs = need_rows(source.finished_runs, lacking)
    return need_rows(tuned_frame(source.need_store(), runs, source.dataset), lacking)


def _describe(frame: pd.DataFrame) -> str:
    parts = [
        f"{row['title']} {row['difference']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}], {row['n']} seeds"
        for row in frame[frame.group == SCORE_NAMES[0]].to_dict("records")
    ]
    return f"Tuned minus default, total mAP in points with 95 % intervals: {'; '.join(parts)}."


@register_figure(
    name="tuned-winners",
    title="What tuning gave",
    caption="Test mAP on {dataset} of the settings that a study found best on the validation split, less that of "
    "the method's defaults; both trained on seeds that the study never used, paired by seed; bars are 95 % "
    "intervals.",
    describe=_describe,
    part="studies",
    collect=_collect,
)
def draw_tuned(frame: pd.DataFrame) -> Figure:
    """Draw a row per winner of `tuned_frame`: the paired difference of each group with its interval."""
    labels = frame.title + " (" + frame.objective + ", " + frame.study + ")"
    names = list(labels.unique())
    figure, axes = new_figure(PAGE, 0.9 + 0.5 * len(names))
    for i, group in enumerate(SCORE_NAMES):
        own = frame[frame.group == group]
        rows = labels[own.index].map(names.index).astype(float) + 0.17 * (i - 1.5)  # none where it has no class
        reach = np.array([own.difference - own.low, own.high - own.difference])
        axes.errorbar(own.difference, rows, xerr=np.where(np.isfinite(reach), reach, 0), fmt=GROUP_MARKERS[group],
                      color=GROUP_COLOURS[group], elinewidth=1.2, capsize=2, label=group)  # fmt: skip
    axes.axvline(0, color=GREY, linewidth=1)
    name_rows(axes, names)
    axes.set_xlabel(f"tuned minus default, mAP on {plain(frame.dataset.iloc[0])}, test split, points")
    legend_above(figure, axes)
    return figure
