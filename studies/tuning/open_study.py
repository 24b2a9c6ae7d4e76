"""A study that is open: its definition with the Optuna studies of its arms, and how far each has come."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import unknown_name
from .definition import Arm, Budget, StudyDefinition, require_same
from .leases import Leases
from .storage import GRACE_SECONDS, JOURNAL, open_storage, quiet, studies_in, study_folder, study_names
from .trials import LOOKS_BEFORE_PRUNING, looks_every

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

GRID_STEPS = 3
# Pruned trials leave images to further ones, but not to more than twice as many trials.
TRIALS_PER_BUDGETED = 2
FAILURES_IN_A_ROW = 5


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far an arm has come.

    Attributes:
        finished: trials with a result, oldest first.
        running: trials that somebody trains.
        waiting: trials that nobody has begun.
        images: training images used, and reserved by running trials.
    """

    finished: tuple[FrozenTrial, ...]
    running: tuple[FrozenTrial, ...]
    waiting: int
    images: int


@dataclass(frozen=True, eq=False, kw_only=True)
class OpenStudy:
    """A study and its arms.

    Attributes:
        definition: of the study.
        budget: of each arm, as of now.
        folder: of its files under the results root.
        arms: Optuna study by arm name.
        leases: on its trials, where the storage has no heartbeat.
        storage: that holds all of them.
    """

    definition: StudyDefinition
    budget: Budget
    folder: Path
    arms: Mapping[str, Study]
    leases: Leases | None
    storage: BaseStorage

    def close(self) -> None:
        """Give the connections of a database back; a journal file has none."""
        from optuna.storages import RDBStorage

        self.storage.remove_session()
        if isinstance(self.storage, RDBStorage):
            self.storage.engine.dispose()

    def progress(self, arm: Arm) -> Progress:
        """Count the trials of an arm."""
        return _progress(arm, self.definition, self.arms[arm.name].get_trials(deepcopy=False))

    def wants_more(self, progress: Progress) -> bool:
        """Whether a further trial of an arm that has come so far is to be begun."""
        if self.definition.purpose == "sweep":
            return progress.waiting > 0
        if progress.images >= self.budget.images or _keeps_failing(progress.finished):
            return False
        begun = len(progress.finished) + len(progress.running)
        room = begun < TRIALS_PER_BUDGETED * self.budget.trials
        return room and (progress.waiting > 0 or self.definition.sampler != "grid")

    def next_arm(self) -> Arm | None:
        """The arm that has used the least of its budget and wants more; None when none does."""
        progress = {arm.name: self.progress(arm) for arm in self.definition.arms}
        open_arms = [arm for arm in self.definition.arms if self.wants_more(progress[arm.name])]
        return min(open_arms, key=lambda arm: progress[arm.name].images / self.budget.images, default=None)

    def is_surplus(self, arm: Arm, trial_number: int) -> bool:
        """Whether a trial just begun was not wanted: several workers may begin the last one at once."""
        trials = self.arms[arm.name].get_trials(deepcopy=False)
        if self.definition.purpose == "sweep":
            return "seeds" not in trials[trial_number].user_attrs
        before = _progress(arm, self.definition, trials[:trial_number])
        return before.images >= self.budget.images

    def others_running(self) -> int:
        """Trials that are being trained somewhere."""
        return sum(len(self.progress(arm).running) for arm in self.definition.arms)

    def take_over(self) -> int:
        """Queue trials of dead workers once more; return how many. A database does that by itself."""
        if self.leases is None:
            import optuna

            with quiet():
                for study in self.arms.values():
                    optuna.storages.fail_stale_trials(study)
            return 0
        return sum(len(self.leases.take_over(study)) for study in self.arms.values())


def begin_study(
    definition: StudyDefinition, budget: Budget, root: Path, url: str | None, *, grace: int = GRACE_SECONDS
) -> OpenStudy:
    """Begin a study, or go on with it when it exists.

    Raises:
        InputError: if it exists with another definition.
    """
    import optuna

    storage = open_storage(root, definition.name, url, grace=grace)
    existing = studies_in(storage).get(definition.name)
    if existing:
        require_same(definition.name, _identity(existing[0].user_attrs["definition"]), _identity(definition.as_json()))
    for arm in definition.arms:
        study = optuna.create_study(
            storage=storage,
            study_name=f"{definition.name}/{arm.name}",
            directions=["maximize"] * len(definition.values),
            load_if_exists=True,
        )
        with quiet():
            study.set_metric_names([f"validation {name}" for name in definition.values])
        study.set_user_attr("definition", definition.as_json())
        study.set_user_attr("arm", arm.name)
        study.set_user_attr("budget", budget.as_json())
        _enqueue(study, definition, arm, budget)
    return _open(definition, budget, root, storage, url, grace)


def join_study(name: str, root: Path, url: str | None, *, grace: int = GRACE_SECONDS) -> OpenStudy:
    """Open a study that exists.

    Raises:
        InputError: if there is none of that name.
    """
    if url is None and not (study_folder(root, name) / JOURNAL).exists():
        known = study_names(root)
        raise unknown_name(f"study under {root}", name, known)
    storage = open_storage(root, name, url, grace=grace)
    found = studies_in(storage)
    if name not in found:
        raise unknown_name("study in this storage", name, sorted(found))
    attributes = found[name][0].user_attrs
    definition = StudyDefinition.from_json(attributes["definition"])
    return _open(definition, Budget(**attributes["budget"]), root, storage, url, grace)


