"""One trial: its settings trained with each of its seeds, scored on the validation split alone."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from ...benchmark.executors.run_plan import Surroundings
from ...benchmark.experiments.plan import PlannedExperiment, build_plan
from ...benchmark.networks.initial_weights import BackboneChoice
from ...benchmark.runs.heartbeat import HeldError
from ...benchmark.runs.journal import Entry, is_finished, read_journal
from ...benchmark.runs.provenance import command_line
from ...benchmark.runs.run import Job, run_job
from ...benchmark.training.execution import ExecutionChangedError, StoppedEarly
from ...datasets.dataset import Dataset
from .definition import Arm, StudyDefinition
from .space import as_overrides, suggest

if TYPE_CHECKING:
    from optuna import Trial

GROUPS = ("total", "head", "medium", "tail")
# Epochs at which a trial is looked at: about eight in a run; the first two of them are warm-up for the most part.
LOOKS = 8
LOOKS_BEFORE_PRUNING = 2
HELD_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Laboratory:
    """What trials need besides their definition.

    Attributes:
        trials: folder of the run folders of trials.
        surroundings: data, device, threads, plugins.
        open_dataset: opens a dataset by name, once.
    """

    trials: Path
    surroundings: Surroundings
    open_dataset: Callable[[str], Dataset]


def looks_every(epochs: int) -> int:
    """Epochs between two looks at the validation split."""
    return max(1, epochs // LOOKS)


def plan_trial(
    definition: StudyDefinition, arm: Arm, settings: Mapping[str, Any], seeds: Sequence[int], laboratory: Laboratory
) -> list[PlannedExperiment]:
    """The experiments of a trial, one per seed."""
    surroundings = laboratory.surroundings
    plan = build_plan(
        laboratory.open_dataset(arm.dataset),
        [arm.method],
        seeds=seeds,
        recipe=definition.recipe,
        backbone=BackboneChoice(**definition.weights),
        overrides=[*arm.fixed, *as_overrides(settings)],
        device_type=surroundings.execution.device.partition(":")[0],
        word_vectors=surroundings.word_vectors,
    )
    return list(plan.experiments)


def run_trial(trial: Trial, definition: StudyDefinition, arm: Arm, laboratory: Laboratory) -> tuple[float, ...]:
    """Train a trial; return what is maximised, the mean over its seeds.

    Its result is kept with it: outcome, images, experiment ids, validation mAP per group, reason.

    Raises:
        TrialPruned: if it was stopped early, diverged or failed.
    """
    import optuna

    settings = suggest(trial, arm.space)
    seeds = trial.user_attrs.get("seeds") or definition.seeds
    planned = plan_trial(definition, arm, settings, seeds, laboratory)
    trial.set_user_attr("experiments", [item.experiment.id for item in planned])
    journals: list[list[Entry]] = []
    for item in planned:
        # The first seed is looked at by epoch; a trial that survives it is trained with the others in full.
        watched = trial if definition.prunes and not journals else None
        journals.append(_train(item, arm, laboratory, watched, definition.values[0]))
        if journals[-1][-1].event != "finished":
            break
    result = summarise(journals, settings)
    trial.set_user_attr("result", result)
    if result["outcome"] != "complete":
        raise optuna.TrialPruned(result["reason"])
    return tuple(result["validation"][name] for name in definition.values)


def summarise(journals: Sequence[Sequence[Entry]], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a trial, from the journals of its trainings."""
    last = journals[-1][-1]
    marks = [_validation(entries) for entries in journals]
    complete = last.event == "finished" and all(math.isfinite(v) for mark in marks for v in mark.values())
    reason = str(last.details.get("reason", "" if complete else "a score was not finite"))
    diverged = reason.startswith("DivergedError") or "diverged" in reason or (last.event == "finished" and not complete)
    outcome = {"finished": "complete", "stopped": "pruned"}.get(last.event, "failed")
    names = [name for name in GROUPS if all(name in mark for mark in marks)]
    return {
        "outcome": "diverged" if diverged else outcome,
        "reason": reason,
        "settings": dict(settings),
        "images": sum(_images(entries) for entries in journals),
        "validation": {name: float(np.mean([mark[name] for mark in marks])) for name in names} if complete else {},
        "seconds": round(sum((entries[-1].time - entries[0].time) / 1000 for entries in journals), 3),
    }


