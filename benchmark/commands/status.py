"""The rows of `mltbench status`: of every run folder, or of the experiments of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import unknown_name
from ...methods.catalogue import get_method
from ..experiments.plan import Plan, PlannedExperiment, choose_methods
from ..runs.states import ENDED, State, read_state
from ..tracking.store import Store
from ..tracking.sync import planned_in, run_folders
from .chosen_plans import PlanOptions

Row = dict[str, Any]


def require_states(names: Sequence[str]) -> None:
    """Check names of states.

    Raises:
        InputError: if one is unknown.
    """
    for name in names:
        if name not in list(State):
            raise unknown_name("state", name, [state.value for state in State])


def of_runs(options: PlanOptions, store: Store, missing: set[str]) -> list[Row]:
    """Rows of the run folders whose experiment the options let through: its table, method and dataset.

    Raises:
        InputError: if a method or dataset is unknown and no run has it.
    """
    runs = [(folder, planned_in(folder)) for folder in run_folders(store)]
    there = [planned.experiment for _, planned in runs if planned]
    methods = _known_methods(options, {experiment.method.name for experiment in there})
    _require_datasets(options.dataset, {experiment.dataset for experiment in there})
    return [
        _row(folder, planned, missing)
        for folder, planned in runs
        if (not methods or (planned and planned.experiment.method.name in methods))
        and (not options.dataset or (planned and planned.experiment.dataset in options.dataset))
    ]


def of_plans(plans: Sequence[Plan], store: Store, missing: set[str]) -> list[Row]:
    """Rows of all experiments of plans, in their order, what nobody has begun and what was run elsewhere among them."""
    rows = []
    for plan in plans:
        in_mlflow = store.finished(plan.dataset)
        for planned in plan.experiments:
            row = _row(store.runs / planned.experiment.id, planned, missing)
            if planned.experiment.id in in_mlflow and row["state"] != State.FINISHED:
                row |= {"state": State.FINISHED.value, "in_mlflow": "yes"}
            rows.append(row)
    return rows


def _known_methods(options: PlanOptions, there: set[str]) -> set[str]:
    for name in options.method:
        if name not in there:
            get_method(name)
    return {*(choose_methods(options.table, options.method) if options.table or options.method else ())}


def _require_datasets(names: Sequence[str], there: set[str]) -> None:
    from ...datasets.registry import list_datasets

    known = sorted(there | {entry.name for entry in list_datasets()})
    for name in names:
        if name not in known:
            raise unknown_name("dataset", name, known)


def _row(folder: Path, planned: PlannedExperiment | None, missing: set[str]) -> Row:
    state = read_state(folder)
    ended = state.state in ENDED.values()
    return {
        "experiment": folder.name,
        "method": planned.label if planned else None,
        "dataset": planned.experiment.dataset if planned else None,
        "seed": planned.experiment.seed if planned else None,
        "state": state.state.value,
        "epoch": state.epoch,
        "step": state.step,
        "reason": state.reason,
        "heartbeat_age_seconds": state.heartbeat.age if state.heartbeat else None,
        "in_mlflow": ("no" if folder.name in missing else "yes") if ended else None,
    }
