"""The one style of every figure: fonts, sizes, colours for any colour vision, markers that need no colour.

Helpers draw what several figures share: names along an axis, bars by group, curves with bands, heat maps, legends.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from ...datasets.long_tail import statistics
from ...datasets.long_tail.statistics import GROUPS

# Okabe and Ito's colours; their lightness differs too, so that they differ in grey.
BLACK, BLUE, ORANGE, VERMILLION, GREEN, PURPLE, SKY = (
    "#000000", "#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#56B4E9",
)  # fmt: skip
GREY, PALE, GRID = "#767676", "#C8C8C8", "#E3E3E3"
GROUP_COLOURS = {"total": BLACK, **statistics.GROUP_COLOURS}
GROUP_MARKERS = {"total": "D", "head": "o", "medium": "s", "tail": "v"}
GROUP_HATCHES = {"head": "", "medium": "///", "tail": "xxx"}
# Colour, marker and dashes of a figure's lines: each alone distinguishes them.
COLOURS = (BLACK, BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, GREY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)),
                           (0, (2, 2)), (0, (1, 3)))  # fmt: skip
REFERENCE: Any = (0, (4, 3))  # dashes of a line that is no data
SEQUENTIAL, DIVERGING = "rocket_r", "vlag"
DOTS_PER_INCH = 150
RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "grid.color": GRID,
    "hatch.linewidth": 0.5,
}


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


def line_style(i: int) -> dict[str, Any]:
    """Colour, marker and dashes of the i-th line of a figure; after eight they begin anew."""
    styles = zip(("color", "marker", "linestyle"), (COLOURS, MARKERS, DASHES), strict=True)
    return {key: values[i % len(values)] for key, values in styles}


def group_style(group: str) -> dict[str, Any]:
    """Colour and marker of a group of classes, or of the total."""
    return {"color": GROUP_COLOURS[group], "marker": GROUP_MARKERS[group]}


def plain(text: object) -> str:
    """A text from data as matplotlib shows it unchanged: without mathematics between dollars, on one line."""
    return " ".join(str(text).split()).replace("$", r"\$")


def name_size(number: int) -> float:
    """Font size of so many names along one axis of a figure made by `width_for`."""
    return 8 if number <= 40 else 6.5


def width_for(number: int, *, least: float = 7.5, each: float = 0.165) -> float:
    """Width in inches at which so many names along the horizontal axis do not touch."""
    return max(least, 1.5 + each * number)


def name_classes(axes: Axes, frame: pd.DataFrame) -> None:
    """Write the class names of a frame with one row per class under the positions 0, 1, ... of the horizontal axis."""
    number = len(frame)
    axes.set_xticks(range(number), map(plain, frame.class_name), rotation=90, fontsize=name_size(number))
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


def heat_map(axes: Axes, frame: pd.DataFrame, column: str, colours: str, **bar: Any) -> None:
    """Draw a column of 0 to 1 of a frame with a row per pair of classes: `given` downwards, the others to the right."""
    names = [plain(name) for name in frame.given.unique()]
    matrix = frame[column].to_numpy().reshape(len(names), len(names))
    sns.heatmap(matrix, ax=axes, cmap=colours, vmin=0, vmax=1, square=True, rasterized=True, xticklabels=names,
                yticklabels=names, cbar_kws={"aspect": 30, **bar})  # fmt: skip
    axes.tick_params(labelsize=name_size(len(names)), length=0, pad=1)
    axes.tick_params(axis="x", rotation=90)


def legend_above(axes: Axes, columns: int, **options: Any) -> None:
    """A legend over the axes, where no data is."""
    axes.legend(ncols=columns, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, **options)


def round_numbers(axis: Any) -> None:
    """Name 1, 2 and 5 of every decade of a logarithmic axis, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
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
