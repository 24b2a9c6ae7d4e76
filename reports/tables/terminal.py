"""A table for the terminal, as wide as there is room."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...benchmark.training.metrics import SCORE_NAMES
from ...terminal import table_of
from .result_table import FURTHER, OVER_IMAGES, STANDING, Cell, ResultTable, Row

WIDTH_WITH_SPACED_SIGNS = 90
WIDTH_WITH_STANDING = 112
WIDTH_WITH_IMAGES = 134
WIDTH_WITH_IDS = 160
WIDTH_WITH_EVERY_DIFFERENCE = 118
LEAST_WIDTHS = {"method": 11, "seeds": 6}


def terminal(table: ResultTable, *, width: int = 120) -> Group:
    """For `rich`: the best of each column in bold; standings and experiment ids where there is room for them."""
    parts: list[RenderableType] = []
    rest = [] if width >= WIDTH_WITH_IDS else ["Experiment ids and intervals over images stand in the report's files."]
    notes = table.numbered_notes
    if table.rows:
        sentences = [*table.legend(), *rest, *([] if table.quoted else notes)]
        parts += _framed(table.title, _measured(table, table.rows, width), sentences)
    if table.further:
        parts += ["", *_framed(table.further_title, _measured(table, table.further, width), [FURTHER])]
    if table.quoted:
        parts += ["", *_framed(table.quoted_title, _quoted(table, width), [*table.quoted_notes, *notes])]
    # Not dim like the legend: a reader who misses it takes the table for everything that there is.
    return Group(*parts, *(Text(sentence) for sentence in table.left_out))


def _framed(title: str, body: Table, sentences: Sequence[str]) -> list[RenderableType]:
    return [Text(title, style="italic"), body, *(Text(sentence, style="dim") for sentence in sentences)]


def _measured(table: ResultTable, rows: Sequence[Row], width: int) -> Table:
    with_standing, with_ids = width >= WIDTH_WITH_STANDING, width >= WIDTH_WITH_IDS
    with_images = table.is_resampled and width >= WIDTH_WITH_IMAGES
    heads = ["method", *SCORE_NAMES, *[STANDING] * with_standing, *[OVER_IMAGES] * with_images, "seeds"]
    heads += ["experiments"] * with_ids
    lines = []
    for row in rows:
        total = row.cells["total"]
        cells = [row.label, *(_cell(row.cells[name], width) for name in SCORE_NAMES)]
        cells += [*[total.standing] * with_standing, *[total.over_images] * with_images, row.number]
        lines.append([*cells, *[Text(" ".join(row.short_ids), style="dim")] * with_ids])
    return _aligned(heads, lines)


def _cell(cell: Cell, width: int) -> Text:
    """The number, with room for a sign behind it, so that numbers stay under each other."""
    gap = " " * (width >= WIDTH_WITH_SPACED_SIGNS)
    return Text.assemble((cell.text, "bold" if cell.best else ""), gap + (cell.sign or " "))


def _quoted(table: ResultTable, width: int) -> Table:
    groups = SCORE_NAMES if width >= WIDTH_WITH_EVERY_DIFFERENCE else ("total", "tail")
    heads, rows = table.quoted_rows(groups if any(map(table.measured_as, table.quoted)) else SCORE_NAMES)
    return _aligned(heads, rows, row_styles=["dim"])


def _aligned(heads: Sequence[str], rows: Iterable[Iterable[object]], **style: Any) -> Table:
    numbers = (*SCORE_NAMES, "quoted", "difference")
    found = table_of(heads, rows, numbers=(*numbers, "seeds"), box=box.SIMPLE_HEAD, padding=0, **style)
    for column in found.columns:
        column.no_wrap, column.min_width = column.header in numbers, LEAST_WIDTHS.get(str(column.header))
    return found
