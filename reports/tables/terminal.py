"""A table for the terminal, as wide as there is room."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...benchmark.training.metrics import SCORE_NAMES
from ...terminal import table_of
from .result_table import FURTHER, OVER_IMAGES, STANDING, Cell, ResultTable, Row

# Where signs have a blank before them, and where quoted numbers of all groups stand beside the measured ones.
WIDTH_WITH_SPACED_SIGNS = 90
WIDTH_WITH_EVERY_DIFFERENCE = 118


def terminal(table: ResultTable, *, width: int = 120) -> Group:
    """For `rich`: the best of each column in bold; standings and experiment ids where there is room for them."""
    parts: list[RenderableType] = []
    notes = table.numbered_notes
    for title, rows in table.blocks:
        parts += [*[""] * bool(parts), *_framed(title, _measured(table, rows, width), [])]
    if table.rows:
        parts += [Text(sentence, style="dim") for sentence in (*table.legend(), *([] if table.quoted else notes))]
    if table.further:
        parts += ["", *_framed(table.further_title, _measured(table, table.further, width), [FURTHER])]
    if table.quoted:
        parts += ["", *_framed(table.quoted_title, _quoted(table, width), [*table.quoted_notes, *notes])]
    # Not dim like the legend: a reader who misses it takes the table for everything that there is.
    return Group(*parts, *(Text(sentence) for sentence in table.left_out))


def _framed(title: str, body: Table, sentences: Sequence[str]) -> list[RenderableType]:
    return [Text(title, style="italic"), body, *(Text(sentence, style="dim") for sentence in sentences)]


def _measured(table: ResultTable, rows: Sequence[Row], width: int) -> Table:
    optional = ("experiments", *[OVER_IMAGES] * table.is_resampled, STANDING)
    lines = []
    for row in rows:
        total = row.cells["total"]
        cells: list[object] = [row.label, *(_cell(row.cells[name], width) for name in SCORE_NAMES), row.seeds_of]
        cells += [total.standing, *[total.over_images] * table.is_resampled, Text(" ".join(row.short_ids), style="dim")]
        lines.append(cells)
    return _aligned(["method", *SCORE_NAMES, "seeds", *reversed(optional)], lines, optional=optional)


def _cell(cell: Cell, width: int) -> Text:
    """The number, with room for a sign behind it, so that numbers stay under each other."""
    gap = " " * (width >= WIDTH_WITH_SPACED_SIGNS)
    return Text.assemble((cell.text, "bold" if cell.best else ""), gap + (cell.sign or " "))


def _quoted(table: ResultTable, width: int) -> Table:
    groups = SCORE_NAMES if width >= WIDTH_WITH_EVERY_DIFFERENCE else ("total", "tail")
    heads, rows = table.quoted_rows(groups if table.measures_quoted else SCORE_NAMES)
    return _aligned(heads, rows, row_styles=["dim"])


def _aligned(heads: Sequence[str], rows: Iterable[Iterable[object]], **style: Any) -> Table:
    return table_of(heads, rows, numbers=(*SCORE_NAMES, "quoted", "difference", "seeds"), padding=0, **style)
