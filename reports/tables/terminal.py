"""A table for the terminal, as wide as there is room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..results.results import GROUPS
from .formats import QUOTED_HEADS, STANDING, legend, numbered_notes, quoted_cells, quoted_notes, short_ids
from .rows import Cell, ResultTable

if TYPE_CHECKING:
    from rich.console import Console, Group, RenderableType
    from rich.table import Table

    from ..pages.report import Report

WIDTH_WITH_SPACED_MARKS = 90
WIDTH_WITH_STANDING = 112
WIDTH_WITH_IDS = 144


def terminal(table: ResultTable, *, width: int = 120) -> Group:
    """For `rich`: the best of each column in bold; standings and experiment ids where there is room for them."""
    from rich.console import Group
    from rich.text import Text

    rest = [] if width >= WIDTH_WITH_IDS else ["Experiment ids stand in the report's files."]
    notes = numbered_notes(table)
    parts = _framed(table.title, _measured(table, width), [*legend(table), *rest, *([] if table.quoted else notes)])
    if table.quoted:
        parts += ["", *_framed(table.quoted_title, _quoted(table), [*quoted_notes(table), *notes])]
    # Not dim, as what explains: who does not read it takes the table for everything that there is.
    return Group(*parts, *(Text(sentence) for sentence in table.left_out))


def print_failures(console: Console, report: Report) -> bool:
    """Name the figures that could not be drawn, with their errors; whether there are any."""
    from rich.text import Text

    lines = [
        f"failed: figure {name} of {dataset.dataset}: {reason}"
        for dataset in report.datasets
        for name, reason in dataset.failed.items()
    ]
    for line in lines:
        console.print(Text(line, style="bold red"), soft_wrap=True)
    return bool(lines)


def _framed(title: str, body: Table, sentences: Sequence[str]) -> list[RenderableType]:
    from rich.text import Text

    return [Text(title, style="italic"), body, *(Text(sentence, style="dim") for sentence in sentences)]


def _measured(table: ResultTable, width: int) -> Table:
    from rich.markup import escape

    with_standing, with_ids = width >= WIDTH_WITH_STANDING, width >= WIDTH_WITH_IDS
    rich = _empty_table()
    rich.add_column("method", overflow="fold", min_width=11)
    for group in GROUPS:
        rich.add_column(group, justify="right", no_wrap=True)
    if with_standing:
        rich.add_column(STANDING, overflow="fold")
    rich.add_column("seeds", justify="right", overflow="fold", min_width=6)
    if with_ids:
        rich.add_column("experiments", overflow="fold", style="dim")
    for row in table.rows:
        cells = [escape(row.label), *(_cell(row.cells[group], width) for group in GROUPS)]
        cells += [escape(row.cells["total"].standing)] * with_standing
        rich.add_row(*cells, row.number, *([escape(" ".join(short_ids(row)))] if with_ids else []))
    return rich


def _cell(cell: Cell, width: int) -> str:
    """The number, with room for a mark behind it, so that numbers stay under each other."""
    gap = " " * (width >= WIDTH_WITH_SPACED_MARKS)
    mark = gap + (cell.mark.strip() or " ")
    return f"[bold]{cell.text}[/bold]{mark}" if cell.best else f"{cell.text}{mark}"


def _quoted(table: ResultTable) -> Table:
    from rich.markup import escape

    rich = _empty_table()
    for head in QUOTED_HEADS:
        rich.add_column(head, justify="right" if head in GROUPS else "left", overflow="fold", style="dim")
    for row in table.quoted:
        rich.add_row(*map(escape, quoted_cells(table, row)))
    return rich


def _empty_table() -> Table:
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, padding=0)
