"""What the commands of all rooms share on the terminal: the console, lines, tables, JSON, progress bars."""

import codecs
import io
import os
import sys
import unicodedata
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple

from cyclopts import Parameter
from rich import box
from rich.console import Console, ConsoleOptions, OverflowMethod, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

# A pipe or a log file has no width of its own; tables need this much, unless COLUMNS says another.
WIDTH_WITHOUT_TERMINAL = 120
# With less, rich leaves out whole columns; a narrower terminal wraps lines itself.
LEAST_WIDTH = 60
# Prose is read in columns of at least this width, or as wide as its longest word if that is shorter than this.
PROSE, LONGEST_WORD = 20, 32
# What an output shows that is not Unicode; letters lose their accents.
PLAIN = {"±": "+-", "≈": "~", "×": "x", "–": "-", "\N{MINUS SIGN}": "-", "→": "->", "←": "<-", "•": "*", "·": "*",
         "≠": "!=", "≤": "<=", "≥": ">="}  # fmt: skip

Json = Annotated[bool, Parameter(name="--json", help="Print JSON.")]


@cache
def console() -> Console:
    """The console of this process."""
    found = Console()
    if not found.is_terminal and not os.environ.get("COLUMNS", "").strip("0").isdigit():
        return Console(width=WIDTH_WITHOUT_TERMINAL)
    return found if found.width >= LEAST_WIDTH else Console(width=LEAST_WIDTH)


class Unfailing:
    """A stream to print to, which loses text where that cannot be written, and says why, instead of raising an error.

    What a command does is worth more than what it prints: `| head`, or a full disk, ends no training.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream
        self.problem: OSError | None = None

    def write(self, text: str) -> int:
        """Write a text, or lose it."""
        with self._losing():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered, or lose it."""
        with self._losing():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.problem = error
            # Python tries what is buffered again when it ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def accept_any_text() -> None:
    """Let standard output and error take every character, whatever their encoding, and whatever became of them.

    `±` becomes `+-` in ASCII. What a closed pipe does not take is lost. One that was closed from the beginning is
    opened to nowhere, else the next file, a database perhaps, would get its number and what is printed.
    """
    codecs.register_error("plain", _plainly)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            number = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)  # by processes that are started
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8"))
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")
            setattr(sys, name, Unfailing(stream))


def lost_output() -> str:
    """Why standard output could not be written; empty if it was, or if nobody wanted more, as in `| head`."""
    problem = sys.stdout.problem if isinstance(sys.stdout, Unfailing) else None
    return "" if problem is None or isinstance(problem, BrokenPipeError) else str(problem.strerror)


def _plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    """What is written instead of characters that an encoding lacks: others that mean the same, else their numbers."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    with suppress(UnicodeError):  # a path whose bytes this locale does not know is printed as it is
        raw = text.encode("ascii", "surrogateescape")
        raw.decode("utf-8")
        return raw, error.end
    plain = (PLAIN.get(each) or _without_accents(each) for each in text)
    return "".join(plain), error.end


def _without_accents(character: str) -> str:
    letters = "".join(each for each in unicodedata.normalize("NFKD", character) if each.isascii())
    return letters or character.encode("ascii", "backslashreplace").decode()


def print_line(text: str) -> None:
    """Print a line as it is: neither wrapped, nor coloured, nor read as markup."""
    console().print(text, markup=False, highlight=False, soft_wrap=True)


def print_json(data: object) -> None:
    """Print JSON, in colour on a terminal."""
    console().print_json(data=data, indent=1, ensure_ascii=True)


class _Width(NamedTuple):
    """How wide a column should be."""

    least: int  # at which nothing is broken that should not be
    best: int  # at which nothing is wrapped
    kind: Literal["prose", "name", "number"]


class FittedTable(Table):
    """A table in which numbers, names and ids are never broken across lines; `table_of` makes it.

    Text wraps in the columns of prose alone. Where there is too little room, the optional columns are left out, first
    those that have the same in every row, and the caption says so. After that, words of prose are broken, and at last
    the longest names are cut short.
    """

    def __init__(self, *, optional: Sequence[str] = (), **style: Any) -> None:
        self.optional = optional
        frameless = {"box": box.SIMPLE_HEAD, "show_edge": False, "pad_edge": False, "padding": (0, 1, 0, 0)}
        look = {} if "box" in style else frameless
        self.look = {**look, "title_justify": "left", "caption_justify": "left", **style}
        super().__init__(**self.look)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The columns that fit, each with its width."""
        # An empty column says nothing.
        widths = {i: _width(each, console) for i, each in enumerate(self.columns) if _texts(each) or not self.rows}
        values = {i: set(_texts(self.columns[i])) for i in widths}
        optional = [i for name in self.optional for i in widths if self.columns[i].header == name]
        optional.sort(key=lambda i: len(values[i]) > 1)
        alike, hidden = [], []
        while optional and self._room(widths, options) < 0:
            del widths[i := optional.pop(0)]
            name = str(self.columns[i].header)
            if len(values[i]) > 1:
                hidden.append(name)
            else:
                alike.append(f"{name} {values[i].pop()}")
        table = Table(**self.look)
        for i, width in zip(widths, _shared(list(widths.values()), self._room(widths, options)), strict=True):
            header, justify, no_wrap = self.columns[i].header, self.columns[i].justify, self.columns[i].no_wrap
            overflow: OverflowMethod = "ellipsis" if no_wrap else "fold"
            table.add_column(header, justify=justify, width=width, no_wrap=no_wrap, overflow=overflow)
        for cells in zip(*(self.columns[i].cells for i in widths), strict=True):
            table.add_row(*cells)
        notes = [f"in every row: {', '.join(alike)}"] * bool(alike)
        notes += [f"left out at this width: {', '.join(hidden)}"] * bool(hidden)
        table.caption = "\n".join([*([str(self.caption)] if self.caption else []), *map(escape, notes)]) or None
        yield table

    def _room(self, widths: Mapping[int, _Width], options: ConsoleOptions) -> int:
        """What the least widths of these columns leave."""
        sides = self.padding[1] + self.padding[3]
        edges = sides * self.pad_edge + 2 * bool(self.box and self.show_edge)
        between = (len(widths) - 1) * (sides + bool(self.box)) + edges
        return options.max_width - between - sum(width.least for width in widths.values())


