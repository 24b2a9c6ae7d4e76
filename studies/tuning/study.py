"""A study in Optuna's storage: begun or joined, how far each method has come, and which one is trained next."""

import multiprocessing
import os
import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.storages import JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ...benchmark.tracking.addresses import sqlite_uri
from ...errors import InputError, unknown_name, without_password
from .definition import Arm, StudyDefinition, grid_points, require_same

DATABASE = "studies.db"
# Where earlier versions kept each study; what has been copied gets the other name.
JOURNALS, COPIED = "studies/*/journal.log", "journal.log.copied"
LOCKED_SECONDS = 60
GRACE_SECONDS = 60
# A heartbeat six times within the grace: one or two late ones do not make a trial stale.
BEATS_PER_GRACE = 6
MAX_RETRIES = 3
# Pruned trials leave images to further ones, but not to more than twice as many trials.
TRIALS_PER_BUDGETED = 2
FAILURES_IN_A_ROW = 5
# A run that may be pruned is scored at about eight epochs; the first two of them are warm-up for the most part.
SCORES_PER_RUN = 8
SCORES_BEFORE_PRUNING = 2


@dataclass(frozen=True, kw_only=True)
class StudyStorage:
    """Where studies are kept."""

    root: Path  # results root, with a SQLite file of studies
    url: str | None = None  # of a database in its place, such as `postgresql://user@host/studies`
    grace: int = GRACE_SECONDS  # seconds without a heartbeat after which a trial is lost, and queued again

    @property
    def trials(self) -> Path:
        """Folder of the run folders of trials."""
        return self.root / "trials"

    def open(self) -> RDBStorage:
        """Open the database, and make it where it is missing.

        Raises:
            InputError: if it cannot be opened.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        url = self.url or sqlite_uri(self.root.resolve() / DATABASE)
        options: dict[str, Any] = {"pool_pre_ping": True}
        if in_file := url.startswith("sqlite:"):
            # Without the driver's own transactions, which begin too late for what follows.
            options = {"connect_args": {"timeout": LOCKED_SECONDS, "isolation_level": None}}
        try:
            if self.url is None:
                self.root.mkdir(parents=True, exist_ok=True)
            # SQLite's tables must be made by one process alone.
            with nullcontext() if self.url else FileLock(self.root / ".studies.lock"), quiet():
                database = RDBStorage(
                    url.replace("postgresql:", "postgresql+psycopg:", 1),
                    heartbeat_interval=max(1, self.grace // BEATS_PER_GRACE),
                    grace_period=self.grace,
                    heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=MAX_RETRIES),
                    engine_kwargs=options,
                )
                if in_file:
                    # SQLite locks no rows: of two workers that read that a trial waits, both would take it.
                    sqlalchemy.event.listen(database.engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
                if self.url is None:
                    _copy_journals(self.root, database)
                return database
        except Exception as error:
            reason = without_password(str(error).partition("\n")[0])
            where = self.root / DATABASE if self.url is None else without_password(self.url)
            raise InputError(
                f"the studies in {where} cannot be opened: {reason}; give a writable folder with --out, or with "
                "--storage an address such as postgresql://user:password@host/database (pip install "
                "'mltbench[postgresql]') of a database that MLflow does not use, for both keep the version of their "
                "tables under one name"
            ) from error

    def open_existing(self) -> RDBStorage | None:
        """As `open`; None where there is no SQLite file yet, which is not made."""
        there = self.url is not None or (self.root / DATABASE).exists() or any(self.root.glob(JOURNALS))
        return self.open() if there else None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far an arm has come: its trials, finished ones oldest first, and the training images used and reserved."""

    finished: tuple[FrozenTrial, ...]
    running: tuple[FrozenTrial, ...]
    waiting: int
    images: int


