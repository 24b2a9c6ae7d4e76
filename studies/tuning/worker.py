"""Workers: each trains trials of a study until none is wanted; any number of them may work on one study."""

import math
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from ...benchmark.executors.settings import RunSettings
from ...benchmark.experiments.plan import PlannedExperiment
from ...benchmark.runs.folder import RunFolder, State
from ...benchmark.runs.journal import Entry
from ...benchmark.runs.run import run_cohort
from ...benchmark.training.execution import ExecutionChangedError, StoppedEarly
from ...benchmark.training.metrics import SCORE_NAMES
from ...errors import InputError
from ...methods.plugins import load_plugins
from ...processes import end_with_parent, let_signals_through, signals_blocked
from .definition import Arm, suggest
from .study import OpenStudy, StudyStorage, join_study, queue_again, quiet, result_of, scored_every

POLL_SECONDS = 0.5
INTERRUPTED = 130
# The system may kill a worker for want of memory; one that dies again and again has another cause.
RESTARTS_PER_WORKER = 2
ENDS_WITHIN_SECONDS = 20.0


def run_workers(study: OpenStudy, settings: RunSettings, deadline: float | None, on_poll: Callable[[], None]) -> None:
    """Let `settings.workers` processes train a study until it wants no more; `on_poll` is called twice a second.

    Raises:
        RuntimeError: if workers die again and again.
    """
    context, deaths = multiprocessing.get_context("spawn"), 0

    def start(index: int) -> multiprocessing.process.BaseProcess:
        what = (study.definition.name, study.storage, settings, deadline)
        process = context.Process(target=_work, args=what, name=f"worker-{index}")
        with signals_blocked():
            process.start()
        return process

    workers = [start(index) for index in range(settings.workers)]
    try:
        while workers:
            time.sleep(POLL_SECONDS)
            on_poll()
            died = [worker for worker in workers if worker.exitcode not in (None, 0, INTERRUPTED)]
            workers = [worker for worker in workers if worker.exitcode is None]
            for _ in died:
                deaths += 1
                if deaths > RESTARTS_PER_WORKER * settings.workers:
                    raise RuntimeError(
                        f"{deaths} workers died; the last lines above say why, or memory is too short: try --workers 1"
                    )
                workers.append(start(settings.workers - 1 + deaths))
    finally:
        for worker in workers:
            worker.terminate()
        late = time.monotonic() + ENDS_WITHIN_SECONDS
        for worker in workers:
            worker.join(max(0.0, late - time.monotonic()))
            if worker.exitcode is None:
                worker.kill()
                worker.join()


def run_trials(
    study: OpenStudy,
    settings: RunSettings,
    deadline: float | None = None,
    *,
    on_trial: Callable[[], None] = lambda: None,
) -> None:
    """Train trials here until the study wants no more, and no other worker's trial may still be lost.

    No trial is begun after the deadline, in seconds since 1970; `on_trial` is called when one has ended.
    """
    while deadline is None or time.time() < deadline:
        arm = study.next_arm()
        if arm is not None:
            _run_next(study, arm, settings)
            on_trial()
        elif study.running():
            time.sleep(POLL_SECONDS)
            study.retry_lost()
        else:
            return


def images_in(entries: Sequence[Entry]) -> int:
    """Training images that a run has taken."""
    return max((int(entry.details["images"]) for entry in entries if entry.event == "epoch"), default=0)


def _work(name: str, storage: StudyStorage, settings: RunSettings, deadline: float | None) -> None:
    """Entry of a worker process; the command that started it handles Ctrl-C, and ends its workers with SIGTERM."""

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: what follows is the orderly end
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, interrupt)
    end_with_parent()
    try:
        let_signals_through()
        load_plugins(settings.plugins)
        run_trials(join_study(name, storage), settings, deadline)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except InputError as error:
        sys.exit(f"worker: {error}")


