"""The one table object that every format prints: rows of methods, cells of mean, spread and standing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..results.quoted import QuotedRow
from ..results.significance import Difference

DECIMALS = 2
# Characters of overrides that a sentence lists; more are counted.
LISTED_AT_MOST = 30
# Stands behind a number whose method is within noise of the best; tables say so in words.
NOISE_MARK = "≈"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number of a table, in percent.

    Attributes:
        mean: over seeds; None where nothing was measured.
        deviation: sample standard deviation over seeds; None for fewer than two.
        n: seeds that have the number.
        best: whether no other mean of its column is larger as printed.
        behind: the column's best minus this method over their shared seeds; None for the best itself, and where they
            share no seed.
    """

    mean: float | None
    deviation: float | None
    n: int = 0
    best: bool = False
    behind: Difference | None = None

    @property
    def text(self) -> str:
        """As tables print it; a dash where nothing was measured."""
        if self.mean is None:
            return "–"
        spread = "" if self.deviation is None else f" ± {self.deviation:.{DECIMALS}f}"
        return f"{self.mean:.{DECIMALS}f}{spread}"

    @property
    def within_noise(self) -> bool:
        """Whether the paired interval, over at least two shared seeds, does not tell it from the best."""
        return self.behind is not None and self.behind.n > 1 and self.behind.is_noise

    @property
    def mark(self) -> str:
        """The mark behind the number."""
        return f" {NOISE_MARK}" if self.within_noise else ""

    @property
    def standing(self) -> str:
        """Where it stands against the best of its column, in words; empty where nothing was measured."""
        if self.best:
            return "best"
        if self.mean is None:
            return ""
        if self.behind is None:
            return "no shared seed with the best"
        if self.behind.n > 1 and self.behind.is_noise:
            return "within noise of the best"
        ahead = self.behind.mean < 0
        distance = f"{abs(self.behind.mean):.{DECIMALS}f} {'ahead on shared seeds' if ahead else 'behind'}"
        if self.behind.n == 1:
            return f"{distance}; noise unknown from one shared seed"
        low, high = sorted((abs(self.behind.low), abs(self.behind.high)))
        return f"{distance} [{low:.{DECIMALS}f}, {high:.{DECIMALS}f}]"


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
        configuration: what its experiments share: their id without the seed; empty without runs.
        overrides: what differs from the method's defaults; empty where nothing does.
    """

    label: str
    method: str
    cells: Mapping[str, Cell]
    seeds: tuple[int, ...]
    missing: tuple[int, ...]
    failed: int
    experiments: tuple[str, ...]
    configuration: str = ""
    overrides: str = ""

    @property
    def short(self) -> str:
        """The label as a sentence can bear it: overrides are counted where they are long.

        >>> row = Row(label="DB (mu=0.4375, kappa=0.2408, alpha=0.2)", overrides="mu=0.4375, kappa=0.2408, alpha=0.2",
        ...     method="db", cells={}, seeds=(), missing=(), failed=0, experiments=())
        >>> row.short
        'DB (3 overrides)'
        """
        if len(self.overrides) <= LISTED_AT_MOST:
            return self.label
        return self.label.replace(f"({self.overrides})", f"({self.overrides.count('=')} overrides)")

    @property
    def number(self) -> str:
        """How many seeds were averaged, what is missing, and what failed."""
        return self.seeds_of + (f", {self.failed} failed" if self.failed else "")

    @property
    def seeds_of(self) -> str:
        """How many seeds were averaged, of how many where some are missing."""
        lacks = f" of {len(self.seeds) + len(self.missing)}" if self.missing else ""
        return f"{len(self.seeds)}{lacks}"


@dataclass(frozen=True, kw_only=True)
class ResultTable:
    """A table of the paper, filled with measured numbers.

    Attributes:
        number: 1 or 2.
        dataset: on which.
        rows: the paper's methods in its order, then others (in Table 1), then overridden ones.
        quoted: rows that others have published for this table, with their sources; never ranked with ours.
        notes: what a reader must know; quoted suspects among them, numbered from 1.
        left_out: runs of its dataset and methods that it does not show, in sentences.
    """

    number: int
    dataset: str
    rows: tuple[Row, ...]
    quoted: tuple[QuotedRow, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Caption of the table."""
        return f"Table {self.number}: {self.untitled}"

    @property
    def untitled(self) -> str:
        """The caption where something else numbers the tables."""
        return f"mAP on {self.dataset} (test split, percent, last epoch)"

    @property
    def quoted_title(self) -> str:
        """Caption of the quoted rows."""
        return f"Quoted for Table {self.number} on {self.dataset}: mAP in percent as published, not measured here"

    @property
    def measured(self) -> tuple[Row, ...]:
        """Rows with at least one finished run."""
        return tuple(row for row in self.rows if row.seeds)

    def note_number(self, quoted: QuotedRow) -> int | None:
        """Number of the note on a quoted row, or None."""
        return self.notes.index(quoted.note) + 1 if quoted.suspect else None

    def _repr_markdown_(self) -> str:
        """What a notebook shows."""
        from .formats import markdown

        return markdown(self)

    def best(self, group: str) -> tuple[Row, ...]:
        """Rows that are best in a group; several where they tie as printed."""
        return tuple(row for row in self.rows if row.cells[group].best)
