"""What the commands of all rooms share on the terminal: the console, lines, tables, JSON, progress bars."""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

# A pipe or a log file has no width of its own; tables need this much.
WIDTH_WITHOUT_TERMINAL = 120

Json = Annotated[bool, Parameter(name="--json", help="Print JSON.")]


@cache
def console() -> Console:
    """The console of this process."""
    found = Console()
    return found if found.is_terminal else Console(width=WIDTH_WITHOUT_TERMINAL)


def print_line(text: str) -> None:
    """Print a line as it is: neither wrapped, nor coloured, nor read as markup."""
    console().print(text, markup=False, highlight=False, soft_wrap=True)


def print_json(data: object) -> None:
    """Print JSON, in colour on a terminal."""
    console().print_json(data=data, indent=1, ensure_ascii=True)


def table_of(
    columns: Sequence[str], rows: Iterable[Iterable[object]], *, numbers: Container[str] = (), **style: Any
) -> Table:
    """A table of text, not markup, and of numbers with two decimals; None is "-".

    Args:
        columns: their headers.
        rows: cells; a `Text` keeps its style.
        numbers: columns that are aligned on the right.
        style: of the table, as `rich.table.Table` takes it.
    """
    table = Table(title_justify="left", caption_justify="left", **style)
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in numbers else "left")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(_shown(cell)) for cell in row))
    return table


def _shown(cell: object) -> str:
    if cell is None:
        return "-"
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)


class Bars(Progress):
    """Bars of these columns with the time that has passed and remains; in a log file, where they are noise, none."""

    def __init__(self, *columns: str | ProgressColumn) -> None:
        columns = (*columns, TimeElapsedColumn(), "remaining", TimeRemainingColumn())
        # Twice a second, for some read files to know how far they are.
        style: dict[str, Any] = {"transient": True, "refresh_per_second": 2, "disable": not console().is_terminal}
        super().__init__(*columns, console=console(), **style)


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each name that is reported; call it with the name, how much more is done, and the whole."""
    with Bars("{task.description}", BarColumn(), MofNCompleteColumn()) as bars:
        tasks = {}

        def advance(name: str, more: int, whole: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=whole)
            bars.advance(tasks[name], more)

        yield advance
