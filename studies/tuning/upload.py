"""Bringing trials to MLflow, exactly once: children of the study's run, from the journals of their trainings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from ...benchmark.runs.journal import read_journal
from ...benchmark.runs.provenance import command_line
from ...benchmark.tracking.store import TAG, Store
from ...files import safe_file_name
from .definition import Arm
from .open_study import OpenStudy, result_of
from .trials import Laboratory, plan_trial, tagged

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(kw_only=True)
class Brought:
    """What became of the trials that were to be brought to MLflow.

    Attributes:
        trials: brought now.
        reasons: why others could not be; they are tried again next time.
    """

    trials: int = 0
    reasons: list[str] = field(default_factory=list)


def bring(study: OpenStudy, store: Store, laboratory: Laboratory) -> Brought:
    """Bring every finished trial whose trainings lie here to MLflow; what is there already is left alone."""
    brought = Brought()
    marks = study.folder / "uploaded"
    marks.mkdir(parents=True, exist_ok=True)
    with FileLock(marks / "lock"):
        for arm in study.definition.arms:
            for trial in study.progress(arm).finished:
                mark = marks / safe_file_name(f"{arm.name}-{trial.number}")
                if mark.exists() or not _is_here(trial, laboratory.trials):
                    continue
                if reason := _bring(study, arm, trial, store, laboratory):
                    brought.reasons.append(reason)
                    return brought
                mark.touch()
                brought.trials += 1
    return brought


def study_run(study: OpenStudy, store: Store, dataset: str) -> str:
    """MLflow run of the study on a dataset, the parent of its trials; made when it is missing."""
    experiment = store.experiment(dataset)
    if (found := _study_run(study, store, experiment)) is not None:
        return found
    # Workers that share nothing but a database end their first trials at the same time.
    with store.alone("study"):
        return _study_run(study, store, experiment) or _new_study_run(study, store, dataset, experiment)


def _study_run(study: OpenStudy, store: Store, experiment: str) -> str | None:
    """The study's oldest run, if there is one."""
    its, order = f"tags.`{TAG}kind` = 'study'", ["attributes.start_time ASC"]
    for run in store.client.search_runs([experiment], its, order_by=order):
        # A name may hold quotes, which MLflow's filters cannot escape: it is compared here.
        if run.data.tags.get(f"{TAG}study") == study.definition.name:
            return str(run.info.run_id)
    return None


def _new_study_run(study: OpenStudy, store: Store, dataset: str, experiment: str) -> str:
    client, name = store.client, study.definition.name
    tags = {
        f"{TAG}kind": "study",
        f"{TAG}study": name,
        f"{TAG}dataset": dataset,
        f"{TAG}study_dataset": study.definition.dataset,
        f"{TAG}purpose": study.definition.purpose,
        f"{TAG}sweep": study.definition.sweep,
        f"{TAG}command": command_line(),
        f"{TAG}origin": store.origin,
        "mlflow.source.name": "mltbench",
    }
    run = client.create_run(experiment, run_name=f"study {name}", tags=tags)
    text = json.dumps(study.definition.as_json(), indent=1)
    client.log_text(run.info.run_id, text, "definition.json")
    return str(run.info.run_id)


def set_study_tags(study: OpenStudy, store: Store, tags: Mapping[str, Any]) -> None:
    """Tag the study's run on its own dataset."""
    run = study_run(study, store, study.definition.dataset)
    for key, value in tags.items():
        store.client.set_tag(run, f"{TAG}{key}", value)


def end_study_runs(study: OpenStudy, store: Store, status: str) -> None:
    """Tell MLflow how the study's runs stand."""
    for dataset in dict.fromkeys(arm.dataset for arm in study.definition.arms):
        store.client.set_terminated(study_run(study, store, dataset), status)


def _bring(study: OpenStudy, arm: Arm, trial: FrozenTrial, store: Store, laboratory: Laboratory) -> str | None:
    """Bring one trial; return why not, or None."""
    from mlflow.exceptions import MlflowException

    from ...benchmark.tracking.upload import upload

    definition, result = study.definition, result_of(trial)
    seeds = trial.user_attrs.get("seeds") or definition.seeds
    planned = plan_trial(definition, arm, result["settings"], seeds, laboratory)
    try:
        study_run(study, store, arm.dataset)
        default = bool(trial.user_attrs.get("default"))
        for item in planned:
            # Of a pruned trial the later seeds were never begun.
            if read_journal(laboratory.trials / item.experiment.id):
                item = tagged(item, definition, arm, trial.number, result, default)
                upload(replace(store, root=laboratory.trials.parent), item, definition.name, kind="trial")
    except (MlflowException, OSError) as error:
        return str(error).partition("\n")[0]
    return None


def _is_here(trial: FrozenTrial, trials: Path) -> bool:
    return any((trials / experiment).is_dir() for experiment in trial.user_attrs.get("experiments", ()))
