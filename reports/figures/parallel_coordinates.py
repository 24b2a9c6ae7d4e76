"""All trials of a tuning at once: one line per trial across its settings, coloured by what it reached."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .registry import FigureEntry, register_figure
from .source import FigureSource
from .study_trials import need_tuning
from .style import BLACK, new_figure, plain, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOGARITHMIC_FROM = 30
COLUMNS = ("dataset", "title", "trial", "default", "total", "key", "value")


def coordinates_frame(trials: pd.DataFrame) -> pd.DataFrame:
    """One line per trial and setting: dataset, title, trial, default, total, key, value.

    Args:
        trials: as `need_tuning` returns them.
    """
    rows = [
        (*(trial[label] for label in COLUMNS[:5]), key.partition(".")[2], value)
        for trial in trials.to_dict("records")
        for key, value in json.loads(trial["parameters"]).items()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


@style("white")
def draw_coordinates(frame: pd.DataFrame) -> Figure:
    """Draw a panel per method; the defaults are a black line.

    Args:
        frame: as `coordinates_frame` returns it.
    """
    titles = list(dict.fromkeys(frame.title))
    figure, panels = new_figure(10, 2.6 * len(titles), len(titles), 1, squeeze=False)
    for axes, title in zip(panels[:, 0], titles, strict=True):
        _draw_method(axes, frame[frame.title == title])
    return figure


def _draw_method(axes: Axes, own: pd.DataFrame) -> None:
    import matplotlib as mpl

    keys = [key for key in dict.fromkeys(own.key) if own[own.key == key].value.astype(str).nunique() > 1]
    places = {key: _places(own[own.key == key].set_index("trial").value) for key in keys}
    marks = own.drop_duplicates("trial").set_index("trial")
    scale = mpl.colors.Normalize(marks.total.min(), marks.total.max())
    colours = mpl.colormaps["viridis"]
    for trial in marks.sort_values("total").index:
        heights = [places[key][0].get(trial, np.nan) for key in keys]
        default = bool(marks.default[trial])
        looks = (
            {"color": BLACK, "linewidth": 2.2, "linestyle": (0, (3, 1)), "zorder": 3}
            if default
            else {"color": colours(scale(marks.total[trial]))}
        )
        axes.plot(range(len(keys)), heights, alpha=0.85, **looks)
    for i, key in enumerate(keys):
        for height, label in places[key][1]:
            axes.text(i + 0.02, height, label, fontsize=7, va="center")
    axes.set_xticks(range(len(keys)), [plain(key) for key in keys])
    axes.set_yticks([])
    axes.grid(visible=True, axis="x")
    axes.set_title(f"{plain(own.title.iloc[0])}: {len(marks)} complete trials (dashed: defaults)")
    axes.figure.colorbar(mpl.cm.ScalarMappable(scale, colours), ax=axes, label="total mAP, percent", pad=0.01)
    axes.spines[["right", "top", "left"]].set_visible(False)


def _places(values: pd.Series[Any]) -> tuple[dict[str, float], list[tuple[float, str]]]:
    """Height of every trial on a setting's axis, and the axis' labels."""
    if any(isinstance(value, str) for value in values):
        options = sorted(values.astype(str).unique())
        step = {option: i / max(len(options) - 1, 1) for i, option in enumerate(options)}
        return {str(t): step[str(v)] for t, v in values.items()}, [(h, option) for option, h in step.items()]
    numbers = values.astype(float)
    low, high = numbers.min(), numbers.max()
    log = low > 0 and high / low >= LOGARITHMIC_FROM
    scaled = np.log(numbers.to_numpy()) if log else numbers.to_numpy()
    heights = (scaled - scaled.min()) / max(float(np.ptp(scaled)), 1e-12)
    ends = [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")]
    return {str(t): float(height) for t, height in zip(values.index, heights, strict=True)}, ends


def _collect(source: FigureSource) -> pd.DataFrame:
    return coordinates_frame(need_tuning(source))


def _describe(frame: pd.DataFrame) -> str:
    best = frame.drop_duplicates(["title", "trial"]).groupby("title", sort=False).total
    return "Trials of a tuning, best total: " + ", ".join(f"{title} {value:.1f}" for title, value in best.max().items())


register_figure(
    FigureEntry(
        name="parallel-coordinates",
        title="What the trials of a tuning tried, and reached",
        caption="One line per complete trial of the last tuning on {dataset}: its settings from left to right (the "
        "ends of each axis are its smallest and largest tried value), its colour the mAP on the validation split.",
        describe=_describe,
        part="studies",
        collect=_collect,
        draw=draw_coordinates,
        place=40,
    )
)
