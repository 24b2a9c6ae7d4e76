"""Everything that a report shows, collected from runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ...benchmark.tracking.store import Store
from ...files import safe_file_name
from ..figures.registry import DrawnFigure
from ..results.bootstrap import Results
from ..results.provenance import configuration_records
from ..results.quoted import QuotedRow
from ..tables.build import build_table
from ..tables.pairs import pairs_frame
from ..tables.result_table import ResultTable
from ..tables.summary import GroupSummary, summarise


@dataclass(frozen=True, eq=False, kw_only=True)
class Section:
    """One table of the report with its summary, and the paired differences of its rows from `pairs_frame`."""

    table: ResultTable
    summary: tuple[GroupSummary, ...]
    pairs: pd.DataFrame

    @property
    def name(self) -> str:
        """Name of its files, without ending."""
        return f"table{self.table.number}-{safe_file_name(self.table.dataset)}"


@dataclass(frozen=True, eq=False, kw_only=True)
class DatasetReport:
    """One dataset of the report.

    Attributes:
        without: figures that had nothing to draw, with the reasons.
        failed: figures that met an error, with it.
        left_out: sentences on the runs that the figures of results do not show.
    """

    dataset: str
    sections: tuple[Section, ...]
    figures: tuple[DrawnFigure, ...] = ()
    without: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Folder of its figures, within the report's."""
        return f"figures/{safe_file_name(self.dataset)}"


@dataclass(frozen=True, eq=False, kw_only=True)
class Report:
    """A whole report; `configurations` record how its numbers were made, and `resamples` is 0 without a bootstrap."""

    datasets: tuple[DatasetReport, ...]
    configurations: Sequence[Mapping[str, Any]]
    resamples: int = 0


def collect_sections(
    runs: pd.DataFrame,
    dataset: str,
    numbers: Sequence[int],
    *,
    recipe: str | None = None,
    per_class: pd.DataFrame | None = None,
    quoted: Sequence[QuotedRow] = (),
    resampled: Mapping[str, Results] | None = None,
) -> tuple[Section, ...]:
    """Tables of one dataset with their summaries and pairs; arguments as for `build_table` and `pairs_frame`."""
    tables = [
        build_table(runs, number, dataset, recipe=recipe, per_class=per_class, quoted=quoted) for number in numbers
    ]
    return tuple(
        Section(table=table, summary=tuple(summarise(table)), pairs=pairs_frame(table, runs, resampled))
        for table in tables
    )


def shown_configurations(store: Store, runs: pd.DataFrame, datasets: Sequence[DatasetReport]) -> list[dict[str, Any]]:
    """Records of the experiments that the tables show, each once."""
    shown = {name for d in datasets for s in d.sections for row in s.table.rows for name in row.experiments}
    return configuration_records(store, runs[runs.experiment_id.isin(shown)])
