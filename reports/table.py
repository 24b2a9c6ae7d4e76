"""The one table object that every format prints: rows of methods, cells of mean, spread and n over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from ..datasets.registry import get_dataset_entry
from ..methods.catalogue import TABLES, get_method
from .quoted import QuotedRow, quoted_datasets, quoted_row
from .results import GROUPS

DECIMALS = 2


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number of a table, in percent.

    Attributes:
        mean: over seeds; None where nothing was measured.
        deviation: sample standard deviation over seeds; None for fewer than two.
        best: whether no other mean of its column is larger as printed.
    """

    mean: float | None
    deviation: float | None
    best: bool = False

    @property
    def text(self) -> str:
        """As tables print it; a dash where nothing was measured."""
        if self.mean is None:
            return "–"
        spread = "" if self.deviation is None else f" ± {self.deviation:.{DECIMALS}f}"
        return f"{self.mean:.{DECIMALS}f}{spread}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method of a table.

    Attributes:
        label: of the method, overrides included.
        method: its name.
        cells: by group.
        seeds: that were averaged.
        missing: seeds that other rows have and this one lacks.
        failed: runs that failed and have no later success.
        experiments: ids of the averaged experiments, in order of seeds.
        quoted: the paper's row, or None.
    """

    label: str
    method: str
    cells: dict[str, Cell]
    seeds: tuple[int, ...]
    missing: tuple[int, ...]
    failed: int
    experiments: tuple[str, ...]
    quoted: QuotedRow | None

    @property
    def number(self) -> str:
        """How many seeds were averaged, and what is missing."""
        lacks = f" of {len(self.seeds) + len(self.missing)}" if self.missing else ""
        return f"{len(self.seeds)}{lacks}" + (f", {self.failed} failed" if self.failed else "")


@dataclass(frozen=True, kw_only=True)
class ResultTable:
    """A table of the paper, filled with measured numbers.

    Attributes:
        number: 1 or 2.
        dataset: on which.
        rows: the paper's methods in its order, then others (in Table 1), then overridden ones.
        notes: what a reader must know; quoted suspects among them, numbered from 1.
    """

    number: int
    dataset: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """Caption of the table."""
        return f"Table {self.number}: mAP on {self.dataset} (test split, percent, last epoch)"

    @property
    def has_quoted(self) -> bool:
        """Whether the paper has numbers for this dataset."""
        return any(row.quoted is not None for row in self.rows)

    def note_number(self, row: Row) -> int | None:
        """Number of the note on a row's quoted values, or None."""
        suspect = row.quoted.suspect if row.quoted else ""
        return self.notes.index(f"{row.label}, quoted: {suspect}") + 1 if suspect else None


def build_table(runs: pd.DataFrame, number: int, dataset: str, *, recipe: str | None = None) -> ResultTable:
    """Build a table of the paper from runs.

    Args:
        runs: as `load_runs` returns them.
        number: 1 or 2.
        dataset: name of the dataset.
        recipe: only runs of this recipe; None takes the dataset's own.
    """
    wanted = recipe or ("paper" if dataset in quoted_datasets() else get_dataset_entry(dataset).recipe)
    own = runs[(runs.dataset == dataset) & (runs.recipe == wanted)]
    elsewhere = {name for table in TABLES.values() for name in table if name not in TABLES[number]}
    own = own[own.method.isin(TABLES[number]) if number != 1 else ~own.method.isin(elsewhere)]
    plain = own[own.overrides == ""]
    further = [str(name) for name in plain.method.unique() if name not in TABLES[number]]
    seeds = sorted(own[own.state == "finished"].seed.unique().tolist())
    rows = []
    for name in [*TABLES[number], *further]:
        rows += _standard_rows(plain[plain.method == name], name, number, dataset, seeds)
    for (label, _), group in own[own.overrides != ""].groupby(["overrides", "configuration_id"], sort=False):
        rows.append(_row(group, f"{group.title.iloc[0]} ({label})", str(group.method.iloc[0]), seeds, None))
    rows = _mark_best(rows)
    suspects = [f"{row.label}, quoted: {row.quoted.suspect}" for row in rows if row.quoted and row.quoted.suspect]
    return ResultTable(number=number, dataset=dataset, rows=tuple(rows), notes=tuple(suspects))


def _standard_rows(runs: pd.DataFrame, name: str, number: int, dataset: str, seeds: Sequence[int]) -> list[Row]:
    """Usually one row; more where a name has several configurations (another precision, another version)."""
    # Somebody's own method is known to its runs alone; the paper's are known without any.
    title = get_method(name).title if runs.empty else str(runs.title.iloc[0])
    quoted = quoted_row(number, title, dataset)
    if runs.empty:
        return [_row(runs, title, name, seeds, quoted)]
    groups = list(runs.groupby("configuration_id", sort=False))
    several = len(groups) > 1
    return [
        _row(group, f"{title} [{str(configuration)[:6]}]" if several else title, name, seeds, quoted)
        for configuration, group in groups
    ]


def _row(runs: pd.DataFrame, label: str, name: str, seeds: Sequence[int], quoted: QuotedRow | None) -> Row:
    finished = runs[runs.state == "finished"].sort_values("seed")
    cells = {}
    for group in GROUPS:
        values = finished[group].dropna()
        cells[group] = Cell(
            mean=float(values.mean()) if len(values) else None,
            deviation=float(values.std(ddof=1)) if len(values) > 1 else None,
        )
    have = tuple(int(seed) for seed in finished.seed)
    return Row(
        label=label,
        method=name,
        cells=cells,
        seeds=have,
        missing=tuple(seed for seed in seeds if seed not in have),
        failed=int((runs.state == "failed").sum()),
        experiments=tuple(finished.experiment_id),
        quoted=quoted,
    )


def _mark_best(rows: Sequence[Row]) -> list[Row]:
    marked = [dict(row.cells) for row in rows]
    for group in GROUPS:
        means = [round(c[group].mean, DECIMALS) for c in marked if c[group].mean is not None]  # type: ignore[arg-type]
        for cells in marked:
            mean = cells[group].mean
            if mean is not None and round(mean, DECIMALS) == max(means):
                cells[group] = replace(cells[group], best=True)
    return [replace(row, cells=cells) for row, cells in zip(rows, marked, strict=True)]
