"""A report as files: one folder that needs nothing else, with the page, the tables, and JSON for programs."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.console import Console
from rich.text import Text

from ... import __version__
from ...errors import InputError
from ...files import replacing
from ..tables.pairs import COLUMNS, pairs_csv
from ..tables.result_table import FORMATS, Cell, Row, quoted_comma_separated
from .page import render_page
from .report import Report, Section

# Raised when a field of results.json changes its meaning or goes away.
SCHEMA_VERSION = 1


@contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Within, no other process writes a report to this folder; it is created if missing.

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
    texts = {
        name: text for dataset in report.datasets for section in dataset.sections for name, text in _files(section)
    }
    texts |= {"results.json": results_json(report), "index.html": render_page(report)}
    try:
        for name, text in texts.items():
            with replacing(folder / name) as file:
                file.write(text.encode())
    except OSError as error:
        raise _unwritable(folder, error) from error
    return folder / "index.html"


def print_failures(console: Console, report: Report) -> bool:
    """Name the figures that could not be drawn, with their errors; whether there are any."""
    for dataset in report.datasets:
        for name, reason in dataset.failed.items():
            text = f"failed: figure {name} of {dataset.dataset}: {reason}"
            console.print(Text(text, style="bold red"), soft_wrap=True)
    return any(dataset.failed for dataset in report.datasets)


def results_json(report: Report) -> str:
    """The whole report as JSON text; numbers unrounded and in percent, null for what does not exist."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "mltbench": __version__,
        "split": "test",
        "unit": "percent",
        "bootstrap_resamples": report.resamples,
        "tables": [_section(section) for dataset in report.datasets for section in dataset.sections],
        "figures": [
            {**asdict(figure), "dataset": dataset.dataset, "folder": dataset.folder}
            for dataset in report.datasets
            for figure in dataset.figures
        ],
        "figures_failed": [
            {"name": name, "dataset": dataset.dataset, "reason": reason}
            for dataset in report.datasets
            for name, reason in dataset.failed.items()
        ],
        "configurations": report.configurations,
    }
    return json.dumps(_finite(content), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _files(section: Section) -> Iterator[tuple[str, str]]:
    """Name and text of every file of one table."""
    for ending, write in FORMATS.items():
        yield f"{section.name}.{ending}", write(section.table)
    yield f"{section.name}-pairs.csv", pairs_csv(section.pairs)
    if section.table.quoted:
        yield f"{section.name}-quoted.csv", quoted_comma_separated(section.table)


def _section(section: Section) -> dict[str, Any]:
    table = section.table
    return {
        "table": table.number,
        "dataset": table.dataset,
        "title": table.title,
        "rows": [_row(row) for row in table.rows],
        "pairs": section.pairs[list(COLUMNS)].to_dict("records"),
        "quoted": [asdict(row) for row in table.quoted],
        "notes": table.notes,
        "left_out": table.left_out,
        "summary": [asdict(summary) for summary in section.summary],
    }


def _row(row: Row) -> dict[str, Any]:
    kept = ("label", "method", "configuration", "seeds", "missing", "failed", "experiments")
    return {name: getattr(row, name) for name in kept} | {"results": {n: _cell(cell) for n, cell in row.cells.items()}}


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "mean": cell.mean,
        "std": cell.deviation,
        "n": cell.n,
        "best": cell.best,
        "within_noise_of_best": cell.within_noise,
        "behind_best": asdict(cell.behind) if cell.behind else None,
        "standing": cell.standing,
    }


def _finite(value: Any) -> Any:
    """The same value as JSON can hold it: null for infinite and undefined numbers."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    # NumPy's numbers become Python's.
    plain = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def _unwritable(folder: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(
        f"cannot write the report to {folder}: {reason}; give a writable folder with enough room with --to"
    )
