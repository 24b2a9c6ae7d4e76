"""A table for the terminal, as wide as there is room."""

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ...benchmark.training.metrics import SCORE_NAMES
from .result_table import NOISE_SIGN, QUOTED_HEADS, STANDING, Cell, ResultTable

WIDTH_WITH_SPACED_SIGNS = 90
WIDTH_WITH_STANDING = 112
WIDTH_WITH_IDS = 144


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
    rich = Table(box=box.SIMPLE_HEAD, padding=0)
    rich.add_column("method", overflow="fold", min_width=11)
    for name in SCORE_NAMES:
        rich.add_column(name, justify="right", no_wrap=True)
    if with_standing:
        rich.add_column(STANDING, overflow="fold")
    rich.add_column("seeds", justify="right", overflow="fold", min_width=6)
    if with_ids:
        rich.add_column("experiments", overflow="fold", style="dim")
    for row in table.rows:
        cells = [escape(row.label), *(_cell(row.cells[name], width) for name in SCORE_NAMES)]
        cells += [escape(row.cells["total"].standing)] * with_standing
        rich.add_row(*cells, row.number, *[escape(" ".join(row.short_ids))] * with_ids)
    return rich


def _cell(cell: Cell, width: int) -> str:
    """The number, with room for a sign behind it, so that numbers stay under each other."""
    gap = " " * (width >= WIDTH_WITH_SPACED_SIGNS)
    sign = gap + (NOISE_SIGN if cell.within_noise else " ")
    return f"[bold]{cell.text}[/bold]{sign}" if cell.best else f"{cell.text}{sign}"


def _quoted(table: ResultTable) -> Table:
    rich = Table(box=box.SIMPLE_HEAD, padding=0)
    for head in QUOTED_HEADS:
        rich.add_column(head, justify="right" if head in SCORE_NAMES else "left", overflow="fold", style="dim")
    for row in table.quoted:
        rich.add_row(*map(escape, table.quoted_cells(row)))
    return rich
