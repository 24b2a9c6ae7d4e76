"""The uploader: replays the journal of a run to MLflow, with the journal's own timestamps, so that twice is once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..experiments.experiment import Experiment
from ..experiments.plan import Plan, PlannedExperiment
from ..runs.journal import Entry, read_journal
from ..runs.outcome_files import ARTIFACTS
from ..runs.provenance import command_line
from .store import TAG, Store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

# As in `mlflow.utils.mlflow_tags`, whose import takes seconds; a test compares.
MLFLOW_GIT_COMMIT, MLFLOW_SOURCE_NAME = "mlflow.source.git.commit", "mlflow.source.name"
MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME = "mlflow.parentRunId", "mlflow.runName"
MLFLOW_STATUS = {"finished": "FINISHED", "stopped": "KILLED"}
MAX_METRICS = 1000
MAX_PARAMETER = 6000


class Uploader:
    """Brings the runs of one plan to MLflow, as children of the plan's run.

    Args:
        store: where to.
        plan: whose runs.
        kind: tag of the runs: `experiment`, which tables read, or `trial` of a study.
        runs: folder of the run folders; None takes the store's.
        parent: MLflow run that the runs become children of; None makes one for the plan.
        artifacts: which files of a run's folder are kept with it.
    """

    def __init__(
        self,
        store: Store,
        plan: Plan,
        *,
        kind: str = "experiment",
        runs: Path | None = None,
        parent: str | None = None,
        artifacts: Sequence[str] = ARTIFACTS,
    ) -> None:
        self.store, self.plan = store, plan
        self.kind, self.runs, self.artifacts = kind, runs or store.runs, artifacts
        self.parent = parent

    @property
    def client(self) -> MlflowClient:
        """The MLflow client of the store."""
        return self.store.client

    @cached_property
    def mlflow_experiment(self) -> str:
        """Id of the MLflow experiment of the plan's dataset."""
        return self.store.experiment(self.plan.dataset)

    def upload(self, planned: PlannedExperiment) -> str:
        """Replay one run's journal and artifacts; return the MLflow run id. Doing it again changes nothing."""
        folder = self.runs / planned.experiment.id
        entries = read_journal(folder)
        provenance = folder / "provenance.json"
        # A job that no worker could begin has none.
        tags = _tags(planned, json.loads(provenance.read_text()) if provenance.exists() else {}, entries[-1])
        run_id = self._run_for(planned, entries[0], tags)
        _log(self.client, run_id, entries, _parameters(planned), tags)
        self.client.log_inputs(run_id, datasets=[_dataset_input(planned.experiment)])
        for name in self.artifacts:
            if (folder / name).exists():
                self.client.log_artifact(run_id, str(folder / name))
        status = MLFLOW_STATUS.get(entries[-1].event, "FAILED")
        self.client.set_terminated(run_id, status, entries[-1].time)
        return run_id

    def close(self, status: str) -> None:
        """End the plan's own run, if there is one; a store that has gone away keeps it open and costs nothing else."""
        if self.parent is not None:
            from mlflow.exceptions import MlflowException

            with suppress(MlflowException, OSError):
                self.client.set_terminated(self.parent, status)

    def _run_for(self, planned: PlannedExperiment, start: Entry, tags: Mapping[str, str]) -> str:
        """The MLflow run of this try: found again if an earlier upload was cut short, else created."""
        # Trials of several studies may share one training; each has its own run.
        trial = [planned.tags[key] for key in ("study", "trial") if key in planned.tags]
        attempt = "/".join([planned.experiment.id, str(start.time), *trial])
        if (found := self._found(attempt)) is not None:
            return found
        run = self.client.create_run(
            self.mlflow_experiment,
            start_time=start.time,
            run_name=tags[MLFLOW_RUN_NAME],
            tags={
                MLFLOW_PARENT_RUN_ID: self._parent(),
                f"{TAG}attempt": attempt,
                f"{TAG}kind": self.kind,
                f"{TAG}origin": self.store.origin,
            },
        )
        # An answer that was cut short makes the client ask twice: the server may have made two.
        return self._found(attempt) or str(run.info.run_id)

    def _found(self, attempt: str) -> str | None:
        """The MLflow run of a try; copies of it go."""
        there = f"tags.`{TAG}attempt` = '{attempt}'"
        runs = self.client.search_runs([self.mlflow_experiment], there, order_by=["attributes.run_id ASC"])
        for copy in runs[1:]:
            self.client.delete_run(copy.info.run_id)
        return str(runs[0].info.run_id) if runs else None

    def _parent(self) -> str:
        if self.parent is None:
            tags = {f"{TAG}kind": "plan", f"{TAG}dataset": self.plan.dataset, f"{TAG}command": command_line()}
            tags |= {MLFLOW_SOURCE_NAME: "mltbench", f"{TAG}origin": self.store.origin}
            run = self.client.create_run(self.mlflow_experiment, run_name=self.plan.name, tags=tags)
            self.parent = str(run.info.run_id)
        return self.parent