def _run_next(study: OpenStudy, arm: Arm, settings: RunSettings) -> None:
    optuna_study, begun, wrong = study.arms[arm.name], list[int](), list[ValueError]()

    def frozen() -> FrozenTrial:
        return optuna_study.get_trials(deepcopy=False)[begun[0]]

    def objective(trial: optuna.Trial) -> tuple[float, ...]:
        begun.append(trial.number)
        if study.is_surplus(arm, trial.number):
            return (math.nan,) * len(study.definition.values)  # which fails it
        try:
            return _run_trial(trial, study, arm, settings)
        except ValueError as error:
            wrong.append(error)
            raise

    try:
        with quiet():
            optuna_study.optimize(objective, n_trials=1)
    except (KeyboardInterrupt, InputError):
        # Ctrl-C, or a full disk: the trial is queued again, and its training resumes from its checkpoint.
        if begun and not result_of(frozen()):
            queue_again(optuna_study, frozen())
        raise
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
        # Silent for longer than the grace, this worker lost its trial to another, whose result counts.
        if wrong or not begun or frozen().state != TrialState.FAIL:
            raise


def _run_trial(trial: optuna.Trial, study: OpenStudy, arm: Arm, settings: RunSettings) -> tuple[float, ...]:
    """Train the seeds of a trial and keep its result; return what is maximised, the mean over its seeds."""
    definition, values = study.definition, suggest(trial, arm.space)
    planned = definition.experiments(arm, values, settings)
    trial.set_user_attr("experiments", [item.experiment.id for item in planned])
    journals: list[list[Entry]] = []
    for item in planned:
        # The first seed is scored by epoch; a trial that survives it is trained with the others in full.
        observer = trial if definition.prunes and not journals else None
        journals.append(_train(item, study, arm, settings, observer))
        if journals[-1][-1].event != State.FINISHED:
            break
    result = _summarised(journals, values)
    trial.set_user_attr("result", result)
    if result["outcome"] != "complete":
        raise optuna.TrialPruned(result["reason"])
    return tuple(result["validation"][name] for name in definition.values)


def _train(
    planned: PlannedExperiment, study: OpenStudy, arm: Arm, settings: RunSettings, trial: optuna.Trial | None
) -> list[Entry]:
    """Train an experiment, or take it as it is when some study has finished it; return its journal."""
    value, reported = study.definition.values[0], set[int]()

    def report(epoch: int, metrics: Mapping[str, float]) -> None:
        score = metrics.get(f"validation/{value}")
        if trial is not None and score is not None and epoch not in reported:
            reported.add(epoch)
            trial.report(score, epoch)

    def on_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
        report(epoch, metrics)
        if trial and epoch in reported and not trial.user_attrs.get("default") and trial.should_prune():
            raise StoppedEarly(f"pruned after epoch {epoch} with {value} {100 * metrics[f'validation/{value}']:.1f}")

    every = scored_every(arm.epochs) if trial else 0
    settings = replace(settings, execution=replace(settings.execution, score_test=False, evaluate_every=every))
    folder, job = RunFolder(study.storage.trials / planned.experiment.id), settings.job([planned], study.storage.trials)
    while True:
        try:
            run_cohort(job, on_epoch=on_epoch)
        except ExecutionChangedError:
            job = replace(job, restart=True)
            continue
        if folder.state().state is not State.RUNNING:
            break
        time.sleep(POLL_SECONDS)  # another study trains the same experiment
    # A study asks for scores alone; forty trials of a ResNet-50 would keep 4 GB of weights.
    (folder.path / "weights.pt").unlink(missing_ok=True)
    entries = folder.entries()
    for entry in entries:
        # Epochs that this trial did not train itself count for the pruning of later ones.
        if entry.event == "epoch":
            report(entry.step, entry.metrics)
    return entries


def _summarised(journals: Sequence[Sequence[Entry]], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a trial, from the journals of its trainings; scores are means over seeds."""
    last, scores = journals[-1][-1], []
    for entries in journals:
        metrics = next((entry.metrics for entry in reversed(entries) if entry.event == "evaluation"), {})
        scores.append({name.partition("/")[2]: value for name, value in metrics.items()})
    complete = last.event == State.FINISHED and all(math.isfinite(v) for score in scores for v in score.values())
    reason = str(last.details.get("reason", "" if complete else "a score was not finite"))
    outcome = {"finished": "complete" if complete else "diverged", "stopped": "pruned"}.get(last.event, "failed")
    names = [name for name in SCORE_NAMES if all(name in score for score in scores)] if complete else []
    return {
        "outcome": "diverged" if "diverged" in reason.lower() else outcome,
        "reason": reason,
        "settings": dict(settings),
        "images": sum(images_in(entries) for entries in journals),
        "validation": {name: float(np.mean([score[name] for score in scores])) for name in names},
        "seconds": round(sum((entries[-1].time - entries[0].time) / 1000 for entries in journals), 3),
    }
