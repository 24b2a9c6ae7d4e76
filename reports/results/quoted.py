"""Numbers that others published, quoted with their source: the paper's Tables 1 and 2, and rows from a user's CSV."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from ...benchmark.training.metrics import SCORE_NAMES
from ...errors import InputError
from .significance import class_weighted_total

SOURCE = "Wu et al., Distribution-Balanced Loss for Multi-Label Classification in Long-Tailed Datasets, ECCV 2020"
REQUIRED = ("method", "dataset", *SCORE_NAMES, "source")
# Classes per group, head to tail, of the paper's datasets (Sec. 4.1).
CLASSES_PER_GROUP = {"voc-mlt": (6, 6, 8), "coco-mlt": (22, 33, 25)}
# Four numbers rounded to two decimals differ from their exact mean by at most 0.01; twice that is no rounding.
TOLERANCE = 0.02


@dataclass(frozen=True, kw_only=True)
class QuotedRow:
    """One published row.

    Attributes:
        table: 1 or 2.
        title: method as printed.
        values: mAP in percent by group; None where the source gives none.
        suspect: why the row contradicts itself or another, or empty.
    """

    table: int
    title: str
    dataset: str
    values: Mapping[str, float | None]
    suspect: str
    source: str = SOURCE

    @property
    def note(self) -> str:
        """What a footnote says of a suspect row."""
        return f"{self.title}, quoted: {self.suspect}"

    def text(self, group: str) -> str:
        """A number as tables print it; a dash where the source gives none."""
        return "–" if (value := self.values[group]) is None else f"{value:.2f}"


@cache
def quoted_rows() -> tuple[QuotedRow, ...]:
    """All rows of the paper's tables."""
    text = (files(__package__) / "paper_tables.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return tuple(_quoted({**row, "source": SOURCE}, "the paper's tables") for row in rows)


def quoted_datasets() -> tuple[str, ...]:
    """Datasets that the paper has numbers for."""
    return tuple(dict.fromkeys(row.dataset for row in quoted_rows()))


def read_quoted(path: Path) -> tuple[QuotedRow, ...]:
    """Read further published rows from a CSV.

    Columns: `method`, `dataset`, `total`, `head`, `medium`, `tail` (percent; a group may be empty) and `source`, which
    is never empty; optionally `table` (1 or 2; 1 by default) and `suspect`. A total that is no mean of its groups is
    suspect: on VOC-MLT and COCO-MLT their class-weighted mean, on other datasets any.

    Raises:
        InputError: if the file cannot be read, a column is missing, or a value cannot be one.
    """
    try:
        reader = csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(), strict=True)
        missing = [column for column in REQUIRED if column not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"{path}: no column {', '.join(missing)}; needed: {', '.join(REQUIRED)}")
        return tuple(_quoted(row, f"{path}, line {reader.line_num}") for row in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read quoted rows from {path}: {error}; give a CSV in UTF-8 with --quoted") from error


def _quoted(row: Mapping[str, str | None], place: str) -> QuotedRow:
    given = {name: (value or "").strip() for name, value in row.items() if isinstance(name, str)}
    for name in ("method", "dataset", "total", "source"):
        if not given[name]:
            raise InputError(f"{place}: {name} is empty; every quoted row names its {name}")
    table = given.get("table") or "1"
    if table not in ("1", "2"):
        raise InputError(f"{place}: table {table!r} must be 1 or 2")
    values = {name: _percent(given[name], name, place) for name in SCORE_NAMES}
    return QuotedRow(
        table=int(table),
        title=given["method"],
        dataset=given["dataset"],
        values=values,
        suspect=given.get("suspect") or _contradiction(given["dataset"], values),
        source=given["source"],
    )


def _percent(text: str, group: str, place: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise InputError(f"{place}: {group} {text!r} must be a number from 0 to 100, in percent")
    return value


def _contradiction(dataset: str, values: Mapping[str, float | None]) -> str:
    """How a total contradicts its groups; empty where it does not, or one of them is unknown."""
    total, *groups = (value for value in values.values() if value is not None)
    if len(groups) < len(SCORE_NAMES) - 1:
        return ""
    if dataset in CLASSES_PER_GROUP:
        mean = class_weighted_total(groups, CLASSES_PER_GROUP[dataset])
        wrong = f"total is not the class-weighted mean of the groups ({mean:.2f})"
        return "" if abs(mean - total) <= TOLERANCE else wrong
    low, high = min(groups), max(groups)
    outside = f"total is no mean of the groups: they lie between {low:.2f} and {high:.2f}"
    return "" if low - TOLERANCE <= total <= high + TOLERANCE else outside
