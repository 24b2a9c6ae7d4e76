"""Carrying out a plan: what is finished is skipped, what is missing is trained, everything is brought to MLflow."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...errors import InputError
from ..experiments.display_names import LABELS_NAME, write_labels
from ..experiments.plan import Plan, PlannedExperiment
from ..runs.cohort import form_cohorts
from ..runs.heartbeat import is_held
from ..runs.journal import is_finished, read_journal
from ..runs.provenance import command_line
from ..runs.run import Job
from ..tracking.store import Store
from ..tracking.upload import PATIENCE_SECONDS, UploadThread
from ..training.execution import Execution
from .claims import Claims, open_claims
from .protocol import Executor

# How often a plan that has nothing left but others' experiments looks whether they have ended.
LOOK_SECONDS = 1.0
# Somebody who pressed Ctrl-C does not wait for a server.
BRIEF_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What jobs need besides their experiment.

    Attributes:
        data_root: where datasets are kept.
        execution: device, threads, when to evaluate.
        plugins: files of somebody's own methods.
        word_vectors: file of word vectors, or None.
        restart: train from the beginning what was interrupted.
        largest_cohort: experiments that are trained together, where they may; 1 trains each alone.
    """

    data_root: Path
    execution: Execution
    plugins: Sequence[str] = ()
    word_vectors: Path | None = None
    restart: bool = False
    largest_cohort: int = 1


@dataclass(kw_only=True)
class Summary:
    """What became of a plan.

    Attributes:
        skipped: finished before.
        trained: finished now, here.
        elsewhere: finished now, by another process that carries out the same plan.
        failed: with their reasons.
        not_uploaded: trained, but not brought to MLflow, with the reasons.
    """

    skipped: list[PlannedExperiment] = field(default_factory=list)
    trained: list[PlannedExperiment] = field(default_factory=list)
    elsewhere: list[PlannedExperiment] = field(default_factory=list)
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
    claims: Claims | None = None,
    on_end: Callable[[PlannedExperiment], None] = lambda planned: None,
    on_wait: Callable[[Sequence[tuple[PlannedExperiment, str]]], None] = lambda busy: None,
) -> Summary:
    """Run what a plan lacks and bring it to MLflow; a failed experiment does not stop the others.

    Another process may carry out the same plan at the same time, on this machine or another: each experiment is
    trained by the one that claims it, and both end when all have ended.

    Args:
        plan: what is wanted.
        store: where results live.
        executor: where experiments run.
        surroundings: what every job needs.
        claims: who trains what; None takes those of the store.
        on_end: called when an experiment has ended, well or not, here or elsewhere.
        on_wait: called when nothing is left but what others train, with the words on who does.
    """
    _refuse_bootstrapping()
    claims = claims or open_claims(store.root, store.tracking_uri)
    patience = BRIEF_PATIENCE_SECONDS
    try:
        in_mlflow = store.finished(plan.dataset)
        done, missing = _split(plan, store.runs, in_mlflow)
        if not missing and all(planned.experiment.id in in_mlflow for planned in done):
            return Summary(skipped=done)
        work = _Work(plan, store, executor, surroundings, claims, on_end)
        work.summary.skipped = done
        try:
            work.bring(planned for planned in done if planned.experiment.id not in in_mlflow)
            work.train(missing, on_wait)
            patience = PATIENCE_SECONDS
        finally:
            work.summary.not_uploaded = work.uploads.finish(patience=patience)
    finally:
        claims.close()
    return work.summary


def _refuse_bootstrapping() -> None:
    # A worker of a script without the guard would wait here for what its own parent has claimed, and that for it.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise InputError('a script that carries out plans needs `if __name__ == "__main__":` around its commands')


class _Work:
    """The state of a plan under way."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        executor: Executor,
        surroundings: Surroundings,
        claims: Claims,
        on_end: Callable[[PlannedExperiment], None],
    ) -> None:
        self.plan, self.store, self.executor, self.surroundings = plan, store, executor, surroundings
        self.claims, self.on_end, self.summary = claims, on_end, Summary()
        self.uploads = UploadThread(store, plan, on_ended=self._release)
        self.began = time.time_ns() // 1_000_000

    def bring(self, finished: Iterator[PlannedExperiment]) -> None:
        """Bring runs to MLflow that were trained before; those that another process has claimed, it brings."""
        for planned in finished:
            if self.claims.take(planned.experiment.id):
                self.uploads.put(planned)

    def train(
        self, missing: Sequence[PlannedExperiment], on_wait: Callable[[Sequence[tuple[PlannedExperiment, str]]], None]
    ) -> None:
        """Train what nobody has claimed, round after round, until everything has ended."""
        for planned in missing:
            _announce(planned, self.plan.name, self.store.runs / planned.experiment.id)
        while missing:
            busy: list[PlannedExperiment] = []
            by_folder = {str(self.store.runs / planned.experiment.id): planned for planned in missing}
            # Closed before anything else on the way out: what is claimed must not be let go while it is still trained.
            with closing(self.executor.run(self._jobs(missing, busy))) as ended:
                for job in ended:
                    for member in job.cohort:
                        self._record(by_folder[member.folder], Path(member.folder))
            if busy:
                on_wait([(planned, self.claims.holder(planned.experiment.id)) for planned in busy])
                time.sleep(LOOK_SECONDS)
            missing = busy

    def _jobs(self, missing: Sequence[PlannedExperiment], busy: list[PlannedExperiment]) -> Iterator[Job]:
        """Jobs as executors ask for them; each is claimed in that moment, so that two processes share a plan."""
        for cohort in form_cohorts(missing, largest=self.surroundings.largest_cohort):
            jobs = [job for planned in cohort for job in self._claimed(planned, busy)]
            if jobs:
                yield replace(jobs[0], mates=tuple(jobs[1:]))

    def _claimed(self, planned: PlannedExperiment, busy: list[PlannedExperiment]) -> Iterator[Job]:
        """The job of an experiment, if it is ours to run."""
        name = planned.experiment.id
        folder = self.store.runs / name
        if not self.claims.take(name):
            busy.append(planned)
        elif is_held(folder):
            # Unclaimed and yet run: the worker of a parent that died in this moment, or `mltbench verify`.
            self.claims.release(name)
            busy.append(planned)
        elif (outcome := self._ended_elsewhere(name, folder)) is not None:
            self._record_elsewhere(planned, *outcome)
        else:
            yield _job(planned, str(folder), self.surroundings)

    def _ended_elsewhere(self, name: str, folder: Path) -> tuple[str, str] | None:
        entries = read_journal(folder)
        last = entries[-1] if entries else None
        if last and (last.event == "finished" or (last.event == "failed" and last.time >= self.began)):
            return last.event, str(last.details.get("reason", ""))
        return self.claims.outcome(name)

    def _record_elsewhere(self, planned: PlannedExperiment, outcome: str, reason: str) -> None:
        if outcome == "finished":
            self.summary.elsewhere.append(planned)
        else:
            self.summary.failed.append((planned, reason))
        if read_journal(self.store.runs / planned.experiment.id):
            self.uploads.put(planned)
        else:
            self.claims.release(planned.experiment.id, outcome, reason)
        self.on_end(planned)

    def _record(self, planned: PlannedExperiment, folder: Path) -> None:
        last = read_journal(folder)[-1]
        if last.event == "finished":
            self.summary.trained.append(planned)
        else:
            self.summary.failed.append((planned, str(last.details.get("reason", "stopped without a word"))))
        self.uploads.put(planned)
        self.on_end(planned)

    def _release(self, planned: PlannedExperiment) -> None:
        """Let a run go that has been brought to MLflow: whoever waits for it finds it there."""
        last = read_journal(self.store.runs / planned.experiment.id)[-1]
        self.claims.release(planned.experiment.id, last.event, str(last.details.get("reason", "")))


def _split(
    plan: Plan, runs: Path, in_mlflow: Container[str]
) -> tuple[list[PlannedExperiment], list[PlannedExperiment]]:
    done: list[PlannedExperiment] = []
    missing: list[PlannedExperiment] = []
    for planned in plan.experiments:
        known = planned.experiment.id in in_mlflow or is_finished(runs / planned.experiment.id)
        (done if known else missing).append(planned)
    return done, missing


def _announce(planned: PlannedExperiment, plan: str, folder: Path) -> None:
    """Lay a pending experiment's folder down, for `mltbench status` and `mltbench sync`."""
    if not (folder / LABELS_NAME).exists():
        write_labels(planned, plan, folder)
        (folder / "experiment.json").write_text(planned.experiment.to_json(), encoding="utf-8")


def _job(planned: PlannedExperiment, folder: str, surroundings: Surroundings) -> Job:
    return Job(
        experiment_json=planned.experiment.to_json(),
        folder=folder,
        data_root=str(surroundings.data_root),
        execution=surroundings.execution,
        plugins=tuple(surroundings.plugins),
        word_vectors=str(surroundings.word_vectors) if surroundings.word_vectors else None,
        weights=str(planned.weights.file.resolve()) if planned.weights.file else None,
        command=command_line(),
        restart=surroundings.restart,
    )
