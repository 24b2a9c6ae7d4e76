"""What a figure is, which there are, and how they are drawn into a folder.

A file in `reports/figures/` whose drawing function is decorated with `register_figure` adds one; nothing else changes.
"""

import json
import re
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from ...errors import InputError
from ...files import UnwritableError, replacing, writing
from ...registry import NamedEntries
from ..tables.result_table import csv_text
from .source import FigureSource, MissingDataError
from .style import DOTS_PER_INCH, PDF_RC, arrange, as_svg, style

# The parts of a report, and the order of their figures; those that are not named come last in theirs.
PARTS = {
    "results": ("groups", "critical-difference", "step-wise", "class-size", "examples", "confusion",
                "score-distributions", "cost", "training-loss", "validation-curves"),
    "studies": ("sweep-beta", "sweep-lambda", "sweep-kappa", "sweep-mu", "sweep-alpha", "sweep-ntr-on-positives",
                "imbalance", "parallel-coordinates", "pareto-front", "sensitivity", "tuned-winners"),
    "labels": ("co-occurrence", "class-distribution", "sampling-variance"),
    "equations": ("negative-gradient", "weight-function"),
}  # fmt: skip
Draw = TypeVar("Draw", bound=Callable[[pd.DataFrame], Figure])
MANIFEST = "figures.json"
FORMATS = ("svg", "pdf", "png", "csv")


@dataclass(frozen=True, kw_only=True)
class FigureEntry:
    """A figure by name: the data that it shows, and how they are drawn and described."""

    name: str  # of its files, such as `co-occurrence`
    title: str
    caption: str  # what is drawn, and how to read it; may name the dataset as `{dataset}`
    describe: Callable[[pd.DataFrame], str]  # alternative text: what a reader who does not see the figure should know
    part: Literal["results", "studies", "labels", "equations"]  # finished runs, trials, training labels, nothing
    collect: Callable[[FigureSource], pd.DataFrame]  # tidy data, which is written as CSV; may raise `MissingDataError`
    draw: Callable[[pd.DataFrame], Figure]


@dataclass(frozen=True, kw_only=True)
class DrawnFigure:
    """A figure on disk: `NAME.svg`, `.pdf`, `.png`, and its data as `NAME.csv`; its caption names the dataset."""

    name: str
    title: str
    caption: str
    alternative_text: str
    part: str
    width: int  # of the SVG in CSS pixels, 96 an inch, so that a page can keep its place free
    height: int


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """The figures on disk, in order, and by name what the others lack or the error that they met."""

    drawn: list[DrawnFigure] = field(default_factory=list)
    without: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


_REGISTERED = NamedEntries[FigureEntry]("figure", str(__package__))
get_figure = _REGISTERED.get


def register_figure(*, axes: str = "whitegrid", **about: Any) -> Callable[[Draw], Draw]:
    """Decorate the drawing function of a figure, which then draws in the suite's style on such `axes` of seaborn's.

    `about` are the other fields of its `FigureEntry`. Raises `InputError` if its name is taken.
    """

    def decorate(draw: Draw) -> Draw:
        styled = style(axes)(draw)
        _REGISTERED.add(FigureEntry(draw=styled, **about))
        return styled

    return decorate


def list_figures() -> list[FigureEntry]:
    """All figures, in the order in which reports show them."""

    def place(entry: FigureEntry) -> tuple[int, int, str]:
        names = PARTS[entry.part]
        return list(PARTS).index(entry.part), (*names, entry.name).index(entry.name), entry.name

    return sorted(_REGISTERED.load().values(), key=place)


