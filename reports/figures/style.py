"""The one style of every figure: widths, fonts, colours for any colour vision, markers that need no colour.

Functions draw what several figures share: names along an axis, bars by group, curves with bands, heat maps, legends.
"""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from ...datasets.long_tail import statistics
from ...datasets.long_tail.statistics import GROUPS

# Inches. Every figure is as wide as a column or as the text of the CVPR and ICCV kits (text of 6 7/8 in, two columns of
# 3 1/4 in), so that its PDF goes into a paper unscaled, with the font sizes below; ECCV's text is 4.8 in wide.
COLUMN, PAGE = 3.25, 6.875
FONT = "DejaVu Sans"
TEXT_SIZE, SMALL = 8, 7  # points
HINTED = 1.05  # pixels widen letters by so much
LEAST_LENGTH = 1.0  # of an axis of mAP, in points: less is noise
LONGEST_NAME, LONGEST_CLASS = 32, 28  # characters of a name from data, and along an axis; the CSV has it whole
# Okabe and Ito's colours; their lightness differs too, so that they differ in grey.
BLACK, BLUE, ORANGE, VERMILLION, GREEN, PURPLE, SKY = (
    "#000000", "#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#56B4E9",
)  # fmt: skip
GREY, PALE, GRID = "#767676", "#C8C8C8", "#E3E3E3"
GROUP_COLOURS = {"total": BLACK, **statistics.GROUP_COLOURS}
GROUP_MARKERS = {"total": "D", "head": "o", "medium": "s", "tail": "v"}
GROUP_HATCHES = {"head": "", "medium": "///", "tail": "xxx"}
# Colour, marker and dashes of a figure's curves that are not of methods: each alone distinguishes them.
COLOURS = (BLACK, BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, GREY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)),
                           (0, (2, 2)), (0, (1, 3)))  # fmt: skip
REFERENCE: Any = (0, (4, 3))  # dashes of a line that is no data
SEQUENTIAL, DIVERGING = "rocket_r", "vlag"
DOTS_PER_INCH = 150
RC: Any = {
    "font.family": FONT,
    "font.size": TEXT_SIZE,
    "axes.titlesize": TEXT_SIZE,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": TEXT_SIZE,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.labelsize": TEXT_SIZE,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "lines.markeredgewidth": 0.9,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.linewidth": 0.8,
    "hatch.linewidth": 0.5,
}
# Fonts that a publisher takes: TrueType, not matplotlib's Type 3.
PDF_RC: Any = {"pdf.fonttype": 42}


class NotebookFigure(Figure):
    """A figure that shows itself in a notebook, with nothing to switch on."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
        return buffer.getvalue()


@contextmanager
def style(axes: str = "whitegrid") -> Iterator[None]:
    """Within, figures are drawn in the suite's style; also a decorator of a drawing function."""
    with sns.axes_style(axes), mpl.rc_context(RC):
        yield


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **grid: Any) -> tuple[Figure, Any]:
    """Return a figure of so many inches, and its axes; `grid` goes to `Figure.subplots`."""
    figure = NotebookFigure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, **grid)


def figure_of(part: Axes | FigureBase) -> Figure:
    """The whole figure that axes or a part of a figure are in."""
    whole = part.get_figure(root=True)
    assert isinstance(whole, Figure)
    return whole


def curve_style(i: int) -> dict[str, Any]:
    """Colour, marker and dashes of the i-th curve of a figure; after eight they begin anew."""
    styles = zip(("color", "marker", "linestyle"), (COLOURS, MARKERS, DASHES), strict=True)
    return {key: values[i % len(values)] for key, values in styles}


def group_style(group: str) -> dict[str, Any]:
    """Colour and marker of a group of classes, or of the total."""
    return {"color": GROUP_COLOURS[group], "marker": GROUP_MARKERS[group]}


def plain(text: object, longest: int = LONGEST_NAME) -> str:
    """A text from data as matplotlib shows it unchanged: no mathematics between dollars, on one line, not too long."""
    line = " ".join(str(text).split())
    return (line if len(line) <= longest else f"{line[: longest - 1]}…").replace("$", r"\$")


def text_width(text: str, size: float = SMALL) -> float:
    """Width of a text in points, as `plain` returns it."""
    return (
        float(TextPath((0, 0), text, size, prop=FontProperties(family=FONT)).get_extents().width) * HINTED
        if text
        else 0.0
    )


def write_names(
    axes: Axes, which: Literal["x", "y"], names: Sequence[object], room: float, *, first: float = 0.0
) -> None:
    """Write names at the positions `first`, `first + 1`, ... of an axis, with `room` inches for each.

    Where they would touch, every other one stands farther out; where those would touch too, only every k-th is written.
    The figure grows by what names under it need.
    """
    side = "bottom" if which == "x" else "left"
    texts, step = [plain(name, LONGEST_CLASS) for name in names], math.ceil(1.12 * SMALL / 72 / room)
    axis, places = (axes.xaxis if which == "x" else axes.yaxis), [first + i for i in range(len(names))]
    rows, length = [texts[::step], texts[1::2] if step == 2 else []], 4.0
    for i, row in enumerate(rows):
        if row:
            axis.set_ticks(places[i::step], labels=row, minor=i > 0, fontsize=SMALL, rotation=90 if which == "x" else 0)
            tick: dict[str, Any] = {} if i == 0 else {"length": length, "width": 0.4, "color": PALE, side: True}
            axes.tick_params(axis=which, which="minor" if i else "major", **tick)
            length += max(map(text_width, row)) + 4
    if which == "x":
        figure = figure_of(axes)
        figure.set_figheight(figure.get_figheight() + length / 72)


