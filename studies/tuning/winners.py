"""The winners of a study: the trial of each method that is best by the objective."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from ...benchmark.tracking.store import Store
from ...benchmark.tracking.winners import Winner
from .definition import Arm
from .open_study import OpenStudy, result_of
from .space import as_overrides
from .trials import Laboratory, plan_trial
from .upload import set_study_tags

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def complete_trials(study: OpenStudy, arm: Arm) -> list[FrozenTrial]:
    """Trials of an arm that were trained and scored to the end, oldest first."""
    finished = study.progress(arm).finished
    return [trial for trial in finished if result_of(trial)["outcome"] == "complete"]


def best_trial(trials: Sequence[FrozenTrial], value: str) -> FrozenTrial | None:
    """The trial with the largest mAP of a kind; of equals the first."""
    return max(trials, key=lambda trial: mark_of(trial, value), default=None)


def mark_of(trial: FrozenTrial, value: str) -> float:
    """Validation mAP of a trial, in 0..1."""
    return float(result_of(trial)["validation"].get(value, float("nan")))


def pareto_front(study: OpenStudy, arm: Arm) -> list[FrozenTrial]:
    """Complete trials that no other surpasses: as good in every value, and better in one."""
    return study.arms[arm.name].best_trials


def winners_of(study: OpenStudy, laboratory: Laboratory) -> list[Winner]:
    """The best trial of every method for every value that is maximised."""
    return [
        _winner(study, arm, best, value, laboratory)
        for arm in study.definition.arms
        for value in study.definition.values
        if (best := best_trial(complete_trials(study, arm), value)) is not None
    ]


def announce_winners(study: OpenStudy, store: Store, laboratory: Laboratory) -> list[Winner]:
    """Leave the winners in MLflow, on the study's run, where `mltbench run --from-study` reads them."""
    winners = winners_of(study, laboratory)
    set_study_tags(study, store, {"winners": json.dumps([asdict(winner) for winner in winners])})
    return winners


def _winner(study: OpenStudy, arm: Arm, trial: FrozenTrial, value: str, laboratory: Laboratory) -> Winner:
    definition, settings = study.definition, result_of(trial)["settings"]
    default = plan_trial(definition, arm, {}, definition.seeds, laboratory)[0]
    tuned = plan_trial(definition, arm, settings, definition.seeds, laboratory)[0]
    return Winner(
        method=arm.method,
        dataset=arm.dataset,
        recipe=definition.recipe,
        weights=dict(definition.weights),
        fixed=list(arm.fixed),
        settings=as_overrides(settings),
        objective=value,
        trial=trial.number,
        value=mark_of(trial, value),
        seeds=list(definition.seeds),
        default_configuration=default.experiment.configuration_id,
        tuned_configuration=tuned.experiment.configuration_id,
    )
