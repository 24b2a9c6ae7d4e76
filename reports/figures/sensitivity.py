"""How much of each method's advantage remains at its defaults, at its best, and at the median of its space."""

import pandas as pd
from matplotlib.figure import Figure

from .registry import register_figure
from .style import BLACK, BLUE, GREY, PAGE, VERMILLION, legend_above, name_rows, new_figure

BASELINE = "erm"
MEASURES = {"defaults": (BLACK, "D"), "best": (VERMILLION, "^"), "median": (BLUE, "o"), "lower_quartile": (GREY, "v")}


def sensitivity_frame(trials: pd.DataFrame) -> pd.DataFrame:
    """One line per method and group: mAP at defaults, best, median and lower quartile of its complete trials.

    `over_...` are the same less those of the baseline, ERM (of the first method where ERM was not tuned). Trials are
    those of `FigureSource.tuning`.
    """
    rows = []
    for group in ("total", "tail"):
        for (dataset, method, title), own in trials.groupby(["dataset", "method", "title"], sort=False):
            scores, default = own[group].dropna(), own[own.default][group]
            labels = {"dataset": dataset, "method": method, "title": title, "group": group, "trials": len(scores)}
            values = {"best": scores.max(), "median": scores.median(), "lower_quartile": scores.quantile(0.25)}
            rows.append({**labels, "defaults": default.iloc[0] if len(default) else float("nan"), **values})
    frame = pd.DataFrame(rows)
    baseline = BASELINE if (frame.method == BASELINE).any() else frame.method.iloc[0]
    reference = frame[frame.method == baseline].set_index("group")
    for measure in MEASURES:
        frame[f"over_{measure}"] = frame[measure] - frame.group.map(reference[measure])
    return frame.assign(baseline=baseline)


def _describe(frame: pd.DataFrame) -> str:
    own = frame[(frame.group == "total") & (frame.method != frame.baseline)]
    lines = [
        f"{row['title']} is ahead of {row['baseline']} by {row['over_defaults']:.1f} at the defaults, "
        f"{row['over_best']:.1f} at the best, {row['over_median']:.1f} at the median"
        for row in own.to_dict("records")
    ]
    return "Total mAP in points: " + ("; ".join(lines) or "one method alone") + "."


@register_figure(
    name="sensitivity",
    title="How much of each method's advantage remains",
    caption="mAP of each method's complete trials in the last tuning on {dataset}: at its defaults, at its best, "
    "at the median and the lower quartile of its space; the sampler tries more settings where results are good. "
    "The data beside the figure hold the differences to ERM.",
    describe=_describe,
    part="studies",
    collect=lambda source: sensitivity_frame(source.tuning()),
)
def draw_sensitivity(frame: pd.DataFrame) -> Figure:
    """Draw a panel per group, a row per method, its four measures as points."""
    titles = list(frame.title.unique())
    figure, panels = new_figure(PAGE, 0.9 + 0.2 * len(titles), 1, 2, sharey=True)
    for axes, group in zip(panels, ("total", "tail"), strict=True):
        own = frame[frame.group == group].set_index("title").reindex(titles)
        axes.hlines(range(len(titles)), own.lower_quartile, own.best, color=GREY, linewidth=1)
        for measure, (colour, marker) in MEASURES.items():
            axes.scatter(own[measure], range(len(titles)), s=22, color=colour, marker=marker, zorder=3,
                         label=measure.replace("_", " "))  # fmt: skip
        axes.set_xlabel(f"{group} mAP, validation split, percent")
        name_rows(axes, titles)
    legend_above(figure, panels[0])
    return figure
