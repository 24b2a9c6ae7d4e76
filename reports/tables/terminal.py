"""A table for the terminal, as wide as there is room."""

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...benchmark.training.metrics import SCORE_NAMES
from ...terminal import table_of
from .result_table import NOISE_SIGN, QUOTED_HEADS, STANDING, Cell, ResultTable

WIDTH_WITH_SPACED_SIGNS = 90
WIDTH_WITH_STANDING = 112
WIDTH_WITH_IDS = 144
LEAST_WIDTHS = {"method": 11, "seeds": 6}


def terminal(table: ResultTable, *, width: int = 120) -> Group:
    """For `rich`: the best of each column in bold; standings and experiment ids where there is room for them."""
    rest = [] if width >= WIDTH_WITH_IDS else ["Experiment ids stand in the report's files."]
    notes = table.numbered_notes
    parts = _framed(table.title, _measured(table, width), [*table.legend(), *rest, *([] if table.quoted else notes)])
    if table.quoted:
        parts += ["", *_framed(table.quoted_title, _quoted(table), [*table.quoted_notes, *notes])]
    # Not dim like the legend: a reader who misses it takes the table for everything that there is.
    return Group(*parts, *(Text(sentence) for sentence in table.left_out))


def _framed(title: str, body: Table, sentences: Sequence[str]) -> list[RenderableType]:
    return [Text(title, style="italic"), body, *(Text(sentence, style="dim") for sentence in sentences)]


def _measured(table: ResultTable, width: int) -> Table:
    with_standing, with_ids = width >= WIDTH_WITH_STANDING, width >= WIDTH_WITH_IDS
    heads = ["method", *SCORE_NAMES, *[STANDING] * with_standing, "seeds", *["experiments"] * with_ids]
    rows = []
    for row in table.rows:
        cells = [row.label, *(_cell(row.cells[name], width) for name in SCORE_NAMES)]
        cells += [row.cells["total"].standing] * with_standing
        rows.append([*cells, row.number, *[Text(" ".join(row.short_ids), style="dim")] * with_ids])
    found = table_of(heads, rows, numbers=(*SCORE_NAMES, "seeds"), box=box.SIMPLE_HEAD, padding=0)
    for column in found.columns:
        column.no_wrap, column.min_width = column.header in SCORE_NAMES, LEAST_WIDTHS.get(str(column.header))
    return found


def _cell(cell: Cell, width: int) -> Text:
    """The number, with room for a sign behind it, so that numbers stay under each other."""
    gap = " " * (width >= WIDTH_WITH_SPACED_SIGNS)
    sign = gap + (NOISE_SIGN if cell.within_noise else " ")
    return Text.assemble((cell.text, "bold" if cell.best else ""), sign)


def _quoted(table: ResultTable) -> Table:
    rows = map(table.quoted_cells, table.quoted)
    return table_of(QUOTED_HEADS, rows, numbers=SCORE_NAMES, box=box.SIMPLE_HEAD, padding=0, row_styles=["dim"])
