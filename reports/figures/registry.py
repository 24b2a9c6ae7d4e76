"""Which figures exist. A file in `reports/figures/` that calls `register_figure` adds one; nothing else changes."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ...errors import InputError
from ...registry import NamedEntries
from ..tables.formats import spreadsheet_text
from .manifest import update_manifest
from .source import FigureSource, MissingDataError
from .style import DOTS_PER_INCH, arrange, as_svg

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import pandas as pd
    from matplotlib.figure import Figure

PARTS = ("results", "studies", "labels", "equations")


class UnwritableError(InputError):
    """The folder of the figures cannot be written: no other figure would fare better."""


class FailedFigureError(InputError):
    """A figure met an error; the message says which, and where."""


@dataclass(frozen=True, kw_only=True)
class FigureEntry:
    """A figure by name.

    Attributes:
        name: of its files, such as `co-occurrence`.
        title: as a heading prints it.
        caption: what is drawn, and how to read it; may name the dataset as `{dataset}`.
        describe: alternative text from the data: what a reader who does not see the figure should know.
        part: what it needs: `labels`, `equations` (nothing), `results` (finished runs), `studies` (trials).
        collect: from a source, the tidy data that is drawn; raises `MissingDataError` where there is none.
        draw: the figure from that data; the same data is written beside it as CSV.
        place: smaller ones come first within their part.
    """

    name: str
    title: str
    caption: str
    describe: Callable[[pd.DataFrame], str]
    part: Literal["results", "studies", "labels", "equations"]
    collect: Callable[[FigureSource], pd.DataFrame]
    draw: Callable[[pd.DataFrame], Figure]
    place: int = 100


@dataclass(frozen=True, kw_only=True)
class DrawnFigure:
    """A figure on disk: `NAME.svg`, `.pdf`, `.png`, and its data as `NAME.csv`.

    Attributes:
        name: of its files.
        title: as a heading prints it.
        caption: with the dataset's name.
        alternative_text: for those who do not see it.
        part: as its entry says.
    """

    name: str
    title: str
    caption: str
    alternative_text: str
    part: str


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What became of the figures that were asked for.

    Attributes:
        drawn: those on disk, in order.
        without: by name, what the others lack.
        failed: by name, the error that those met which should have been drawn.
    """

    drawn: list[DrawnFigure] = field(default_factory=list)
    without: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


_REGISTERED = NamedEntries[FigureEntry]("figure", str(__package__))


def register_figure(entry: FigureEntry) -> FigureEntry:
    """Add a figure.

    Raises:
        InputError: if the name is taken.
    """
    return _REGISTERED.add(entry)


def list_figures() -> list[FigureEntry]:
    """All figures, in the order in which reports show them."""
    return sorted(_REGISTERED.load().values(), key=lambda entry: (PARTS.index(entry.part), entry.place, entry.name))


def get_figure(name: str) -> FigureEntry:
    """Return one figure.

    Raises:
        InputError: if there is none of that name.
    """
    return _REGISTERED.get(name)


def draw_figures(
    source: FigureSource,
    folder: Path,
    *,
    entries: Sequence[FigureEntry] | None = None,
    on_figure: Callable[[str], None] = lambda name: None,
    drawers: Executor | None = None,
) -> Drawing:
    """Draw every figure that has data into a folder, with its data beside it and `figures.json` naming them all.

    A figure that fails is named with its error; the others are drawn. One that an earlier drawing left there and that
    is asked for in vain now is removed.

    Args:
        source: what they are drawn from.
        folder: made where it is missing.
        entries: these alone; None takes all.
        on_figure: called with each name before it is drawn.
        drawers: processes that draw registered figures while this one collects the data of the next, as `open_drawers`
            opens them; None draws here.

    Raises:
        UnwritableError: if the folder cannot be written.
    """
    found = Drawing()

    def begun() -> Iterator[tuple[str, Callable[[], DrawnFigure]]]:
        for entry in list_figures() if entries is None else entries:
            on_figure(entry.name)
            try:
                task = (entry.collect(source), source.dataset, folder)
                submitted = drawers.submit(_write_by_name, entry.name, *task) if drawers else None
            except MissingDataError as missing:
                found.without[entry.name] = str(missing)
            except Exception as error:
                found.failed[entry.name] = _failure(error)
            else:
                yield entry.name, submitted.result if submitted else partial(_write, entry, *task)

    # With processes all are under way before the first is waited for.
    for name, finish in list(begun()) if drawers else begun():
        try:
            found.drawn.append(finish())
        except UnwritableError:
            raise
        except Exception as error:
            found.failed[name] = _failure(error)
    try:
        asked = None if entries is None else [entry.name for entry in entries]
        update_manifest(folder, [asdict(figure) for figure in found.drawn], asked)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return found


def write_figure(figure: Figure, stem: Path) -> None:
    """Write `STEM.svg`, `STEM.pdf` and `STEM.png`, the same bytes for the same figure.

    Raises:
        UnwritableError: if they cannot be written.
    """
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        arrange(figure)
        figure.savefig(stem.with_name(f"{stem.name}.png"), metadata={"Software": None}, dpi=DOTS_PER_INCH)
        stem.with_name(f"{stem.name}.svg").write_text(as_svg(figure), encoding="utf-8")
        figure.savefig(stem.with_name(f"{stem.name}.pdf"), metadata={"CreationDate": None}, dpi=DOTS_PER_INCH)
    except OSError as error:
        raise _unwritable(stem.parent, error) from error


def write_data(data: pd.DataFrame, path: Path) -> None:
    """Write a figure's data as CSV; a text that a spreadsheet would take for a formula gets a leading apostrophe.

    Raises:
        UnwritableError: if it cannot be written.
    """
    safe = data.copy()
    for column in safe.columns:
        if safe[column].dtype.kind not in "iufb":
            safe[column] = [spreadsheet_text(str(value)) for value in safe[column]]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        safe.to_csv(path, index=False, lineterminator="\n")
    except OSError as error:
        raise _unwritable(path.parent, error) from error


def _write_by_name(name: str, data: pd.DataFrame, dataset: str, folder: Path) -> DrawnFigure:
    """As `_write`, in another process: an error tells its place here, for tracebacks do not travel."""
    try:
        return _write(get_figure(name), data, dataset, folder)
    except UnwritableError:
        raise
    except Exception as error:
        raise FailedFigureError(_failure(error)) from error


def _write(entry: FigureEntry, data: pd.DataFrame, dataset: str, folder: Path) -> DrawnFigure:
    write_figure(entry.draw(data), folder / entry.name)
    write_data(data, folder / f"{entry.name}.csv")
    return DrawnFigure(
        name=entry.name,
        title=entry.title,
        caption=entry.caption.replace("{dataset}", dataset),
        alternative_text=entry.describe(data),
        part=entry.part,
    )


def _failure(error: Exception) -> str:
    """An error as a line for people: our own are written for them, others tell their kind and place."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, BrokenExecutor):
        return "a process that draws has died, perhaps for want of memory; give the command again"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"


def _unwritable(folder: Path, error: OSError) -> UnwritableError:
    return UnwritableError(
        f"cannot write figures to {folder}: {error.strerror or error}; give a writable folder with --to"
    )
