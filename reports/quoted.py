"""The paper's own numbers, quoted: Tables 1 and 2 of Wu et al., ECCV 2020; self-contradicting entries are marked."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

SOURCE = "Wu et al., Distribution-Balanced Loss for Multi-Label Classification in Long-Tailed Datasets, ECCV 2020"


@dataclass(frozen=True, kw_only=True)
class QuotedRow:
    """One row of a table of the paper.

    Attributes:
        table: 1 or 2.
        title: method as printed.
        dataset: `voc-mlt` or `coco-mlt`.
        values: mAP in percent by group.
        suspect: why the row contradicts itself or another, or empty.
    """

    table: int
    title: str
    dataset: str
    values: dict[str, float]
    suspect: str


@cache
def quoted_rows() -> tuple[QuotedRow, ...]:
    """All rows of the paper's tables."""
    text = (files(__package__) / "paper_tables.csv").read_text(encoding="utf-8")
    return tuple(
        QuotedRow(
            table=int(row["table"]),
            title=row["method"],
            dataset=row["dataset"],
            values={group: float(row[group]) for group in ("total", "head", "medium", "tail")},
            suspect=row["suspect"],
        )
        for row in csv.DictReader(text.splitlines())
    )


def quoted_datasets() -> tuple[str, ...]:
    """Datasets that the paper has numbers for."""
    return tuple(dict.fromkeys(row.dataset for row in quoted_rows()))


def quoted_row(table: int, title: str, dataset: str) -> QuotedRow | None:
    """One row of the paper, or None where it has none."""
    matching = [r for r in quoted_rows() if (r.table, r.title, r.dataset) == (table, title, dataset)]
    return matching[0] if matching else None
