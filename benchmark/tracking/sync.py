"""Where run folders and MLflow disagree: runs that are missing there, left open, or there twice; mending it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InputError
from ..executors.claims import Claims
from ..experiments.display_names import read_planned
from ..experiments.plan import Plan, PlannedExperiment
from ..runs.journal import read_journal
from ..runs.states import ENDED, State, read_state
from .store import TAG, Store
from .upload import Uploader

if TYPE_CHECKING:
    from mlflow.entities import Run

EXPERIMENT, TRIAL = "experiment", "trial"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        kind: `not in MLflow`, `left open`, `there twice`, `unreadable` or `interrupted`.
        name: experiment id or MLflow run id.
        words: what it is and what mends it.
    """

    kind: str
    name: str
    words: str


def run_folders(store: Store) -> list[Path]:
    """The run folders under the results root, in order of their names."""
    return sorted(path for path in store.runs.glob("*") if path.is_dir())


def trial_folders(store: Store) -> list[Path]:
    """The run folders of the trials of studies."""
    return sorted(path for path in (store.root / "trials").glob("*") if path.is_dir())


def not_in_mlflow(store: Store) -> list[Path]:
    """Folders of ended runs whose MLflow run is missing or was not brought to its end."""
    runs = [*store.runs_of()]
    there = {run.data.tags.get(f"{TAG}attempt") for run in runs if run.info.status in ("FINISHED", "FAILED")}
    return [
        folder
        for folder in run_folders(store)
        if (entries := read_journal(folder))
        and entries[-1].event in ENDED
        and f"{folder.name}/{entries[0].time}" not in there
    ]


def sync(store: Store, folders: Sequence[Path], claims: Claims) -> Iterator[tuple[Path, str]]:
    """Replay journals to MLflow, each exactly once however often it is done; yield each folder and what went wrong.

    A folder that another process has claimed is left to it. The run that a plan has left open in MLflow becomes theirs
    again and is closed with them.
    """
    from mlflow.exceptions import MlflowException

    uploaders: dict[tuple[str, str], Uploader] = {}
    failed: set[tuple[str, str]] = set()
    for folder in folders:
        if not claims.take(folder.name):
            yield folder, f"left to {claims.holder(folder.name)}"
            continue
        try:
            planned, plan = read_planned(folder)
            key = (plan, planned.experiment.dataset)
            if key not in uploaders:
                own = Plan(name=plan, dataset=key[1], experiments=())
                uploaders[key] = Uploader(store, own, parent=_open_plan_run(store, own))
            uploaders[key].upload(planned)
            if read_journal(folder)[-1].event == "failed":
                failed.add(key)
            yield folder, ""
        except (InputError, MlflowException, OSError) as error:
            yield folder, str(error).partition("\n")[0]
        finally:
            claims.release(folder.name)
    for key, uploader in uploaders.items():
        uploader.close("FAILED" if key in failed else "FINISHED")


def _open_plan_run(store: Store, plan: Plan) -> str | None:
    """The MLflow run that a plan of this name has left open here, unless it may still be carried out."""
    open_plans = [run for run in _left_open(store) if run.data.tags.get(f"{TAG}kind") == "plan"]
    ours = [
        run for run in open_plans if run.info.run_name == plan.name and run.data.tags[f"{TAG}dataset"] == plan.dataset
    ]
    return str(ours[0].info.run_id) if ours else None


def find(store: Store) -> list[Finding]:
    """Everything that is not as it should be, and mends nothing."""
    found = [
        Finding(kind="not in MLflow", name=folder.name, words="an ended run that MLflow lacks: bring it there")
        for folder in not_in_mlflow(store)
    ]
    for folder in run_folders(store):
        if read_state(folder).state is State.INTERRUPTED:
            words = "begun and not ended: the next `mltbench run` of its plan goes on with it; left as it is"
            found.append(Finding(kind="interrupted", name=folder.name, words=words))
        elif not (folder / "experiment.json").exists() and not read_journal(folder):
            words = "a run folder without an experiment: left as it is; delete it by hand"
            found.append(Finding(kind="unreadable", name=folder.name, words=words))
    copies = _there_twice(store)
    known = {finding.name for finding in found} | {run.info.run_id for run in copies}
    found += [
        Finding(kind="left open", name=run.info.run_id, words=f"{run.info.run_name}: close it as KILLED")
        for run in _left_open(store)
        if not known & {run.info.run_id, run.data.tags.get(f"{TAG}experiment_id")}
    ]
    words = "delete the copy that an answer cut short has left"
    found += [
        Finding(kind="there twice", name=run.info.run_id, words=f"{run.info.run_name}: {words}") for run in copies
    ]
    return found


def mend(store: Store, found: Sequence[Finding], claims: Claims) -> Iterator[Finding]:
    """Mend what `find` found; yield what could not be mended, with the reason."""
    missing = [store.runs / finding.name for finding in found if finding.kind == "not in MLflow"]
    for folder, problem in sync(store, missing, claims):
        if problem:
            yield Finding(kind="not in MLflow", name=folder.name, words=problem)
    for finding in found:
        if finding.kind not in ("there twice", "left open"):
            continue
        info = store.client.get_run(finding.name).info
        if finding.kind == "there twice" and info.lifecycle_stage == "active":
            store.client.delete_run(finding.name)
        elif finding.kind == "left open" and info.status == "RUNNING":
            store.client.set_terminated(finding.name, "KILLED")


def _left_open(store: Store) -> list[Run]:
    """Runs, plans, trials and studies that say RUNNING although nobody holds one of their experiments.

    In a store that machines share without a shared folder, runs and plans of others are left to them.
    """
    orphans: list[Run] = []
    for kind, parent, folders in ((EXPERIMENT, "plan", run_folders(store)), (TRIAL, "study", trial_folders(store))):
        alive = {folder.name for folder in folders if read_state(folder).state is State.RUNNING}
        orphans += [run for run in store.runs_of(kind=kind) if run.data.tags.get(f"{TAG}experiment_id") not in alive]
        orphans += [] if alive else store.runs_of(kind=parent)
    orphans = [run for run in orphans if run.info.status == "RUNNING"]
    return [run for run in orphans if run.data.tags.get(f"{TAG}origin", store.origin) == store.origin]


def _there_twice(store: Store) -> list[Run]:
    """All but one of the MLflow runs of the same try; the first finished one stays."""
    by_attempt = defaultdict[str, list["Run"]](list)
    for run in (*store.runs_of(kind=EXPERIMENT), *store.runs_of(kind=TRIAL)):
        if attempt := run.data.tags.get(f"{TAG}attempt"):
            by_attempt[attempt].append(run)
    copies: list[Run] = []
    for runs in by_attempt.values():
        copies += sorted(runs, key=lambda run: (run.info.status != "FINISHED", run.info.run_id))[1:]
    return copies


def planned_in(folder: Path) -> PlannedExperiment | None:
    """The experiment in a run folder, or None where this version cannot read it."""
    with suppress(InputError):
        return read_planned(folder)[0]
    return None
