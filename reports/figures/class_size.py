"""Average precision against class size, with bands over seeds."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from ...datasets.long_tail.statistics import HEAD_AT_LEAST, TAIL_BELOW
from .registry import register_figure
from .source import need_rows, of_one_dataset, run_command
from .style import GREY, REFERENCE, legend_above, line_style, new_figure, plain, round_numbers

METHODS = ("erm", "rs", "r-bce", "db", "db-focal")


def class_size(per_class: pd.DataFrame, *, methods: Sequence[str] = METHODS) -> pd.DataFrame:
    """Average precision of each class over its size, and a running mean over classes of similar size.

    One row per method and class, largest class first: dataset, method (title), class_name, class_size, ap (mean over
    seeds, percent), trend (running mean over a quarter of the classes), lowest, highest (of the seeds' own trends),
    seeds.

    Args:
        per_class: as `load_per_class` returns it; test splits of runs without overrides are taken.
        methods: which, in this order; those without runs are left out.

    Raises:
        InputError: if no method has a run, or there are several datasets.
    """
    on = of_one_dataset(per_class)
    own = on[(on.split == "test") & (on.overrides == "")].dropna(subset=["class_size"])
    command = run_command(on.dataset.iloc[0], methods)
    lacking = f"no run of {', '.join(methods)} with known class sizes; {command} makes some, or name other methods"
    own = need_rows(own[own.method.isin(methods)], lacking)
    chosen = [own[own.method == name] for name in methods if name in set(own.method)]
    return pd.concat([_trends(runs) for runs in chosen], ignore_index=True)


def _describe(frame: pd.DataFrame) -> str:
    ends = [
        f"{method} {own.trend.iloc[0]:.1f} at the largest classes, {own.trend.iloc[-1]:.1f} at the smallest"
        for method, own in frame.groupby("method", sort=False)
    ]
    return f"Average precision against class size (running mean). {'; '.join(ends)}."


@register_figure(
    name="class-size",
    title="Average precision against class size",
    caption="Each point is a class of {dataset} (mean over seeds); lines are running means over a quarter of the "
    "classes, bands go from the lowest to the highest seed's running mean.",
    describe=_describe,
    part="results",
    collect=lambda source: class_size(source.per_class),
)
def draw_class_size(frame: pd.DataFrame) -> Figure:
    """Draw a point per class, a line for the trend and a band from the lowest to the highest seed."""
    figure, axes = new_figure(8, 4.8)
    for i, (method, own) in enumerate(frame.groupby("method", sort=False)):
        line = line_style(i)
        axes.scatter(own.class_size, own.ap, s=13, alpha=0.45, color=line["color"], marker=line["marker"])
        axes.fill_between(own.class_size, own.lowest, own.highest, color=line["color"], alpha=0.15, linewidth=0)
        label = f"{plain(method)} (seeds: {own.seeds.max()})"
        axes.plot(own.class_size, own.trend, markevery=max(len(own) // 6, 1), markersize=6, label=label, **line)
    axes.set_xscale("log")
    round_numbers(axes.xaxis)
    for bound, name in ((HEAD_AT_LEAST, "head"), (TAIL_BELOW, "medium")):
        axes.axvline(bound, color=GREY, linewidth=0.8, linestyle=REFERENCE)
        axes.annotate(f" {name} →", (bound, 0.01), xycoords=("data", "axes fraction"), fontsize=8, color="#555555")
    axes.set_xlabel(f"training images of the class in {plain(frame.dataset.iloc[0])} (logarithmic)")
    axes.set_ylabel("average precision, percent")
    legend_above(axes, 5, columnspacing=1.2)
    return figure


def _trends(runs: pd.DataFrame) -> pd.DataFrame:
    """Rows of one method."""
    sizes = runs.drop_duplicates("class_name").set_index("class_name").class_size.astype(int)
    sizes = sizes.sort_values(ascending=False, kind="stable")
    seeds = runs.pivot(index="class_name", columns="seed", values="ap").loc[sizes.index]
    trends = seeds.rolling(max(3, round(len(sizes) / 4)), center=True, min_periods=1).mean()
    labels = {"dataset": runs.dataset.iloc[0], "method": runs.title.iloc[0]}
    frame = pd.DataFrame({**labels, "class_size": sizes, "ap": seeds.mean(axis=1), "trend": trends.mean(axis=1)})
    frame = frame.assign(lowest=trends.min(axis=1), highest=trends.max(axis=1), seeds=seeds.shape[1])
    frame.insert(2, "class_name", frame.index)
    return frame