def name_classes(axes: Axes, frame: pd.DataFrame) -> None:
    """Write the class names of a frame with one row per class under the positions 0, 1, ... of the horizontal axis."""
    number = len(frame)
    write_names(axes, "x", list(frame.class_name), (figure_of(axes).get_figwidth() - 0.7) / number)
    axes.set_xlim(-0.7, number - 0.3)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel(f"classes of {plain(frame.dataset.iloc[0])}, largest first")


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Write names beside the positions 0, 1, ... of the vertical axis, the first on top."""
    axes.set_yticks(range(len(names)), [plain(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)


def group_bars(axes: Axes, frame: pd.DataFrame, column: str, label: Callable[[str], str] = str) -> None:
    """Draw a bar per row in the colour and hatching of its group; `label` is the group's entry in the legend."""
    for group in GROUPS:
        own = frame[frame.group == group]
        axes.bar(own.index, own[column], width=0.8, color=GROUP_COLOURS[group], hatch=GROUP_HATCHES[group],
                 edgecolor="white", linewidth=0, label=label(group))  # fmt: skip


def curve_with_band(
    axes: Axes, frame: pd.DataFrame, x: str, y: str, *, band: Literal["deviation", "range"] = "deviation", **line: Any
) -> None:
    """Draw the mean of `y` at every `x`, and a band: one standard deviation, or from the lowest to the highest."""
    points = frame.groupby(x)[y].agg(["mean", "std", "min", "max"])
    if band == "deviation":
        spread = points["std"].fillna(0)
        points = points.assign(min=points["mean"] - spread, max=points["mean"] + spread)
    axes.fill_between(points.index, points["min"], points["max"], color=line["color"], alpha=0.15, linewidth=0)
    axes.plot(points.index, points["mean"], **line)


def heat_map(axes: Axes, frame: pd.DataFrame, column: str, colours: str, room: float, **bar: Any) -> None:
    """Draw a column of 0 to 1 of a frame with a row per pair of classes: `given` downwards, the others to the right.

    `room` is about how many inches the square and its names have.
    """
    names = list(frame.given.unique())
    side = room - max(text_width(plain(name, LONGEST_CLASS)) for name in names) / 72
    matrix = frame[column].to_numpy().reshape(len(names), len(names))
    sns.heatmap(matrix, ax=axes, cmap=colours, vmin=0, vmax=1, square=True, rasterized=True, xticklabels=False,
                yticklabels=False, cbar_kws={"aspect": 30, "location": "bottom", "shrink": 0.7, **bar})  # fmt: skip
    for which in ("x", "y"):
        axes.tick_params(axis=which, length=0, pad=1)
        write_names(axes, which, names, side / len(names), first=0.5)


def legend_above(figure: FigureBase, axes: Axes) -> None:
    """A legend of the axes over the whole figure, where no data is, in as many columns as it has room for.

    The figure grows by its second and further rows.
    """
    handles, names = axes.get_legend_handles_labels()
    whole = figure_of(figure)
    widths, numbers = [text_width(name) + 4 * SMALL for name in names], range(len(names), 1, -1)
    room = 72 * whole.get_figwidth()
    columns = next((n for n in numbers if sum(map(max, np.array_split(widths, n))) <= room), 1)
    figure.legend(handles, names, ncols=columns, loc="outside upper left", columnspacing=1.2)
    whole.set_figheight(whole.get_figheight() + (math.ceil(len(names) / columns) - 1) * 1.5 * SMALL / 72)


def limits(values: Any, *, margin: float = 0.06) -> tuple[float, float]:
    """Ends of an axis that shows how values differ: from the lowest to the highest, with a margin.

    It is at least `LEAST_LENGTH` long. A broken run does not flatten the others: values more than three interquartile
    ranges away from the quartiles are left outside, where there are five or more and the axis would be four times as
    long with them.

    >>> limits([70, 71, 72, 73, 74, 3], margin=0)
    (70.0, 74.0)
    """
    known = np.asarray(values, dtype=float).ravel()
    known = known[np.isfinite(known)]
    if len(known) >= 5:
        low, high = np.quantile(known, [0.25, 0.75])
        near = known[(known >= low - 3 * (high - low)) & (known <= high + 3 * (high - low))]
        known = near if np.ptp(known) > 4 * np.ptp(near) else known
    length = float(np.ptp(known))
    room = max((LEAST_LENGTH - length) / 2, margin * length)
    return float(known.min()) - room, float(known.max()) + room


def round_numbers(axis: Any, of_decade: tuple[int, ...] = (1, 2, 5)) -> None:
    """Name 1, 2 and 5 of every decade of a logarithmic axis, as plain numbers; a few round ones if it is short."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=of_decade) if high >= 5 * low else MaxNLocator(4))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def arrange(figure: Figure) -> None:
    """Solve the layout once for all formats: each would solve it anew, and draw once more to do so."""
    engine = figure.get_layout_engine()
    if engine is not None:
        figure.set_dpi(DOTS_PER_INCH)
        engine.execute(figure)
        figure.set_layout_engine(None)


def as_svg(figure: Figure) -> str:
    """The figure as an SVG element, with text as text, to be put into a page."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mltbench"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, dpi=DOTS_PER_INCH)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
