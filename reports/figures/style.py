"""The one style of every figure: fonts, sizes, colours told apart with any colour vision, marks that need no colour."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours; their lightness differs too, so that they part in grey.
BLACK, BLUE, ORANGE, VERMILLION, GREEN, PURPLE, SKY = (
    "#000000", "#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#56B4E9",
)  # fmt: skip
GREY, PALE = "#767676", "#C8C8C8"
GROUP_COLOURS = {"total": BLACK, "head": BLUE, "medium": ORANGE, "tail": VERMILLION}
GROUP_MARKERS = {"total": "D", "head": "o", "medium": "s", "tail": "v"}
GROUP_HATCHES = {"head": "", "medium": "///", "tail": "xxx"}
# One look per line of a figure: colour, marker and dashes each tell it from the others.
COLOURS = (BLACK, BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, GREY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)),
                           (0, (2, 2)), (0, (1, 3)))  # fmt: skip
SEQUENTIAL, DIVERGING = "rocket_r", "vlag"
DOTS_PER_INCH = 150
RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "grid.color": "#E3E3E3",
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
    import matplotlib as mpl
    import seaborn as sns

    with sns.axes_style(axes), mpl.rc_context(RC):
        yield


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **grid: Any) -> tuple[Figure, Any]:
    """Return a figure of so many inches, and its axes; `grid` goes to `Figure.subplots`."""
    figure = NotebookFigure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, **grid)


def look(i: int) -> dict[str, Any]:
    """Colour, marker and dashes of the i-th line of a figure; after eight they begin anew."""
    return {
        "color": COLOURS[i % len(COLOURS)],
        "marker": MARKERS[i % len(MARKERS)],
        "linestyle": DASHES[i % len(DASHES)],
    }


def plain(text: object) -> str:
    """A text from data as matplotlib shows it unchanged: without mathematics between dollars, on one line."""
    return " ".join(str(text).split()).replace("$", r"\$")


def name_size(number: int) -> float:
    """Font size of so many names along one axis of a figure made by `width_for`."""
    return 8 if number <= 40 else 6.5


def width_for(number: int, *, least: float = 7.5, each: float = 0.165) -> float:
    """Width in inches at which so many names along the horizontal axis do not touch."""
    return max(least, 1.5 + each * number)


def name_classes(axes: Axes, names: Sequence[str]) -> None:
    """Write class names under the positions 0, 1, ... of the horizontal axis."""
    axes.set_xticks(range(len(names)), [plain(name) for name in names], rotation=90, fontsize=name_size(len(names)))
    axes.set_xlim(-0.7, len(names) - 0.3)
    axes.grid(visible=False, axis="x")


def legend_above(axes: Axes, columns: int, **options: Any) -> None:
    """A legend over the axes, where no data is."""
    axes.legend(ncols=columns, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, **options)


def round_numbers(axis: Any) -> None:
    """Name 1, 2 and 5 of every decade of a logarithmic axis, as plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def arrange(figure: Figure) -> None:
    """Solve the layout once and for all formats: each would solve it anew, and draw once more to do so."""
    engine = figure.get_layout_engine()
    if engine is not None:
        figure.set_dpi(DOTS_PER_INCH)
        engine.execute(figure)
        figure.set_layout_engine(None)


def as_svg(figure: Figure) -> str:
    """The figure as an SVG element, with text as text, to be put into a page."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mltbench"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, dpi=DOTS_PER_INCH)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