def draw_figures(
    source: FigureSource,
    folder: Path,
    *,
    entries: Sequence[FigureEntry] | None = None,
    on_figure: Callable[[str], None] = lambda name: None,
) -> Drawing:
    """Draw every figure that has data into a folder, with its data as CSV and `figures.json` listing them all.

    A figure that fails is reported with its error; the others are drawn. A figure of an earlier drawing is removed if
    it is asked for again and cannot be drawn any more.

    Args:
        source: what they are drawn from.
        folder: created if missing.
        entries: draw only these; None draws all.
        on_figure: called with each name before it is drawn.

    Raises:
        UnwritableError: if the folder cannot be written.
    """
    found = Drawing()
    for entry in list_figures() if entries is None else entries:
        on_figure(entry.name)
        try:
            found.drawn.append(_write(entry, entry.collect(source), source.dataset, folder))
        except MissingDataError as missing:
            found.without[entry.name] = str(missing)
        except UnwritableError:
            raise
        except Exception as error:
            found.failed[entry.name] = _failure(error)
    asked = None if entries is None else [entry.name for entry in entries]
    update_manifest(folder, [asdict(figure) for figure in found.drawn], asked)
    return found


def write_figure(figure: Figure, path: Path) -> None:
    """Write `PATH.svg`, `PATH.pdf` and `PATH.png`, the same bytes for the same figure.

    Raises:
        UnwritableError: if they cannot be written.
    """
    with _writing_to(path.parent):
        arrange(figure)
        for ending, undated in (("png", "Software"), ("pdf", "CreationDate")):
            with replacing(path.with_name(f"{path.name}.{ending}")) as file, mpl.rc_context(PDF_RC):
                figure.savefig(file, format=ending, metadata={undated: None}, dpi=DOTS_PER_INCH)
        with replacing(path.with_name(f"{path.name}.svg")) as file:
            file.write(as_svg(figure).encode())


def write_data(data: pd.DataFrame, path: Path) -> None:
    """Write a figure's data as CSV; text that a spreadsheet would take for a formula gets a leading apostrophe.

    Raises:
        UnwritableError: if it cannot be written.
    """
    with _writing_to(path.parent), replacing(path) as file:
        file.write(csv_text(data).encode())


def update_manifest(folder: Path, drawn: Sequence[Mapping[str, Any]], asked: Collection[str] | None = None) -> None:
    """Write `figures.json`, and remove the figures that it listed before and that are outdated.

    Those are the ones that were asked for (None: all) and not drawn. Files that it did not list are the user's: they
    stay.

    Raises:
        UnwritableError: if the folder cannot be written.
    """
    names = {figure["name"] for figure in drawn}
    before = [figure for figure in _listed(folder / MANIFEST) if figure["name"] not in names]
    kept = [figure for figure in before if asked is not None and figure["name"] not in asked]
    with _writing_to(folder):
        with replacing(folder / MANIFEST) as file:
            file.write(json.dumps([*kept, *drawn], indent=1).encode())
        for figure in before:
            for ending in FORMATS if figure not in kept else ():
                (folder / f"{figure['name']}.{ending}").unlink(missing_ok=True)


def remove_figures(folder: Path) -> None:
    """Remove the figures that `draw_figures` wrote to a folder, and the folder if nothing else is in it."""
    if (folder / MANIFEST).exists():
        update_manifest(folder, [])
        (folder / MANIFEST).unlink()
        with suppress(OSError):
            folder.rmdir()
            folder.parent.rmdir()


def _writing_to(folder: Path) -> AbstractContextManager[None]:
    return writing(f"figures to {folder}", "give a writable folder with --to")


def _listed(path: Path) -> list[dict[str, Any]]:
    """Figures of a manifest; none if it is missing or damaged, and none whose name leads out of the folder."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    figures = [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []
    return [one for one in figures if isinstance(one.get("name"), str) and re.fullmatch(r"[^/\\\0]+", one["name"])]


def _write(entry: FigureEntry, data: pd.DataFrame, dataset: str, folder: Path) -> DrawnFigure:
    figure = entry.draw(data)
    write_figure(figure, folder / entry.name)
    write_data(data, folder / f"{entry.name}.csv")
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return DrawnFigure(
        name=entry.name,
        title=entry.title,
        caption=entry.caption.replace("{dataset}", dataset),
        alternative_text=entry.describe(data),
        part=entry.part,
        width=width,
        height=height,
    )


def _failure(error: Exception) -> str:
    """An error as one line: our own messages as they are, others with their kind and place."""
    if isinstance(error, InputError):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"