@dataclass(frozen=True, eq=False, kw_only=True)
class OpenStudy:
    """A study, its budget in trials as of now, and the Optuna study of each arm by the arm's name."""

    definition: StudyDefinition
    trials: int
    storage: StudyStorage
    database: RDBStorage
    arms: Mapping[str, optuna.Study]

    @property
    def budget(self) -> int:
        """Training images of each method; the trial that reaches it is the last one."""
        return self.definition.budget(self.trials)

    def progress(self, arm: Arm, *, before: int | None = None) -> Progress:
        """Count the trials of an arm, all or those before a number."""
        trials = self.arms[arm.name].get_trials(deepcopy=False)[:before]
        finished = tuple(trial for trial in trials if result_of(trial))
        running = tuple(trial for trial in trials if trial.state == TrialState.RUNNING)
        waiting = sum(trial.state == TrialState.WAITING for trial in trials)
        images = sum(result_of(trial)["images"] for trial in finished)
        images += len(running) * arm.images * len(self.definition.seeds)
        return Progress(finished=finished, running=running, waiting=waiting, images=images)

    def next_arm(self) -> Arm | None:
        """The arm that has used the least of its budget and wants more; None when none does."""
        progress = {arm.name: self.progress(arm) for arm in self.definition.arms}
        wanting = [arm for arm in self.definition.arms if self._wants_more(progress[arm.name])]
        return min(wanting, key=lambda arm: progress[arm.name].images, default=None)

    def is_surplus(self, arm: Arm, number: int) -> bool:
        """Whether a trial just begun is one too many: several workers may begin the last one at once."""
        before = self.progress(arm, before=number)
        begun = len(before.finished) + len(before.running)
        return before.images >= self.budget or (self.definition.sampler == "grid" and begun > len(self.grid(arm)))

    def grid(self, arm: Arm) -> list[dict[str, Any]]:
        """Points of an arm's grid in an order drawn once, as many as the budget may ask for."""
        return grid_points(arm.space, TRIALS_PER_BUDGETED * self.trials, self.definition.sampler_seed)

    def running(self) -> int:
        """Number of trials that are being trained somewhere."""
        return sum(len(self.progress(arm).running) for arm in self.definition.arms)

    def retry_lost(self) -> None:
        """Queue trials of dead workers once more."""
        late = datetime.now() - timedelta(seconds=self.storage.grace)
        for study in self.arms.values():
            with quiet():
                fail_stale_trials(study)
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                # Killed between taking the trial and its first heartbeat, for which Optuna waits forever.
                if not trial.params and trial.datetime_start and trial.datetime_start < late:
                    queue_again(study, trial)

    def _wants_more(self, progress: Progress) -> bool:
        last = [result_of(trial)["outcome"] for trial in progress.finished[-FAILURES_IN_A_ROW:]]
        begun = len(progress.finished) + len(progress.running)
        room = progress.images < self.budget and begun < TRIALS_PER_BUDGETED * self.trials
        keeps_failing = last == ["failed"] * FAILURES_IN_A_ROW
        return room and not keeps_failing and (progress.waiting > 0 or self.definition.sampler != "grid")


def begin_study(definition: StudyDefinition, trials: int, storage: StudyStorage) -> OpenStudy:
    """Begin a study with a budget of so many full trials of each method, or continue it.

    Raises:
        InputError: if it exists with another definition.
    """
    database = storage.open()
    if (existing := studies_in(database).get(definition.name)) is not None:
        require_same(existing[0], definition)
    budget = {"trials": trials, "images": definition.budget(trials)}
    for arm in definition.arms:
        name, directions = f"{definition.name}/{arm.name}", [StudyDirection.MAXIMIZE for _ in definition.values]
        study = optuna.create_study(storage=database, study_name=name, directions=directions, load_if_exists=True)
        with quiet():
            study.set_metric_names([f"validation {name}" for name in definition.values])
        for key, value in {"definition": definition.as_json(), "arm": arm.name, "budget": budget}.items():
            study.set_user_attr(key, value)
    opened = _opened(definition, trials, storage, database)
    for arm in definition.arms:
        study = opened.arms[arm.name]
        if not study.get_trials(deepcopy=False):
            study.enqueue_trial(dict(arm.defaults), user_attrs={"default": True})
            for point in opened.grid(arm) if definition.sampler == "grid" else ():
                study.enqueue_trial(point)
    return opened


