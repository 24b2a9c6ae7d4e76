"""Which tables show a study, and the lists of sweeps and studies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from ..sweeps.registry import list_sweeps
from .open_study import OpenStudy, join_study
from .storage import open_storage, studies_in, study_names
from .tables import best_table, definition_table, importance_table, pareto_table, sweep_table, trials_table


def tables_of(study: OpenStudy) -> list[Table]:
    """Everything about a study."""
    arms = study.definition.arms
    return [definition_table(study.definition), *(trials_table(study, arm) for arm in arms), *summary_tables(study)]


def summary_tables(study: OpenStudy) -> list[Table]:
    """What came of a study."""
    arms = study.definition.arms
    if study.definition.purpose == "sweep":
        return [sweep_table(study, arm) for arm in arms]
    fronts = [pareto_table(study, arm) for arm in arms] if len(study.definition.values) > 1 else []
    importance = importance_table(study)
    return [best_table(study), *fronts, *([importance] if importance else [])]


def sweeps_table() -> Table:
    """The sweeps that can be run."""
    table = Table(box=box.SIMPLE_HEAD, title="Sweeps: mltbench study run NAME", title_justify="left")
    for column in ("name", "what it shows", "methods", "points", "reference"):
        table.add_column(column, overflow="fold", justify="right" if column == "points" else "left")
    for sweep in list_sweeps():
        variants = max((len(names) for names in sweep.variants.values()), default=1)
        number = len(sweep.points(dict.fromkeys(sweep.grid))) if sweep.together else _one_at_a_time(sweep.grid)
        points = str(number * len(sweep.methods) * variants)
        table.add_row(sweep.name, sweep.summary, ", ".join(sweep.methods), points, sweep.reference)
    return table


def studies_table(root: Path, url: str | None) -> Table:
    """The studies that there are, in the results folder or in a database."""
    where = "the storage" if url else f"{root}"
    table = Table(box=box.SIMPLE_HEAD, title=f"Studies in {where}: mltbench study show NAME", title_justify="left")
    for column in ("name", "purpose", "dataset", "methods", "trials", "running", "waiting"):
        table.add_column(
            column, overflow="fold", justify="right" if column in ("trials", "running", "waiting") else "left"
        )
    names = sorted(studies_in(open_storage(root, "", url))) if url else study_names(root)
    for name in names:
        study = join_study(name, root, url)
        counts = [study.progress(arm) for arm in study.definition.arms]
        table.add_row(
            name,
            study.definition.sweep or study.definition.purpose,
            study.definition.dataset,
            ", ".join(dict.fromkeys(arm.method for arm in study.definition.arms)),
            str(sum(len(count.finished) for count in counts)),
            str(sum(len(count.running) for count in counts)),
            str(sum(count.waiting for count in counts)),
        )
    return table


def _one_at_a_time(grid: Mapping[str, tuple[Any, ...]]) -> int:
    # The defaults stand on every axis and are trained once.
    axes = [len(values) for values in grid.values()]
    return sum(axes) - (len(axes) - 1)
