"""What a study leaves in MLflow: a run for every training, and one of its own with definition and winners."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from optuna.trial import FrozenTrial

from ...benchmark.executors.settings import RunSettings
from ...benchmark.experiments.plan import PlannedExperiment
from ...benchmark.runs.provenance import command_line
from ...benchmark.tracking.pages import NOTE, study_description
from ...benchmark.tracking.store import TAG, Store
from ...benchmark.tracking.winners import Winner, winner_tags
from .definition import Arm, as_overrides, as_settings
from .study import OpenStudy, result_of


def complete_trials(study: OpenStudy, arm: Arm) -> list[FrozenTrial]:
    """Trials of an arm that were trained and scored to the end, oldest first."""
    return [trial for trial in study.progress(arm).finished if result_of(trial)["outcome"] == "complete"]


def best_trial(trials: Sequence[FrozenTrial], value: str) -> FrozenTrial | None:
    """The trial with the largest mAP of a kind; of equals the first."""
    return max(trials, key=lambda trial: score_of(trial, value), default=None)


def score_of(trial: FrozenTrial, value: str) -> float:
    """Validation mAP of a trial, in 0..1; NaN where there is none."""
    return float(result_of(trial)["validation"].get(value, float("nan")))


def winners_of(study: OpenStudy, settings: RunSettings) -> list[Winner]:
    """The best trial of every method for every value that is maximised."""
    winners, definition = [], study.definition
    for arm in definition.arms:
        for value in definition.values:
            best = best_trial(complete_trials(study, arm), value)
            if best is None:
                continue
            none, found = dict[str, Any](), result_of(best)["settings"]
            default, tuned = (definition.experiments(arm, some, settings)[0].experiment for some in (none, found))
            winner = Winner(
                method=arm.method,
                dataset=arm.dataset,
                recipe=definition.recipe,
                weights=dict(definition.weights),
                fixed=list(arm.fixed),
                settings=as_overrides(found),
                objective=value,
                trial=best.number,
                value=score_of(best, value),
                seeds=list(definition.seeds),
                default_configuration=default.configuration_id,
                tuned_configuration=tuned.configuration_id,
                values=definition.defaults_of,
            )
            winners.append(winner)
    return winners


def upload_winners(study: OpenStudy, store: Store, settings: RunSettings) -> list[Winner]:
    """Leave definition and winners in MLflow, on the study's own run, where `mltbench run --from-study` reads them."""
    winners, client = winners_of(study, settings), store.client
    # Workers that share nothing but a database may end at the same time.
    with store.alone("study"):
        run = _study_run(study, store)
    client.log_text(run, json.dumps(study.definition.as_json(), indent=1), "definition.json")
    for tag, text in winner_tags(winners).items():
        client.set_tag(run, tag, text)
    lines = [
        f"{winner.method}, {winner.objective} {100 * winner.value:.2f} (trial {winner.trial}): "
        f"{', '.join(setting.partition('.')[2] for setting in winner.settings) or 'its defaults'}"
        for winner in winners
    ]
    name = study.definition.name
    client.set_tag(run, NOTE, study_description(name, store.experiment(study.definition.dataset), lines))
    client.set_terminated(run, "FINISHED")
    return winners


def trainings_of(study: OpenStudy, arm: Arm, trial: FrozenTrial, settings: RunSettings) -> list[PlannedExperiment]:
    """The trainings of a finished trial that lie here, with what MLflow keeps of the trial.

    Of a pruned trial the later seeds were never begun; other trials were trained on other machines.
    """
    ids = trial.user_attrs.get("experiments", ())
    here = [name for name in ids if (study.storage.trials / name / "journal.jsonl").exists()]
    if not here:
        return []
    definition, result = study.definition, result_of(trial)
    scores = {name: result["validation"][name] for name in definition.values if name in result["validation"]}
    tags = {
        "study": definition.name,
        "trial": f"{arm.name}/{trial.number}",
        "parameters": json.dumps(as_settings(arm.fixed) | result["settings"], sort_keys=True),
        "values": json.dumps(scores),
        "outcome": str(result["outcome"]),
        "purpose": "tune",
        "sweep": "",
        "study_dataset": definition.dataset,
        "default": str(bool(trial.user_attrs.get("default"))).lower(),
    }
    planned = definition.experiments(arm, result["settings"], settings)
    return [replace(item, tags=tags) for item in planned if item.experiment.id in here]


def _study_run(study: OpenStudy, store: Store) -> str:
    """The study's own run in MLflow, the oldest if there are several; made when it is missing."""
    name, dataset = study.definition.name, study.definition.dataset
    for run in store.runs_of(dataset, kind="study"):
        # A name may hold quotes, which MLflow's filters cannot escape: it is compared here.
        if run.data.tags.get(f"{TAG}study") == name:
            return str(run.info.run_id)
    tags = {
        "kind": "study",
        "study": name,
        "dataset": dataset,
        "study_dataset": dataset,
        "purpose": "tune",
        "sweep": "",
    }
    tags |= {"command": command_line(), "origin": store.origin}
    all_tags = {f"{TAG}{key}": value for key, value in tags.items()} | {"mlflow.source.name": "mltbench"}
    run = store.client.create_run(store.experiment(dataset), run_name=f"study {name}", tags=all_tags)
    return str(run.info.run_id)
