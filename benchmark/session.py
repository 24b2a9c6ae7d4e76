"""Carrying out a plan: what is finished is skipped, what is missing is trained, everything is brought to MLflow."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..datasets.errors import InputError
from .execution import Execution
from .executors.protocol import Executor
from .journal import is_finished, read_journal
from .plan import Plan, PlannedExperiment
from .provenance import command_line
from .run import Job
from .store import Store
from .tracking import Uploader


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What jobs need besides their experiment.

    Attributes:
        data_root: where datasets are kept.
        execution: device, threads, when to evaluate.
        plugins: files of somebody's own methods.
        word_vectors: file of word vectors, or None.
    """

    data_root: Path
    execution: Execution
    plugins: Sequence[str] = ()
    word_vectors: Path | None = None


@dataclass(kw_only=True)
class Summary:
    """What became of a plan.

    Attributes:
        skipped: finished before.
        trained: finished now.
        failed: with their reasons.
        not_uploaded: trained, but not brought to MLflow, with the reasons.
    """

    skipped: list[PlannedExperiment] = field(default_factory=list)
    trained: list[PlannedExperiment] = field(default_factory=list)
    failed: list[tuple[PlannedExperiment, str]] = field(default_factory=list)
    not_uploaded: list[tuple[PlannedExperiment, str]] = field(default_factory=list)


def split_plan(plan: Plan, store: Store) -> tuple[list[PlannedExperiment], list[PlannedExperiment]]:
    """Experiments of a plan that are finished (in MLflow or in a local journal), and those that are not."""
    return _split(plan, store.runs, store.finished(plan.dataset))


def carry_out(
    plan: Plan,
    store: Store,
    executor: Executor,
    surroundings: Surroundings,
    *,
    on_end: Callable[[PlannedExperiment], None] = lambda planned: None,
) -> Summary:
    """Run what a plan lacks and bring it to MLflow; a failed experiment does not stop the others.

    Args:
        plan: what is wanted.
        store: where results live.
        executor: where experiments run.
        surroundings: what every job needs.
        on_end: called when an experiment has ended, well or not.
    """
    in_mlflow = store.finished(plan.dataset)
    done, missing = _split(plan, store.runs, in_mlflow)
    uploader = Uploader(store, plan)
    summary = Summary(skipped=done)
    status = "KILLED"
    try:
        for planned in done:
            if planned.experiment.id not in in_mlflow:
                _upload(uploader, planned, summary)
        by_folder = {str(store.runs / planned.experiment.id): planned for planned in missing}
        jobs = [_job(planned, folder, surroundings) for folder, planned in by_folder.items()]
        for job in executor.run(jobs):
            planned = by_folder[job.folder]
            _record(planned, Path(job.folder), summary)
            _upload(uploader, planned, summary)
            on_end(planned)
        status = "FAILED" if summary.failed else "FINISHED"
    finally:
        uploader.close(status)
    return summary


def _split(
    plan: Plan, runs: Path, in_mlflow: Container[str]
) -> tuple[list[PlannedExperiment], list[PlannedExperiment]]:
    done: list[PlannedExperiment] = []
    missing: list[PlannedExperiment] = []
    for planned in plan.experiments:
        known = planned.experiment.id in in_mlflow or is_finished(runs / planned.experiment.id)
        (done if known else missing).append(planned)
    return done, missing


def _job(planned: PlannedExperiment, folder: str, surroundings: Surroundings) -> Job:
    # Failures are never cached: what an earlier try left goes before anybody reads its journal as this one's.
    shutil.rmtree(folder, ignore_errors=True)
    return Job(
        experiment_json=planned.experiment.to_json(),
        folder=folder,
        data_root=str(surroundings.data_root),
        execution=surroundings.execution,
        plugins=tuple(surroundings.plugins),
        word_vectors=str(surroundings.word_vectors) if surroundings.word_vectors else None,
        weights=str(planned.weights.file.resolve()) if planned.weights.file else None,
        command=command_line(),
    )


def _record(planned: PlannedExperiment, folder: Path, summary: Summary) -> None:
    last = read_journal(folder)[-1]
    if last.event == "finished":
        summary.trained.append(planned)
    else:
        summary.failed.append((planned, str(last.details.get("reason", "stopped without a word"))))


def _upload(uploader: Uploader, planned: PlannedExperiment, summary: Summary) -> None:
    """Bring a run to MLflow; when that fails, its journal stays and the next `mltbench run` tries again."""
    from mlflow.exceptions import MlflowException

    try:
        uploader.upload(planned)
    except (MlflowException, OSError, InputError) as error:
        summary.not_uploaded.append((planned, str(error)))