def join_study(name: str, storage: StudyStorage) -> OpenStudy:
    """Open a study that exists.

    Raises:
        InputError: if there is none of that name.
    """
    database = storage.open_existing()
    found = studies_in(database) if database else {}
    if database is None or name not in found:
        raise unknown_name("study in this storage" if storage.url else f"study under {storage.root}", name, found)
    return _opened(*found[name], storage, database)


def studies_in(database: RDBStorage) -> dict[str, tuple[StudyDefinition, int]]:
    """Definition and budget in trials of every study, by name."""
    found = [study.user_attrs for study in database.get_all_studies() if "budget" in study.user_attrs]
    studies = [(StudyDefinition.from_json(one["definition"]), one["budget"]["trials"]) for one in found]
    return {definition.name: (definition, trials) for definition, trials in studies}


def result_of(trial: FrozenTrial) -> dict[str, Any]:
    """What a trial left; empty for one that was lost, surplus, or is not finished."""
    ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    return trial.user_attrs.get("result", {}) if ended else {}


def scored_every(epochs: int) -> int:
    """Epochs between two scorings of the validation split in a run that may be pruned."""
    return max(1, epochs // SCORES_PER_RUN)


def queue_again(study: optuna.Study, trial: FrozenTrial) -> None:
    """End a running trial and queue it once more, as Optuna does when a heartbeat has stopped."""
    with quiet():
        RetryHeartbeatStaleTrialCallback()(study, trial)
    study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Within, Optuna does not warn that its heartbeat and its names of metrics are experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _copy_journals(root: Path, database: RDBStorage) -> None:
    """Copy the tunings that earlier versions kept in journal files, each once; what were sweeps are plans today."""
    for file in sorted(root.glob(JOURNALS)):
        journal = JournalStorage(JournalFileBackend(str(file)))
        for frozen in journal.get_all_studies():
            name, definition = frozen.study_name, frozen.user_attrs.get("definition", {})
            if definition.get("purpose") != "tune":
                continue
            if name in [known.study_name for known in database.get_all_studies()]:
                optuna.delete_study(study_name=name, storage=database)  # left by a process that was killed here
            optuna.copy_study(from_study_name=name, from_storage=journal, to_storage=database)
            study = optuna.load_study(study_name=name, storage=database)
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                queue_again(study, trial)
        file.rename(file.with_name(COPIED))


def _opened(definition: StudyDefinition, trials: int, storage: StudyStorage, database: RDBStorage) -> OpenStudy:
    arms = {}
    for arm in definition.arms:
        name, pruner = f"{definition.name}/{arm.name}", _pruner(definition, arm)
        arms[arm.name] = optuna.load_study(study_name=name, storage=database, pruner=pruner)
        arms[arm.name].sampler = _sampler(definition, len(arms[arm.name].get_trials(deepcopy=False)))
    return OpenStudy(definition=definition, trials=trials, storage=storage, database=database, arms=arms)


def _sampler(definition: StudyDefinition, trials: int) -> optuna.samplers.BaseSampler:
    """A sampler whose random numbers begin elsewhere each time that a study is opened: none are drawn twice."""
    name = multiprocessing.current_process().name
    # The number of a worker that a command started, else the process's own.
    worker = int(name.rpartition("-")[2]) if name.startswith("worker-") else os.getpid()
    seed = random.Random(f"{definition.sampler_seed}/{trials}/{worker}").randrange(2**31)
    kind = optuna.samplers.RandomSampler if definition.sampler == "random" else optuna.samplers.TPESampler
    return kind(seed=seed)


def _pruner(definition: StudyDefinition, arm: Arm) -> optuna.pruners.BasePruner:
    least = SCORES_BEFORE_PRUNING * scored_every(arm.epochs)
    if not definition.prunes or arm.epochs <= least:
        return optuna.pruners.NopPruner()
    return optuna.pruners.HyperbandPruner(min_resource=least, max_resource=arm.epochs, reduction_factor=3)
