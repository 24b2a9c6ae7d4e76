"""Average precision against class size, with bands over seeds."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from ...datasets.long_tail.statistics import HEAD_AT_LEAST, TAIL_BELOW
from ..results.runs import of_one_dataset
from .method_styles import marker_style, method_style
from .placement import name_points
from .registry import register_figure
from .source import need_rows, run_command
from .style import GREY, PAGE, REFERENCE, SMALL, legend_above, new_figure, plain, round_numbers

METHODS = ("erm", "rs", "r-bce", "db", "db-focal")
NAMED = 6  # classes


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
    "classes, bands go from the lowest to the highest seed's running mean; "
    "below, the running means less the first method's. Classes far from the trend are named.",
    describe=_describe,
    part="results",
    collect=lambda source: class_size(source.per_class),
)
def draw_class_size(frame: pd.DataFrame) -> Figure:
    """Draw a point per class, a line for the trend and a band from the lowest to the highest seed.

    Below, the trends less the first method's. The classes farthest from the mean trend are named.
    """
    methods = [(str(method), own) for method, own in frame.groupby("method", sort=False)]
    several = len(methods) > 1
    size = {"height_ratios": [3, 1.7], "sharex": True} if several else {}
    figure, panels = new_figure(PAGE, 4.6 if several else 3.2, 1 + several, 1, squeeze=False, **size)
    axes, below, baseline = panels[0, 0], panels[-1, 0], None
    for method, own in methods:
        trend = own.groupby("class_size", sort=False)[["trend", "lowest", "highest"]].mean()
        line, label = method_style(method), f"{plain(method)} (seeds: {own.seeds.max()})"
        often = {"markevery": max(len(trend) // 6, 1)}
        axes.plot(own.class_size, own.ap, alpha=0.5, **marker_style(method) | {"markersize": 2.5})
        axes.fill_between(trend.index, trend.lowest, trend.highest, color=line["color"], alpha=0.15, linewidth=0)
        axes.plot(trend.index, trend.trend, label=label, **often, **line)
        if several:
            baseline = trend.trend if baseline is None else baseline
            below.plot(trend.index, trend.trend - baseline, **often, **line)
            below.set_ylabel(f"trend less that\nof {plain(methods[0][0], 16)}, points")
    axes.set_xscale("log")
    round_numbers(axes.xaxis)
    for bound in (HEAD_AT_LEAST, TAIL_BELOW):
        for panel in {axes, below}:
            panel.axvline(bound, color=GREY, linewidth=0.8, linestyle=REFERENCE)
    for bound, name in ((HEAD_AT_LEAST, " head →"), (TAIL_BELOW, " medium →")):
        axes.annotate(name, (bound, 0.01), xycoords=("data", "axes fraction"), fontsize=SMALL, color="#555555")
    below.set_xlabel(f"training images of the class in {plain(frame.dataset.iloc[0])} (logarithmic)")
    axes.set_ylabel("average precision, percent")
    legend_above(figure, axes)
    name_points((axes, _farthest(frame)))
    return figure


def _farthest(frame: pd.DataFrame) -> list[tuple[float, float, str]]:
    """Size, highest or lowest AP, and name of the classes farthest from the trend, on average over the methods."""
    of_class = frame.assign(beside=frame.ap - frame.trend).groupby("class_name", sort=False)
    found = of_class.agg(
        images=("class_size", "first"), beside=("beside", "mean"), low=("ap", "min"), high=("ap", "max")
    )
    most = found.reindex(found.beside.abs().sort_values(ascending=False, kind="stable").index).head(NAMED)
    return [(row.images, row.high if row.beside > 0 else row.low, str(name)) for name, row in most.iterrows()]


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