def images_so_far(trials: Path, experiments: Sequence[str]) -> int:
    """Training images that running experiments have taken."""
    return sum(_images(read_journal(trials / experiment)) for experiment in experiments)


def tagged(
    item: PlannedExperiment,
    definition: StudyDefinition,
    arm: Arm,
    number: int,
    result: Mapping[str, Any],
    default: bool,
) -> PlannedExperiment:
    """The experiment with what MLflow keeps of its trial."""
    marks = {name: result["validation"][name] for name in definition.values if name in result["validation"]}
    tags = {
        "study": definition.name,
        "trial": f"{arm.name}/{number}",
        "parameters": json.dumps(dict(result["settings"]) | _pairs(arm.fixed), sort_keys=True),
        "values": json.dumps(marks),
        "outcome": str(result["outcome"]),
        "purpose": definition.purpose,
        "sweep": definition.sweep,
        "study_dataset": definition.dataset,
        "default": str(default).lower(),
    }
    return replace(item, tags=tags)


def _train(item: PlannedExperiment, arm: Arm, laboratory: Laboratory, watched: Trial | None, value: str) -> list[Entry]:
    """Train one experiment of a trial, or take it as it is when some study has finished it; return its journal."""
    folder, surroundings = laboratory.trials / item.experiment.id, laboratory.surroundings
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if is_finished(folder):
            _report_all(watched, read_journal(folder), value)
        else:
            execution = replace(
                surroundings.execution, score_test=False, evaluate_every=looks_every(arm.epochs) if watched else 0
            )
            job = Job(
                experiment_json=item.experiment.to_json(),
                folder=str(folder),
                data_root=str(surroundings.data_root),
                execution=execution,
                plugins=tuple(surroundings.plugins),
                word_vectors=str(surroundings.word_vectors) if surroundings.word_vectors else None,
                weights=str(item.weights.file.resolve()) if item.weights.file else None,
                command=command_line(),
            )
            _run(job, _watch(watched, value) if watched else None)
            # A study asks for scores alone; forty trials of a ResNet-50 would keep 4 GB of weights.
            (folder / "weights.pt").unlink(missing_ok=True)
        return read_journal(folder)


def _run(job: Job, on_epoch: Callable[[int, Mapping[str, float]], None] | None) -> None:
    """Run a job, or the rest of it; wait while a process of another machine runs it."""
    while True:
        try:
            run_job(job, on_epoch=on_epoch)
            return
        except HeldError:
            time.sleep(HELD_SECONDS)
        except ExecutionChangedError:
            job = replace(job, restart=True)


def _watch(trial: Trial, value: str) -> Callable[[int, Mapping[str, float]], None]:
    never = bool(trial.user_attrs.get("default"))

    def on_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
        mark = metrics.get(f"validation/{value}")
        if mark is None:
            return
        trial.report(mark, epoch)
        if not never and trial.should_prune():
            raise StoppedEarly(f"pruned after epoch {epoch} with {value} {100 * mark:.1f}")

    return on_epoch


def _report_all(trial: Trial | None, entries: Sequence[Entry], value: str) -> None:
    for entry in entries if trial is not None else ():
        mark = entry.metrics.get(f"validation/{value}")
        if entry.event == "epoch" and mark is not None and trial is not None:
            trial.report(mark, entry.step)


def _validation(entries: Sequence[Entry]) -> dict[str, float]:
    last = next((entry for entry in reversed(entries) if entry.event == "evaluation"), None)
    return {name.partition("/")[2]: value for name, value in (last.metrics if last else {}).items()}


def _images(entries: Sequence[Entry]) -> int:
    epochs = [entry for entry in entries if entry.event == "epoch"]
    return int(epochs[-1].details["images"]) if epochs else 0


def _pairs(settings: Sequence[str]) -> dict[str, Any]:
    from ...benchmark.experiments.overrides import parse_overrides

    rooms = parse_overrides(settings)
    return {f"{room}.{name}": value for room, values in rooms.items() for name, value in values.items()}
