"""Which figures exist. A file in `reports/figures/` that calls `register_figure` adds one; nothing else changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ...datasets.errors import InputError
from ...datasets.named_entries import NamedEntries
from ..formats import spreadsheet_text
from .source import FigureSource, MissingDataError
from .style import DOTS_PER_INCH, as_svg

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PARTS = ("results", "studies", "labels", "equations")


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
    workers: int = 1,
) -> tuple[list[DrawnFigure], dict[str, str]]:
    """Draw every figure that has data into a folder, with its data beside it and `figures.json` naming them all.

    Args:
        source: what they are drawn from.
        folder: made where it is missing.
        entries: these alone; None takes all.
        on_figure: called with each name before it is drawn.
        workers: processes that draw registered figures while this one collects the data of the next; 1 draws here.

    Returns:
        What was drawn, and by name why the others were not.

    Raises:
        InputError: if the folder cannot be written.
    """
    without: dict[str, str] = {}

    def collected() -> Iterator[tuple[FigureEntry, pd.DataFrame]]:
        for entry in list_figures() if entries is None else entries:
            on_figure(entry.name)
            try:
                yield entry, entry.collect(source)
            except MissingDataError as missing:
                without[entry.name] = str(missing)

    if workers == 1:
        drawn = [_write(entry, data, source.dataset, folder) for entry, data in collected()]
    else:
        drawn = _write_in_processes(collected(), source.dataset, folder, workers)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "figures.json").write_text(json.dumps([asdict(f) for f in drawn], indent=1), encoding="utf-8")
    except OSError as error:
        raise _unwritable(folder, error) from error
    return drawn, without


def write_figure(figure: Figure, stem: Path) -> None:
    """Write `STEM.svg`, `STEM.pdf` and `STEM.png`, the same bytes for the same figure.

    Raises:
        InputError: if they cannot be written.
    """
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(stem.with_name(f"{stem.name}.png"), metadata={"Software": None}, dpi=DOTS_PER_INCH)
        # Arranged once: the other formats would solve the layout anew, and draw once more for it.
        figure.set_layout_engine(None)
        stem.with_name(f"{stem.name}.svg").write_text(as_svg(figure), encoding="utf-8")
        figure.savefig(stem.with_name(f"{stem.name}.pdf"), metadata={"CreationDate": None}, dpi=DOTS_PER_INCH)
    except OSError as error:
        raise _unwritable(stem.parent, error) from error


def write_data(data: pd.DataFrame, path: Path) -> None:
    """Write a figure's data as CSV; a text that a spreadsheet would take for a formula gets a leading apostrophe.

    Raises:
        InputError: if it cannot be written.
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


def _write_in_processes(
    figures: Iterable[tuple[FigureEntry, pd.DataFrame]], dataset: str, folder: Path, workers: int
) -> list[DrawnFigure]:
    # joblib's processes, unlike those of multiprocessing, do not run the caller's script again.
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    try:
        tasks = (delayed(_write_by_name)(entry.name, data, dataset, folder) for entry, data in figures)
        return list(Parallel(n_jobs=workers, pre_dispatch="all", batch_size=1)(tasks))
    finally:
        get_reusable_executor().shutdown(wait=True)


def _write_by_name(name: str, data: pd.DataFrame, dataset: str, folder: Path) -> DrawnFigure:
    return _write(get_figure(name), data, dataset, folder)


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


def _unwritable(folder: Path, error: OSError) -> InputError:
    return InputError(f"cannot write figures to {folder}: {error.strerror or error}; give a writable folder with --to")
