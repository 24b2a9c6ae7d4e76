"""All trials of a tuning at once: one line per trial across its settings, coloured by its mAP."""

import json
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .registry import register_figure
from .style import BLACK, PAGE, SMALL, new_figure, plain

LOGARITHMIC_FROM = 30
BOX = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # behind a name between lines


def coordinates_frame(trials: pd.DataFrame) -> pd.DataFrame:
    """One line per trial of `FigureSource.tuning` and setting: dataset, title, trial, default, total, key, value."""
    labels = ["dataset", "title", "trial", "default", "total"]
    rows = [
        (*(trial[label] for label in labels), key.partition(".")[2], value)
        for trial in trials.to_dict("records")
        for key, value in json.loads(trial["parameters"]).items()
    ]
    return pd.DataFrame(rows, columns=[*labels, "key", "value"])


def _describe(frame: pd.DataFrame) -> str:
    best = frame.drop_duplicates(["title", "trial"]).groupby("title", sort=False).total
    return "Trials of a tuning, best total: " + ", ".join(f"{title} {value:.1f}" for title, value in best.max().items())


@register_figure(
    name="parallel-coordinates",
    title="What the trials of a tuning tried, and reached",
    caption="One line per complete trial of the last tuning on {dataset}: its settings from left to right (the "
    "ends of each axis are its smallest and largest tried value), its colour the mAP on the validation split.",
    describe=_describe,
    part="studies",
    collect=lambda source: coordinates_frame(source.tuning()),
    axes="white",
)
def draw_coordinates(frame: pd.DataFrame) -> Figure:
    """Draw a panel per method; the defaults are a black line."""
    number = frame.title.nunique()
    figure, panels = new_figure(PAGE, 2.1 * number, number, 1, squeeze=False)
    for axes, (_, own) in zip(panels[:, 0], frame.groupby("title", sort=False), strict=True):
        _draw_method(axes, own)
    return figure


def _draw_method(axes: Axes, own: pd.DataFrame) -> None:
    keys = [key for key in own.key.unique() if own[own.key == key].value.astype(str).nunique() > 1]
    places = {key: _places(own[own.key == key].set_index("trial").value) for key in keys}
    trials = own.drop_duplicates("trial").sort_values("total")
    scale, colours = mpl.colors.Normalize(trials.total.min(), trials.total.max()), mpl.colormaps["viridis"]
    for trial, default, total in zip(trials.trial, trials.default, trials.total, strict=True):
        heights = [places[key][0].get(trial, np.nan) for key in keys]
        line: dict[str, Any] = {"color": colours(scale(total))}
        if default:
            line = {"color": BLACK, "linewidth": 1.8, "linestyle": (0, (3, 1)), "zorder": 3}
        axes.plot(range(len(keys)), heights, alpha=0.85, **line)
    ends = []
    for i, key in enumerate(keys):
        (_, lowest), *between, (_, highest) = places[key][1]
        ends.append(f"{lowest}\n{plain(key)}")
        axes.annotate(highest, (i, 1), (0, 3), textcoords="offset points", fontsize=SMALL, ha="center", va="bottom")
        for height, label in between:
            axes.text(i, height, label, fontsize=SMALL, ha="center", va="center", bbox=BOX)
    axes.set_xticks(range(len(keys)), ends)
    axes.set_yticks([])
    axes.grid(visible=True, axis="x")
    axes.set_title(f"{plain(own.title.iloc[0])}: {len(trials)} complete trials (dashed: defaults)", pad=14)
    axes.spines["bottom"].set_visible(False)
    axes.figure.colorbar(mpl.cm.ScalarMappable(scale, colours), ax=axes, label="total mAP, percent", pad=0.01)
    axes.spines["left"].set_visible(False)


def _places(values: "pd.Series[Any]") -> tuple[dict[str, float], list[tuple[float, str]]]:
    """Height of every trial on a setting's axis, and the axis' labels."""
    if any(isinstance(value, str) for value in values):
        options = sorted(values.astype(str).unique())
        step = {option: i / max(len(options) - 1, 1) for i, option in enumerate(options)}
        return {str(t): step[str(v)] for t, v in values.items()}, [(h, option) for option, h in step.items()]
    numbers = values.to_numpy(float)
    low, high = numbers.min(), numbers.max()
    scaled = np.log(numbers) if low > 0 and high / low >= LOGARITHMIC_FROM else numbers
    heights = (scaled - scaled.min()) / max(float(np.ptp(scaled)), 1e-12)
    return dict(zip(values.index, heights.tolist(), strict=True)), [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")]