def result_of(trial: FrozenTrial) -> dict[str, Any]:
    """What a trial left; empty for one that was lost, surplus, or is not finished."""
    return trial.user_attrs.get("result", {}) if trial.state.is_finished() else {}


def _open(
    definition: StudyDefinition, budget: Budget, root: Path, storage: BaseStorage, url: str | None, grace: int
) -> OpenStudy:
    import optuna

    arms = {}
    for arm in definition.arms:
        study = optuna.load_study(
            study_name=f"{definition.name}/{arm.name}", storage=storage, pruner=_pruner(definition, arm)
        )
        study.sampler = _sampler(definition, len(study.get_trials(deepcopy=False)))
        arms[arm.name] = study
    folder = study_folder(root, definition.name)
    leases = Leases(folder, grace=grace) if url is None else None
    return OpenStudy(definition=definition, budget=budget, folder=folder, arms=arms, leases=leases, storage=storage)


def _sampler(definition: StudyDefinition, trials: int) -> BaseSampler:
    """A sampler whose random numbers begin elsewhere each time that a study is opened: none are drawn twice."""
    from optuna.samplers import RandomSampler, TPESampler

    seed = random.Random(f"{definition.sampler_seed}/{trials}/{_worker_number()}").randrange(2**31)
    return RandomSampler(seed=seed) if definition.sampler == "random" else TPESampler(seed=seed)


def _worker_number() -> int:
    """The number of a worker that a command started, else the process's own."""
    name = multiprocessing.current_process().name
    return int(name.rpartition("-")[2]) if name.startswith("worker-") else os.getpid()


def _pruner(definition: StudyDefinition, arm: Arm) -> BasePruner:
    from optuna.pruners import HyperbandPruner, NopPruner

    least = LOOKS_BEFORE_PRUNING * looks_every(arm.epochs)
    if not definition.prunes or arm.epochs <= least:
        return NopPruner()
    return HyperbandPruner(min_resource=least, max_resource=arm.epochs, reduction_factor=3)


def _enqueue(study: Study, definition: StudyDefinition, arm: Arm, budget: Budget) -> None:
    if definition.purpose == "sweep":
        _enqueue_points(study, definition, arm)
    elif not study.get_trials(deepcopy=False):
        study.enqueue_trial(dict(arm.defaults), user_attrs={"default": True})
        for point in _grid(arm, definition, budget) if definition.sampler == "grid" else ():
            study.enqueue_trial(point)


def _enqueue_points(study: Study, definition: StudyDefinition, arm: Arm) -> None:
    """Queue every point and seed that is not finished, running or waiting; what failed is tried again."""
    import optuna

    there = set()
    for trial in study.get_trials(deepcopy=False):
        failed = trial.state == optuna.trial.TrialState.FAIL or result_of(trial).get("outcome") == "failed"
        if "seeds" in trial.user_attrs and not failed:
            there.add((str(trial.user_attrs["point"]), trial.user_attrs["seeds"][0]))
    for seed in definition.seeds:
        for point in arm.points:
            label = str(dict(point))
            if (label, seed) not in there:
                default = dict(point) == dict(arm.defaults)
                attributes = {"seeds": [seed], "point": label, "default": default}
                study.enqueue_trial(dict(point), user_attrs=attributes)


def _grid(arm: Arm, definition: StudyDefinition, budget: Budget) -> Sequence[dict[str, Any]]:
    """Points of the grid in an order drawn once, as many as the budget may ask for."""
    values = [searched.grid(GRID_STEPS) for searched in arm.space.values()]
    number, most = 1, TRIALS_PER_BUDGETED * budget.trials
    for options in values:
        number *= len(options)
    generator = random.Random(definition.sampler_seed)
    chosen = generator.sample(range(number), min(number, most))
    points = []
    for index in chosen:
        point = {}
        for key, options in zip(arm.space, values, strict=True):
            index, position = divmod(index, len(options))
            point[key] = options[position]
        points.append(point)
    return points


def _progress(arm: Arm, definition: StudyDefinition, trials: Sequence[FrozenTrial]) -> Progress:
    from optuna.trial import TrialState

    finished = tuple(trial for trial in trials if result_of(trial))
    running = tuple(trial for trial in trials if trial.state == TrialState.RUNNING)
    used = sum(result_of(trial)["images"] for trial in finished)
    reserved = sum(arm.images * len(trial.user_attrs.get("seeds") or definition.seeds) for trial in running)
    waiting = sum(trial.state == TrialState.WAITING for trial in trials)
    return Progress(finished=finished, running=running, waiting=waiting, images=used + reserved)


def _keeps_failing(finished: Sequence[FrozenTrial]) -> bool:
    last = [result_of(trial)["outcome"] for trial in finished[-FAILURES_IN_A_ROW:]]
    return len(last) == FAILURES_IN_A_ROW and set(last) == {"failed"}


def _identity(definition: Mapping[str, Any]) -> dict[str, Any]:
    """What may not change: of weights their digest, not their place; a sweep's seeds are trials, and may grow."""
    own = {key: value for key, value in definition.items() if key != "weights"}
    if own["purpose"] == "sweep":
        del own["seeds"]
    return own
