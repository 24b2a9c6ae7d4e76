"""What the commands of this room show while they work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# A pipe or a log file has no width of its own; tables need this much.
WIDTH_WITHOUT_TERMINAL = 120


@cache
def console() -> Console:
    """The console of this process."""
    from rich.console import Console

    found = Console()
    return found if found.is_terminal else Console(width=WIDTH_WITHOUT_TERMINAL)


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each name that is reported; call it with the name, how much more is done, and the whole."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    # In a log file, bars are noise.
    where: dict[str, Any] = {"console": console(), "transient": True, "disable": not console().is_terminal}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, TextColumn("remaining"), TimeRemainingColumn(), **where) as bars:
        tasks: dict[str, object] = {}

        def advance(name: str, more: int, whole: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=whole)
            bars.advance(tasks[name], more)  # type: ignore[arg-type]

        yield advance
