"""How much of each method's advantage remains at its defaults, at its best, and at the median of its space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from .registry import FigureEntry, register_figure
from .source import FigureSource
from .study_trials import need_tuning
from .style import BLACK, BLUE, GREY, VERMILLION, legend_above, new_figure, plain, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASELINE = "erm"
MEASURES = ("defaults", "best", "median", "lower_quartile")
LOOKS = {"defaults": (BLACK, "D"), "best": (VERMILLION, "^"), "median": (BLUE, "o"), "lower_quartile": (GREY, "v")}


def sensitivity_frame(trials: pd.DataFrame) -> pd.DataFrame:
    """One line per method and group: mAP at defaults, best, median and lower quartile of its complete trials.

    `over_...` are the same less those of the baseline, ERM (of the first method where ERM was not tuned).

    Args:
        trials: as `need_tuning` returns them.
    """
    rows = []
    for group in ("total", "tail"):
        for (method, title), own in trials.groupby(["method", "title"], sort=False):
            marks = own[group].dropna()
            default = own[own.default][group]
            rows.append(
                {
                    "dataset": own.dataset.iloc[0],
                    "method": method,
                    "title": title,
                    "group": group,
                    "trials": len(marks),
                    "defaults": default.iloc[0] if len(default) else float("nan"),
                    "best": marks.max(),
                    "median": marks.median(),
                    "lower_quartile": marks.quantile(0.25),
                }
            )
    frame = pd.DataFrame(rows)
    baseline = BASELINE if (frame.method == BASELINE).any() else frame.method.iloc[0]
    reference = frame[frame.method == baseline].set_index("group")
    for measure in MEASURES:
        frame[f"over_{measure}"] = frame[measure] - frame.group.map(reference[measure])
    return frame.assign(baseline=baseline)


@style()
def draw_sensitivity(frame: pd.DataFrame) -> Figure:
    """Draw a panel per group, a row per method, its four measures as marks.

    Args:
        frame: as `sensitivity_frame` returns it.
    """
    titles = list(dict.fromkeys(frame.title))
    figure, panels = new_figure(9.5, 1.4 + 0.42 * len(titles), 1, 2, sharey=True)
    for axes, group in zip(panels, ("total", "tail"), strict=True):
        own = frame[frame.group == group].set_index("title").reindex(titles)
        axes.hlines(range(len(titles)), own.lower_quartile, own.best, color=GREY, linewidth=1)
        for measure in MEASURES:
            colour, marker = LOOKS[measure]
            axes.scatter(own[measure], range(len(titles)), s=40, color=colour, marker=marker, zorder=3,
                         label=measure.replace("_", " "))  # fmt: skip
        axes.set_xlabel(f"{group} mAP, validation split, percent")
        axes.set_yticks(range(len(titles)), [plain(title) for title in titles])
        axes.spines[["left", "right", "top"]].set_visible(False)
    panels[0].set_ylim(len(titles) - 0.4, -0.6)
    legend_above(panels[0], 4)
    return figure


def _collect(source: FigureSource) -> pd.DataFrame:
    return sensitivity_frame(need_tuning(source))


def _describe(frame: pd.DataFrame) -> str:
    own = frame[(frame.group == "total") & (frame.method != frame.baseline)]
    lines = [
        f"{row['title']} is ahead of {row['baseline']} by {row['over_defaults']:.1f} at the defaults, "
        f"{row['over_best']:.1f} at the best, {row['over_median']:.1f} at the median"
        for row in own.to_dict("records")
    ]
    return "Total mAP in points: " + ("; ".join(lines) or "one method alone") + "."


register_figure(
    FigureEntry(
        name="sensitivity",
        title="How much of each method's advantage remains",
        caption="mAP of each method's complete trials in the last tuning on {dataset}: at its defaults, at its best, "
        "at the median and the lower quartile of its space; trials follow the sampler, which looks more often where it "
        "is good. The differences to ERM stand in the data beside the figure.",
        describe=_describe,
        part="studies",
        collect=_collect,
        draw=draw_sensitivity,
        place=42,
    )
)
