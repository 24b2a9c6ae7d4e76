"""Writing a report: one folder that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ...errors import InputError
from ..tables.formats import FORMATS, quoted_comma_separated
from ..tables.pairs import pairs_csv
from ..tables.results_json import results_json
from .page import render_page
from .report import Report, Section


@contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Within, no other process writes a report to this folder; it is made where it is missing.

    Raises:
        InputError: if another process does, or the folder cannot be written.
    """
    lock = FileLock(folder / ".report.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"another `mltbench report` is writing to {folder}; wait for it, or give another folder with --to"
        ) from None
    except (NotImplementedError, OSError) as error:
        raise _unwritable(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def write_report(report: Report, folder: Path) -> Path:
    """Write page, tables, pairs and JSON; return the page's path. Figures are there already: they are drawn in place.

    Raises:
        InputError: if the folder cannot be written; the page is written last, so that an old one stays whole.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for dataset in report.datasets:
            for section in dataset.sections:
                for name, text in section_files(section):
                    _replace(folder / name, text)
        _replace(folder / "results.json", results_json(report))
        page = folder / "index.html"
        _replace(page, render_page(report))
        return page
    except OSError as error:
        raise _unwritable(folder, error) from error


def section_files(section: Section) -> Iterator[tuple[str, str]]:
    """Name and text of every file of one table."""
    for ending, write in FORMATS.items():
        yield f"{section.name}.{ending}", write(section.table)
    yield f"{section.name}-pairs.csv", pairs_csv(section.pairs)
    if section.table.quoted:
        yield f"{section.name}-quoted.csv", quoted_comma_separated(section.table)


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _unwritable(folder: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(
        f"cannot write the report to {folder}: {reason}; give a writable folder with enough room with --to"
    )
