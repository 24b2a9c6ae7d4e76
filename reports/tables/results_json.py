"""The report as JSON, for programs: every number of the tables with its experiments, and how these were made."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ... import __version__
from ..pages.report import Report, Section
from .pairs import COLUMNS
from .rows import Cell, Row

# Raised when a field changes its meaning or goes away.
SCHEMA_VERSION = 1


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
        "configurations": [asdict(record) for record in report.configurations],
    }
    return json.dumps(_finite(content), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _section(section: Section) -> dict[str, Any]:
    table = section.table
    return {
        "table": table.number,
        "dataset": table.dataset,
        "title": table.title,
        "rows": [_row(row) for row in table.rows],
        "pairs": [dict(zip(COLUMNS, pair, strict=True)) for pair in section.pairs.itertuples(index=False)],
        "quoted": [asdict(row) for row in table.quoted],
        "notes": list(table.notes),
        "left_out": list(table.left_out),
        "summary": [asdict(summary) for summary in section.summary],
    }


def _row(row: Row) -> dict[str, Any]:
    kept = ("label", "method", "configuration", "seeds", "missing", "failed", "experiments")
    cells = {group: _cell(cell) for group, cell in row.cells.items()}
    return {name: getattr(row, name) for name in kept} | {"results": cells}


def _cell(cell: Cell) -> dict[str, Any]:
    behind = asdict(cell.behind) if cell.behind else None
    return {
        "mean": cell.mean,
        "std": cell.deviation,
        "n": cell.n,
        "best": cell.best,
        "within_noise_of_best": cell.within_noise,
        "behind_best": behind,
        "standing": cell.standing,
    }


def _finite(value: Any) -> Any:
    """The same value as JSON can hold it: null for infinite and undefined numbers."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    # NumPy's numbers know their Python ones.
    plain = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain
