"""Running a plan: what is finished is skipped, what is missing is trained, everything is uploaded to MLflow."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..experiments.experiment import Experiment
from ..experiments.plan import Plan, PlannedExperiment
from ..runs.folder import RunFolder, State
from ..runs.job import Job
from ..tracking.store import TAG, Store
from ..tracking.upload import PATIENCE_SECONDS, UploadThread
from .in_process import Executor
from .settings import RunSettings

# How often a plan looks whether members of a cohort have finished, or what other processes train has ended.
POLL_SECONDS = 1.0
# A user who pressed Ctrl-C does not wait for a server.
BRIEF_PATIENCE_SECONDS = 5.0
# Settings that every learner applies by itself; batches are the same with any.
OPTIMISER = (
    *("learning_rate", "momentum", "weight_decay", "clip_norm", "warmup_iterations", "warmup_ratio", "decay_factor"),
)

OnEnd = Callable[[PlannedExperiment], None]
OnWait = Callable[[Sequence[tuple[PlannedExperiment, str]]], None]


@dataclass(kw_only=True)
class Summary:
    """What became of a plan's experiments."""

    skipped: list[PlannedExperiment] = field(default_factory=list)  # finished before
    trained: list[PlannedExperiment] = field(default_factory=list)  # finished now, here
    elsewhere: list[PlannedExperiment] = field(default_factory=list)  # finished now, by another process
    failed: list[tuple[PlannedExperiment, str]] = field(default_factory=list)  # with their reasons
    not_uploaded: list[tuple[PlannedExperiment, str]] = field(default_factory=list)  # to MLflow, with the reasons


def folder_of(planned: PlannedExperiment, plan: Plan, store: Store) -> RunFolder:
    """The run folder of a plan's experiment."""
    return RunFolder(store.folders(plan.kind) / planned.experiment.id)


def split_plan(plan: Plan, store: Store) -> tuple[list[PlannedExperiment], list[PlannedExperiment]]:
    """Experiments of a plan that are finished (in their folders, or in MLflow), and those that are not."""
    done: list[PlannedExperiment] = []
    missing: list[PlannedExperiment] = []
    uploaded = finished_in_mlflow(plan, store)
    for planned in plan.experiments:
        known = planned.experiment.id in uploaded or folder_of(planned, plan, store).state().is_finished
        (done if known else missing).append(planned)
    return done, missing


def finished_in_mlflow(plan: Plan, store: Store) -> set[str]:
    """Ids of the experiments of a plan, and of its study if it belongs to one, that MLflow has as finished."""
    studies = {planned.tags.get("study") for planned in plan.experiments}
    runs = store.runs_of(plan.dataset, kind=plan.kind)
    return {
        run.data.tags[f"{TAG}experiment_id"]
        for run in runs
        if run.info.status == "FINISHED" and (plan.scores_test or run.data.tags.get(f"{TAG}study") in studies)
    }


def cohort_key(experiment: Experiment) -> str:
    """What experiments must agree in to be trained together: all but loss, head and optimiser."""
    deciding = experiment.deciding()
    method = deciding.pop("method")
    deciding.pop("word_vectors_digest")
    deciding["training"] = {key: value for key, value in deciding["training"].items() if key not in OPTIMISER}
    return json.dumps([deciding, method["sampler"], method["schedule"]], sort_keys=True)


def form_cohorts(experiments: Sequence[PlannedExperiment], *, largest: int) -> list[list[PlannedExperiment]]:
    """Divide experiments into cohorts of at most so many, those with the most images first; 1 leaves their order."""
    if largest == 1:
        return [[planned] for planned in experiments]
    alike: dict[str, list[PlannedExperiment]] = {}
    for planned in experiments:
        alike.setdefault(f"{cohort_key(planned.experiment)} {planned.weights.file}", []).append(planned)
    cohorts = [group[start : start + largest] for group in alike.values() for start in range(0, len(group), largest)]
    return sorted(cohorts, key=lambda cohort: -sum(planned.images for planned in cohort))


def run_plan(
    plan: Plan,
    store: Store,
    settings: RunSettings,
    *,
    executor: Executor | None = None,
    on_end: OnEnd = lambda planned: None,
    on_wait: OnWait = lambda busy: None,
) -> Summary:
    """Train what a plan lacks and upload it to MLflow; a failed experiment does not stop the others.

    Other commands may run the same plan on the same results folder at the same time: each experiment is trained by the
    one that locks its folder, and all end when everything has ended.

    `executor` is by default the one that the settings name. `on_end` is called when an experiment has ended, well or
    not, here or elsewhere: by one thread at a time, but not always by this one. `on_wait` is called when nothing is
    left but what other processes train, with a description of each.

    Raises:
        InputError: if it cannot be run here, with a full disk, say; what is finished is kept.
        Interrupted: if a signal came.
    """
    if not plan.scores_test:
        settings = replace(settings, execution=replace(settings.execution, score_test=False))
    uploaded = finished_in_mlflow(plan, store)
    work = _Work(plan, store, settings, executor, on_end, on_wait)
    done, missing = split_plan(plan, store)
    work.summary.skipped = done
    left = [planned for planned in done if planned.experiment.id not in uploaded]
    if left or missing:
        work.run(left, missing)
    return work.summary


class _Work:
    """A plan under way."""

    def __init__(
        self, plan: Plan, store: Store, settings: RunSettings, executor: Executor | None, on_end: OnEnd, on_wait: OnWait
    ) -> None:
        self.plan, self.store, self.settings, self.executor = plan, store, settings, executor
        self.on_end, self.on_wait = on_end, on_wait
        self.summary, self.began = Summary(), time.time_ns() // 1_000_000
        self._together, self._ended, self._ending = list[PlannedExperiment](), set[str](), threading.Lock()

    def run(self, not_uploaded: Sequence[PlannedExperiment], missing: Sequence[PlannedExperiment]) -> None:
        """Upload what is only finished, and train what is missing."""
        patience = BRIEF_PATIENCE_SECONDS
        self.uploads = UploadThread(self.store, self.plan)
        try:
            for planned in not_uploaded:
                self.uploads.put(planned)
            self._train(missing)
            patience = PATIENCE_SECONDS
        finally:
            self.summary.not_uploaded = self.uploads.finish(patience=patience)

    def _train(self, missing: Sequence[PlannedExperiment]) -> None:
        """Train what nobody trains, round after round, until everything has ended."""
        for planned in missing:
            self._folder(planned).announce(planned, self.plan.name)
        executor = self.executor or self.settings.make_executor()
        largest = self.settings.largest_cohort(len(missing))
        while missing:
            busy: list[PlannedExperiment] = []
            by_id = {planned.experiment.id: planned for planned in missing}
            # Closed before anything else on the way out: no worker may train what nobody waits for.
            jobs = self._jobs(form_cohorts(missing, largest=largest), busy)
            with self._watching(), closing(executor.run(jobs)) as ended:
                for planned in (by_id[Path(member.folder).name] for job in ended for member in job.members):
                    if self._folder(planned).state().state is State.RUNNING:
                        busy.append(planned)  # by a process that was quicker
                    else:
                        self._end(planned, self.summary.trained)
            if busy:
                beats = [(planned, self._folder(planned).state().heartbeat) for planned in busy]
                self.on_wait([(planned, beat.describe() if beat else "another process") for planned, beat in beats])
                time.sleep(POLL_SECONDS)
            missing = busy

    def _jobs(self, cohorts: Sequence[Sequence[PlannedExperiment]], busy: list[PlannedExperiment]) -> Iterator[Job]:
        """Jobs as the executor asks for them, of what no other process trains or has ended in that moment."""
        runs = self.store.folders(self.plan.kind)
        for cohort in cohorts:
            ours = []
            for planned in cohort:
                found = self._folder(planned).state()
                if found.state is State.RUNNING:
                    busy.append(planned)
                elif found.is_finished or (found.state is State.FAILED and found.ended >= self.began):
                    self._end(planned, self.summary.elsewhere)
                else:
                    ours.append(planned)
            if len(ours) > 1:
                self._together += ours
            if ours:
                yield self.settings.job(ours, runs)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Within, an experiment has ended when it is finished, not only when all of its cohort have ended."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(POLL_SECONDS):
                for planned in self._together[:]:
                    entries = [] if planned.experiment.id in self._ended else self._folder(planned).entries()
                    if entries and entries[-1].event == State.FINISHED:
                        self._end(planned, self.summary.trained)

        thread = threading.Thread(target=watch, name="finished members", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _end(self, planned: PlannedExperiment, finished: list[PlannedExperiment]) -> None:
        with self._ending:
            if planned.experiment.id in self._ended:
                return
            self._ended.add(planned.experiment.id)
            found = self._folder(planned).state()
            if found.is_finished:
                finished.append(planned)
            else:
                self.summary.failed.append((planned, found.reason or "it ended without a reason"))
            if found.ended:
                self.uploads.put(planned)
            self.on_end(planned)

    def _folder(self, planned: PlannedExperiment) -> RunFolder:
        return folder_of(planned, self.plan, self.store)
