"""What a crash, or a server that was away, leaves behind: run folders and MLflow disagree, and are made to agree."""

import shlex
from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from ...errors import InputError, without_password
from ..experiments.plan import Kind
from ..runs.folder import RunFolder, State
from .store import TAG, Store
from .upload import attempt, status_of, upload

KINDS: tuple[Kind, ...] = get_args(Kind)
# What `agree` acts on; the rest is left as it is.
UPLOADED = ("not in MLflow", "in MLflow")
FIXED = (*UPLOADED, "left open", "there twice")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a run folder, or a run in MLflow, needs so that both agree.

    Attributes:
        kind: `not in MLflow`, `left open`, `there twice`, `interrupted`, `unreadable`; `running` and `in MLflow` are
            as they should be.
    """

    kind: str
    name: str  # experiment id, or MLflow run id
    message: str  # what it is, and what is done about it
    run_kind: Kind = "experiment"


def run_folders(store: Store, kind: Kind = "experiment") -> list[RunFolder]:
    """The run folders of a kind, in order of their names."""
    return [RunFolder(path) for path in sorted(store.folders(kind).glob("*")) if path.is_dir()]


def not_in_mlflow(store: Store) -> list[RunFolder]:
    """Folders of experiments and trials that have ended, whose run in MLflow is missing or not uploaded to its end."""
    found = [finding for kind in KINDS for finding in _in_folders(store, kind, store.runs_of(kind=kind))]
    missing = [finding for finding in found if finding.kind == "not in MLflow"]
    return [RunFolder(store.folders(finding.run_kind) / finding.name) for finding in missing]


def uploads_wanted(number: int, store: Store) -> str:
    """So many ended runs that MLflow lacks, and the command that uploads them."""
    runs = "1 ended run is" if number == 1 else f"{number} ended runs are"
    return f"{runs} not in MLflow: mltbench sync {store.options}"


def lacking(store: Store, there: Container[str]) -> list[str]:
    """Sentences on what MLflow lacks, or had deleted, and the commands that mend it.

    Args:
        store: with the run folders.
        there: ids of the experiments that MLflow has.
    """
    folders = [folder for folder in run_folders(store) if folder.name not in there]
    if missing := sum(folder.state().is_finished for folder in folders):
        return [uploads_wanted(missing, store)]
    uri = shlex.quote(without_password(store.tracking_uri))
    return [
        f"the experiment mltbench/{dataset} was deleted in MLflow; what restores it with its runs: "
        f"MLFLOW_TRACKING_URI={uri} mlflow experiments restore --experiment-id {number}"
        for dataset, number in store.deleted_experiments().items()
    ]


def find(store: Store, *, everything: bool = False) -> list[Finding]:
    """Find everything in which run folders and MLflow disagree, and, on request, the ended runs in which they agree.

    In a store that machines share, runs that were begun under another results root are left to it.
    """
    found: list[Finding] = []
    for kind in KINDS:
        runs = store.runs_of(kind=kind)
        here = list(_in_folders(store, kind, runs))
        found += [
            finding for finding in here if finding.kind != "running" and (everything or finding.kind != "in MLflow")
        ]
        copies = _copies(runs)
        found += [_of_run("there twice", run, "delete this copy, left by a broken connection") for run in copies]
        # Their MLflow runs are ended by an upload, now or after they were resumed.
        later = {finding.name for finding in here if finding.kind in ("running", "not in MLflow", "interrupted")}
        rest = [run for run in runs if run not in copies and run.data.tags.get(f"{TAG}experiment_id") not in later]
        if kind == "trial" and all(finding.kind != "running" for finding in here):
            rest += store.runs_of(kind="study")
        found += [
            _of_run("left open", run, "close it as KILLED")
            for run in rest
            if run.info.status == "RUNNING"
            # A database that was moved with its folder has nobody else's.
            and (store.is_own or run.data.tags.get(f"{TAG}origin", store.origin) == store.origin)
        ]
    return found


def agree(store: Store, found: Sequence[Finding]) -> Iterator[tuple[Finding, str]]:
    """Make run folders and MLflow agree; yield each finding that can be fixed, with the reason if it was not.

    Doing it again changes nothing.
    """
    for finding in found:
        if finding.kind in FIXED:
            try:
                _fix(store, finding)
            except (InputError, MlflowException, OSError) as error:
                yield finding, str(error).partition("\n")[0]
            else:
                yield finding, ""


def _fix(store: Store, finding: Finding) -> None:
    if finding.kind in UPLOADED:
        planned, plan = RunFolder(store.folders(finding.run_kind) / finding.name).planned()
        upload(store, planned, plan, kind=finding.run_kind)
        return
    info = store.client.get_run(finding.name).info
    if finding.kind == "there twice" and info.lifecycle_stage == "active":
        store.client.delete_run(finding.name)
    elif finding.kind == "left open" and info.status == "RUNNING":
        store.client.set_terminated(finding.name, "KILLED")


def _in_folders(store: Store, kind: Kind, runs: Sequence[Run]) -> Iterator[Finding]:
    there = {(run.data.tags.get(f"{TAG}attempt"), run.info.status) for run in runs}

    def found(what: str, message: str = "") -> Finding:
        return Finding(kind=what, name=folder.name, message=message, run_kind=kind)

    for folder in run_folders(store, kind):
        state, entries = folder.state(), folder.entries()
        if state.is_ended:
            planned = folder.planned_or_none() if kind == "trial" else None
            tags = planned.tags if planned else {}
            if (attempt(folder.name, entries, tags), status_of(entries)) in there:
                yield found("in MLflow", "upload it again, which changes nothing")
            # Trials of older versions do not say which study they belong to, and are left to it.
            elif kind == "experiment" or "study" in tags:
                yield found("not in MLflow", "a run that has ended: upload it")
        elif state.state is State.RUNNING:
            yield found("running")
        elif state.state is State.INTERRUPTED:
            yield found("interrupted", "begun and not ended: the command that began it resumes it; left as it is")
        elif not entries and not (folder.path / "experiment.json").exists():
            yield found("unreadable", "a run folder without an experiment: left as it is; delete it by hand")


def _of_run(kind: str, run: Run, message: str) -> Finding:
    return Finding(kind=kind, name=run.info.run_id, message=f"{run.info.run_name}: {message}")


def _copies(runs: Sequence[Run]) -> list[Run]:
    """All but one of the MLflow runs of the same attempt; one that has ended stays."""
    by_attempt = defaultdict[str, list[Run]](list)
    for run in runs:
        if its := run.data.tags.get(f"{TAG}attempt"):
            by_attempt[its].append(run)
    return [
        copy
        for same in by_attempt.values()
        for copy in sorted(same, key=lambda run: (run.info.status == "RUNNING", run.info.run_id))[1:]
    ]