def _texts(column: Column) -> list[str]:
    """What the cells say; nothing if none says anything."""
    texts = [str(cell) for cell in column.cells]
    return texts if any(texts) else []


def _width(column: Column, console: Console) -> _Width:
    unbounded = console.options.update(width=10_000)
    found = [Measurement.get(console, unbounded, each) for each in (column.header, *column.cells)]
    word, best = max(each.minimum for each in found), max(each.maximum for each in found)
    if column.no_wrap:
        name = column.justify == "left"
        return _Width(least=max(best, column.min_width or 0), best=best, kind="name" if name else "number")
    least = column.min_width or max(min(word, LONGEST_WORD), PROSE)
    return _Width(least=min(best, least), best=best, kind="prose")


def _shared(widths: Sequence[_Width], room: int) -> list[int]:
    """Widths of columns: what is left over goes to prose; what is lacking comes from prose, then from long names."""
    chosen = [width.least for width in widths]
    # Those that want least first: what they leave is for the others.
    wanting = sorted((max(width.best - width.least, 0), i) for i, width in enumerate(widths))
    for number, (want, i) in enumerate(wanting):
        more = max(0, min(want, room // (len(widths) - number)))
        chosen[i] += more
        room -= more
    for _ in range(-room):
        prose = [i for i, width in enumerate(widths) if width.kind == "prose" and chosen[i] > PROSE]
        names = [i for i, width in enumerate(widths) if width.kind == "name" and chosen[i] > 1]
        if prose or names:
            chosen[max(prose or names, key=chosen.__getitem__)] -= 1
    return chosen


def table_of(
    columns: Sequence[str],
    rows: Iterable[Iterable[object]],
    *,
    numbers: Container[str] = (),
    prose: Container[str] = (),
    optional: Sequence[str] = (),
    **style: Any,
) -> Table:
    """A table of text, not markup, and of numbers with two decimals; None is "-".

    Args:
        columns: their headers.
        rows: cells; a `Text` keeps its style.
        numbers: columns that are aligned on the right.
        prose: columns whose text wraps; all others are never broken across lines.
        optional: columns that are left out where there is too little room, in this order.
        style: of the table, as `rich.table.Table` takes it.
    """
    table = FittedTable(optional=optional, **style)
    for column in columns:
        table.add_column(column, no_wrap=column not in prose, justify="right" if column in numbers else "left")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(_shown(cell)) for cell in row))
    return table


def print_tables(tables: Sequence[Table]) -> None:
    """Print the tables that have rows, with an empty line between two."""
    for i, table in enumerate(table for table in tables if table.row_count):
        if i:
            print_line("")
        console().print(table)


def as_records(table: Table) -> list[dict[str, str]]:
    """The cells of a table by their headers, all columns of it, for JSON."""
    heads = [str(column.header) for column in table.columns]
    rows = zip(*(column.cells for column in table.columns), strict=True)
    return [dict(zip(heads, map(str, row), strict=True)) for row in rows]


def _shown(cell: object) -> str:
    if cell is None:
        return "-"
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)


def short_id(identity: str) -> str:
    """An id or digest as tables show it; every command takes an id in this form.

    >>> short_id("28ddae3adf59d615")
    '28ddae3a'
    """
    return identity[:8]


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