def _log(
    client: MlflowClient, run_id: str, entries: Sequence[Entry], parameters: Mapping[str, str], tags: Mapping[str, str]
) -> None:
    from mlflow.entities import Metric, Param, RunTag

    metrics = [
        Metric(name, value, entry.time, entry.step) for entry in entries for name, value in entry.metrics.items()
    ]
    params = [Param(name, value[:MAX_PARAMETER]) for name, value in parameters.items()]
    run_tags = [RunTag(name, value) for name, value in tags.items()]
    client.log_batch(run_id, metrics[:MAX_METRICS], params, run_tags, synchronous=True)
    for start in range(MAX_METRICS, len(metrics), MAX_METRICS):
        client.log_batch(run_id, metrics[start : start + MAX_METRICS], synchronous=True)


def _tags(planned: PlannedExperiment, provenance: Mapping[str, str], last: Entry) -> dict[str, str]:
    experiment = planned.experiment
    own = {
        "experiment_id": experiment.id,
        "configuration_id": experiment.configuration_id,
        "dataset": experiment.dataset,
        "dataset_digest": experiment.dataset_digest,
        "method": experiment.method.name,
        "title": planned.title,
        "overrides": planned.overrides,
        "command": planned.command,
        "recipe": planned.recipe,
        "backbone": experiment.backbone,
        "weights": planned.weights.name,
        "weights_digest": experiment.weights_digest,
        "seed": str(experiment.seed),
        "numerics_version": str(experiment.numerics_version),
        "state": last.event,
        **{key: str(value) for key, value in last.details.items() if key == "reason"},
        **{f"provenance.{name}": value for name, value in provenance.items()},
    }
    return {f"{TAG}{name}": value for name, value in [*own.items(), *planned.tags.items()]} | {
        MLFLOW_RUN_NAME: f"{planned.label}, seed {experiment.seed}",
        MLFLOW_SOURCE_NAME: "mltbench",
        MLFLOW_GIT_COMMIT: provenance.get("commit", "unknown"),
    }


def _parameters(planned: PlannedExperiment) -> dict[str, str]:
    experiment = planned.experiment
    flat = {"method": experiment.method.name, "dataset": experiment.dataset, "seed": str(experiment.seed)}
    flat |= {f"method.{name}": _as_text(value) for name, value in experiment.method.parameters.items()}
    flat |= {"backbone": experiment.backbone, "recipe": planned.recipe, "weights": planned.weights.name}
    flat |= {"weights_digest": experiment.weights_digest}
    flat |= {f"input.{name}": str(value) for name, value in experiment.input_format.as_json().items()}
    return flat | _flatten("recipe", experiment.training)


def _flatten(prefix: str, values: Mapping[str, Any]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        key = f"{prefix}.{name}"
        flat |= _flatten(key, value) if isinstance(value, Mapping) else {key: _as_text(value)}
    return flat


def _as_text(value: Any) -> str:
    """A list that was a tuple before it was JSON is the same parameter: MLflow refuses a second spelling."""
    return str(tuple(value) if isinstance(value, list) else value)


def _dataset_input(experiment: Experiment) -> DatasetInput:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=experiment.dataset,
        digest=experiment.dataset_digest[:36],
        source_type="code",
        source=json.dumps({"mltbench_dataset": experiment.dataset, "sha256": experiment.dataset_digest}),
    )
    return DatasetInput(dataset=dataset, tags=[InputTag("mlflow.data.context", "training")])
