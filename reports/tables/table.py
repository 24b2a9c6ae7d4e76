"""Building a table of the paper from runs: means and spread over seeds, the best, and what is within noise of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ...methods.catalogue import TABLES, get_method
from ..results.quoted import QuotedRow, quoted_rows
from ..results.results import GROUPS
from ..results.significance import class_weighted_total, paired_difference
from .chosen_runs import left_out_of_table, usual_recipe
from .rows import DECIMALS, Cell, ResultTable, Row
from .told_apart import configuration_notes

# Stored totals are means of the same doubles as the groups; anything larger is another number.
TOTAL_TOLERANCE = 1e-6


def build_table(
    runs: pd.DataFrame,
    number: int,
    dataset: str,
    *,
    recipe: str | None = None,
    per_class: pd.DataFrame | None = None,
    quoted: Sequence[QuotedRow] = (),
) -> ResultTable:
    """Build a table of the paper from runs.

    Args:
        runs: as `load_runs` returns them.
        number: 1 or 2.
        dataset: name of the dataset.
        recipe: only runs of this recipe; None takes the dataset's own.
        per_class: as `load_per_class` returns them; totals are then checked against their groups.
        quoted: published rows besides the paper's, as `read_quoted` returns them.
    """
    wanted = recipe or usual_recipe(runs, dataset)
    of_methods = _runs_of_methods(runs, number, dataset)
    own = of_methods[of_methods.recipe == wanted]
    plain = own[own.overrides == ""]
    further = [str(name) for name in plain.method.unique() if name not in TABLES[number]]
    seeds = sorted(own[own.state == "finished"].seed.unique().tolist())
    rows = []
    for name in [*TABLES[number], *further]:
        rows += _standard_rows(plain[plain.method == name], name, seeds)
    changed = list(own[own.overrides != ""].groupby(["overrides", "configuration_id"], sort=False))
    labels = [f"{group.title.iloc[0]} ({overrides})" for (overrides, _), group in changed]
    for label, ((_, configuration), group) in zip(labels, changed, strict=True):
        unique = label if labels.count(label) == 1 else f"{label} [{str(configuration)[:6]}]"
        rows.append(_row(group, unique, str(group.method.iloc[0]), seeds))
    rows, empty = _without_empty(rows)
    published = [row for row in (*quoted_rows(), *quoted) if (row.table, row.dataset) == (number, dataset)]
    return ResultTable(
        number=number,
        dataset=dataset,
        rows=tuple(_compare(rows, own)),
        quoted=tuple(published),
        notes=(
            *(row.note for row in published if row.suspect),
            *empty,
            *configuration_notes(rows, own),
            *_doubtful_totals(rows, own, per_class),
        ),
        left_out=left_out_of_table(of_methods, wanted),
    )


def results_by_seed(rows: Sequence[Row], runs: pd.DataFrame, group: str) -> pd.DataFrame:
    """Results of one group in percent: one line per row (by its label), one column per seed, NaN where missing.

    Args:
        rows: of the table; those without runs are left out.
        runs: as `load_runs` returns them.
        group: `total`, `head`, `medium` or `tail`.
    """
    by_experiment = dict(zip(runs.experiment_id, runs[group], strict=True))
    lines = {
        row.label: {seed: by_experiment[name] for seed, name in zip(row.seeds, row.experiments, strict=True)}
        for row in rows
    }
    frame = pd.DataFrame.from_dict({label: line for label, line in lines.items() if line}, orient="index")
    return frame.reindex(sorted(frame.columns), axis=1)


def _runs_of_methods(runs: pd.DataFrame, number: int, dataset: str) -> pd.DataFrame:
    own = runs[runs.dataset == dataset]
    elsewhere = {name for table in TABLES.values() for name in table if name not in TABLES[number]}
    return own[own.method.isin(TABLES[number]) if number != 1 else ~own.method.isin(elsewhere)]


def _without_empty(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """The rows, and a note; where every measured row has overrides, the paper's would be a block of dashes."""
    measured = [row for row in rows if row.seeds or row.failed]
    if not measured or any(not row.overrides for row in measured):
        return list(rows), []
    return measured, ["No method was run without overrides; rows without any run are left out."]


def _standard_rows(runs: pd.DataFrame, name: str, seeds: Sequence[int]) -> list[Row]:
    """Usually one row; more where a name has several configurations (another precision, another version)."""
    # Somebody's own method is known to its runs alone; the paper's are known without any.
    title = get_method(name).title if runs.empty else str(runs.title.iloc[0])
    if runs.empty:
        return [_row(runs, title, name, seeds)]
    groups = list(runs.groupby("configuration_id", sort=False))
    several = len(groups) > 1
    return [
        _row(group, f"{title} [{str(configuration)[:6]}]" if several else title, name, seeds)
        for configuration, group in groups
    ]


def _row(runs: pd.DataFrame, label: str, name: str, seeds: Sequence[int]) -> Row:
    finished = runs[runs.state == "finished"].sort_values("seed")
    cells = {}
    for group in GROUPS:
        values = finished[group].dropna()
        cells[group] = Cell(
            mean=float(values.mean()) if len(values) else None,
            deviation=float(values.std(ddof=1)) if len(values) > 1 else None,
            n=len(values),
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
        configuration="" if runs.empty else str(runs.configuration_id.iloc[0]),
        overrides="" if runs.empty else str(runs.overrides.iloc[0]),
    )


def _compare(rows: Sequence[Row], runs: pd.DataFrame) -> list[Row]:
    """The rows with the best of each column marked, and every other compared with it over their shared seeds."""
    compared = [dict(row.cells) for row in rows]
    for group in GROUPS:
        means = [-math.inf if c[group].mean is None else round(float(c[group].mean or 0), DECIMALS) for c in compared]
        if max(means) == -math.inf:
            continue
        values = results_by_seed(rows, runs, group)
        champion = values.loc[rows[means.index(max(means))].label].to_numpy()
        for row, cells, mean in zip(rows, compared, means, strict=True):
            if mean == max(means):
                cells[group] = replace(cells[group], best=True)
            elif mean > -math.inf:
                other = values.loc[row.label].to_numpy()
                shared = ~np.isnan(champion - other)
                behind = paired_difference(champion[shared], other[shared]) if shared.any() else None
                cells[group] = replace(cells[group], behind=behind)
    return [replace(row, cells=cells) for row, cells in zip(rows, compared, strict=True)]


def _doubtful_totals(rows: Sequence[Row], runs: pd.DataFrame, per_class: pd.DataFrame | None) -> list[str]:
    """Experiments whose stored total is not the class-weighted mean of their stored groups."""
    if per_class is None:
        return []
    counted = per_class[(per_class.split == "test") & per_class.ap.notna() & (per_class.group != "")]
    sizes: dict[Any, int] = counted.groupby(["experiment_id", "group"]).size().to_dict()
    known = {experiment for experiment, _ in sizes}
    results = runs.set_index("experiment_id")[list(GROUPS)].to_dict("index")
    doubtful = []
    for row in rows:
        for name in row.experiments:
            if name not in known:
                continue
            stored = [float(results[name][group]) for group in GROUPS]
            mean = class_weighted_total(stored[1:], [sizes.get((name, group), 0) for group in GROUPS[1:]])
            if not abs(mean - stored[0]) <= TOTAL_TOLERANCE:
                doubtful.append(
                    f"{row.label}, experiment {name}: the stored total {stored[0]:.4f} is not the class-weighted mean "
                    f"of its groups ({mean:.4f}); was the store edited?"
                )
    return doubtful
