"""A worker: begins trials of a study until none is wanted; any number of them may work on one study."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...benchmark.executors.run_plan import Surroundings
from ...datasets.dataset import Dataset
from ...datasets.registry import load_dataset
from ...errors import InputError
from .definition import Arm
from .leases import queue_again
from .open_study import OpenStudy, join_study, result_of
from .storage import GRACE_SECONDS, optimise_once
from .trials import Laboratory, run_trial

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.trial import FrozenTrial

POLL_SECONDS = 0.5
INTERRUPTED = 130
OnTrial = Callable[[Arm, "FrozenTrial"], None]


class SurplusError(Exception):
    """A trial that was begun although the study wanted no more."""


@dataclass(frozen=True, kw_only=True)
class WorkerTask:
    """What a worker process needs to join a study: plain values alone.

    Attributes:
        name: of the study.
        root: results root.
        url: of the storage; None for the journal file.
        surroundings: data, device, threads, plugins.
        deadline: seconds since 1970 after which no trial is begun; None for no limit.
        grace: seconds without a sign of life after which a trial is taken over.
    """

    name: str
    root: Path
    url: str | None
    surroundings: Surroundings
    deadline: float | None = None
    grace: int = GRACE_SECONDS


def laboratory_of(root: Path, surroundings: Surroundings) -> Laboratory:
    """What trials under a results root need."""
    return Laboratory(
        trials=root / "trials", surroundings=surroundings, open_dataset=dataset_opener(surroundings.data_root)
    )


def dataset_opener(data_root: Path) -> Callable[[str], Dataset]:
    """A function that opens a dataset by name, each once."""
    return cache(partial(load_dataset, data_root=data_root))


def start_worker(task: WorkerTask) -> None:
    """Entry of a worker process that a command starts: join the study and work until nothing is left to do.

    Ctrl-C is the command's business; it ends its workers with a signal, which queues the running trial again. A worker
    whose command has died begins no further trial.
    """
    from ...methods.plugins import load_plugins

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    load_plugins(task.surroundings.plugins)
    parent = os.getppid()
    try:
        study = join_study(task.name, task.root, task.url, grace=task.grace)
        laboratory = laboratory_of(task.root, task.surroundings)
        work(study, laboratory, deadline=task.deadline, goes_on=lambda: os.getppid() == parent)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except InputError as error:
        sys.stderr.write(f"worker: {error}\n")
        raise SystemExit(1) from None


def work(
    study: OpenStudy,
    laboratory: Laboratory,
    *,
    deadline: float | None = None,
    on_trial: OnTrial = lambda arm, trial: None,
    goes_on: Callable[[], bool] = lambda: True,
) -> None:
    """Run trials until the study wants no more and nobody's trial is left to take over.

    Args:
        study: an open study.
        laboratory: what trials need.
        deadline: seconds since 1970 after which no trial is begun.
        on_trial: called with the arm and the trial when one of this worker has ended.
        goes_on: asked before each trial.
    """
    while goes_on() and (deadline is None or time.time() < deadline):
        study.take_over()
        arm = study.next_arm()
        if arm is not None:
            _one_trial(study, arm, laboratory, on_trial)
        elif study.others_running():
            time.sleep(POLL_SECONDS)
        else:
            return


def _one_trial(study: OpenStudy, arm: Arm, laboratory: Laboratory, on_trial: OnTrial) -> None:
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    optuna_study, numbers = study.arms[arm.name], []

    def objective(trial: Trial) -> tuple[float, ...]:
        numbers.append(trial.number)
        lease = study.leases.hold(optuna_study, trial.number) if study.leases else nullcontext()
        with lease:
            if study.is_surplus(arm, trial.number):
                raise SurplusError
            try:
                return run_trial(trial, study.definition, arm, laboratory)
            except (KeyboardInterrupt, InputError):
                # Ctrl-C, or a full disk: what was trained is kept, and the trial goes on when somebody takes it.
                queue_again(optuna_study, _frozen(study, arm, trial.number), max_retries=None)
                raise

    try:
        optimise_once(optuna_study, objective, catch=(SurplusError,))
    except (ValueError, UpdateFinishedTrialError):
        # Held up longer than the grace, this worker lost the trial to another; that one's result counts.
        if _frozen(study, arm, numbers[0]).state != TrialState.FAIL:
            raise
    ended = _frozen(study, arm, numbers[0])
    if result_of(ended):
        on_trial(arm, ended)


def _frozen(study: OpenStudy, arm: Arm, number: int) -> FrozenTrial:
    return study.arms[arm.name].get_trials(deepcopy=False)[number]


def _interrupt(*_: object) -> None:
    # Once: what follows is the orderly end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt
