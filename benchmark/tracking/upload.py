"""Uploads: the journal of a run is replayed to MLflow, exactly once, with the journal's own timestamps.

A run in MLflow is known by its attempt: experiment id and start time. An upload holds the lock of the run folder, looks
for the attempt, and logs what the journal says; doing it again, or after it was cut short, changes nothing.
"""

import json
import logging
import shutil
import threading
import time
from collections.abc import Container, Mapping, Sequence
from queue import SimpleQueue

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag, ViewType
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_RUN_NAME, MLFLOW_SOURCE_NAME

from ...errors import InputError
from ...files import as_unicode, replacing
from ...terminal import short_id
from ..experiments.experiment import Experiment
from ..experiments.overrides import by_dotted_name
from ..experiments.plan import Kind, Plan, PlannedExperiment
from ..runs.folder import ARTIFACTS, HeldError, RunFolder
from ..runs.journal import Entry
from .pages import NOTE, TAG, run_description, run_name
from .store import Store

# Of a run by the last event of its journal; what ended in no such way has failed.
STATUS = {"finished": "FINISHED", "stopped": "KILLED"}
# What a trial came to, unless its study knows more.
OUTCOMES = {"finished": "complete", "stopped": "pruned"}
# Searches train thousands of networks, whose weights nobody reads again.
ARTIFACTS_OF: Mapping[Kind, Sequence[str]] = {
    "experiment": ARTIFACTS,
    "trial": [name for name in ARTIFACTS if name not in ("test_scores.npz", "weights.pt")],
}
# What MLflow takes: points in one batch, characters of a parameter.
MAX_METRICS = 1000
MAX_PARAMETER = 6000
FIRST_WAIT_SECONDS = 2.0
LONGEST_WAIT_SECONDS = 60.0
# When so long after the last experiment no run could be uploaded, the rest is left to `mltbench sync`.
PATIENCE_SECONDS = 120.0
# Where asking again does not help.
FINAL_ERRORS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "PERMISSION_DENIED", "UNAUTHENTICATED", "INVALID_STATE")

logger = logging.getLogger("mltbench")


def upload(store: Store, planned: PlannedExperiment, plan: str, *, kind: Kind = "experiment") -> str:
    """Replay the journal of a run that the named plan asked for, and upload its files; return its MLflow run id.

    Raises:
        HeldError: if another process trains or uploads it.
        MlflowException: if MLflow does not answer, or refuses something.
    """
    folder, client = RunFolder(store.folders(kind) / planned.experiment.id), store.client
    with folder.hold():
        entries = folder.entries()
        provenance = folder.path / "provenance.json"
        # A job that no worker could begin has none.
        made_with = json.loads(provenance.read_text(encoding="utf-8")) if provenance.exists() else {}
        tags = _tags(planned, entries, made_with, kind=kind, plan=plan, origin=store.origin)
        experiment = store.experiment(planned.experiment.dataset)
        tags[NOTE] = as_unicode(run_description(planned, experiment))
        run = _run_for(store, experiment, entries[0].time, tags)
        run_id, metrics = str(run.info.run_id), _points(entries, known=run.data.metrics)
        params = [Param(name, value[:MAX_PARAMETER]) for name, value in _parameters(planned).items()]
        run_tags = [RunTag(name, value) for name, value in tags.items()]
        client.log_batch(run_id, metrics[:MAX_METRICS], params, run_tags, synchronous=True)
        for start in range(MAX_METRICS, len(metrics), MAX_METRICS):
            client.log_batch(run_id, metrics[start : start + MAX_METRICS], synchronous=True)
        client.log_inputs(run_id, datasets=[_dataset_input(planned.experiment)])
        files = [folder.path / name for name in ARTIFACTS_OF[kind] if (folder.path / name).exists()]
        # What the database says may be out of date by now: its folder was moved, or is mounted elsewhere too.
        here = store.artifacts_of(run.info.artifact_uri)
        for file in files:
            if here is None:
                client.log_artifact(run_id, str(file))
            else:
                with file.open("rb") as source, replacing(here / file.name) as target:
                    shutil.copyfileobj(source, target)
        client.set_terminated(run_id, status_of(entries), entries[-1].time)
    return run_id


def attempt(experiment_id: str, entries: Sequence[Entry], tags: Mapping[str, str]) -> str:
    """What identifies a run in MLflow. Trials of several studies may share one training; each has its own run."""
    trial = [tags[key] for key in ("study", "trial") if key in tags]
    return "/".join([experiment_id, str(entries[0].time), *trial])


def status_of(entries: Sequence[Entry]) -> str:
    """MLflow's status of a run that has ended."""
    return STATUS.get(entries[-1].event, "FAILED")


def _points(entries: Sequence[Entry], known: Container[str]) -> list[Metric]:
    """Every point of a journal; what a run has once is at step 0, for MLflow then draws bars, and curves otherwise.

    Earlier versions put it at the last epoch: what MLflow has of that is left as it is. Results come first, before the
    curves: that is the order of MLflow's pages.
    """
    curves = {name for entry in entries if entry.event == "epoch" for name in entry.metrics}
    return [
        Metric(name, value, entry.time, entry.step if name in curves else 0)
        for entry in reversed(entries)
        for name, value in entry.metrics.items()
        if name in curves or name not in known
    ]


def _run_for(store: Store, experiment: str, start: int, tags: dict[str, str]) -> Run:
    """The MLflow run of an attempt: found if an earlier upload was cut short, else created."""
    client = store.client
    if found := _found(client, experiment, tags):
        if found.info.lifecycle_stage == "active":
            return found
        client.restore_run(found.info.run_id)
        command = f"mltbench runs delete {short_id(tags[f'{TAG}experiment_id'])} {store.options}"
        cure = f"; to delete both: {command}" if tags[f"{TAG}kind"] == "experiment" else ""
        logger.warning("%s was deleted in MLflow, and is restored from its run folder%s", found.info.run_name, cure)
        return client.get_run(found.info.run_id)
    run = client.create_run(experiment, start_time=start, run_name=tags[MLFLOW_RUN_NAME], tags=tags)
    # An answer that was cut short makes the client ask twice: the server may have made two.
    return _found(client, experiment, tags) or run


def _found(client: MlflowClient, experiment: str, tags: dict[str, str]) -> Run | None:
    """The MLflow run of an attempt, a deleted one if there is no other; copies of it are deleted."""
    name = f"{TAG}attempt"
    # The name of a study may hold quotes, which MLflow's filters cannot escape.
    some = f"tags.`{name}` LIKE '{tags[f'{TAG}experiment_id']}/%'"
    runs = client.search_runs([experiment], some, ViewType.ALL, order_by=["attributes.run_id ASC"])
    runs = [run for run in runs if run.data.tags[name] == tags[name]]
    active = [run for run in runs if run.info.lifecycle_stage == "active"]
    for copy in active[1:]:
        client.delete_run(copy.info.run_id)
    return next(iter([*active, *runs]), None)


def _tags(
    planned: PlannedExperiment, entries: Sequence[Entry], made_with: Mapping[str, str], *, kind: Kind, **more: str
) -> dict[str, str]:
    experiment, last = planned.experiment, entries[-1]
    own = {
        **more,
        "kind": kind,
        **({"outcome": OUTCOMES.get(last.event, "failed")} if kind == "trial" else {}),
        "attempt": attempt(experiment.id, entries, planned.tags),
        "experiment_id": experiment.id,
        "configuration_id": experiment.configuration_id,
        "dataset": experiment.dataset,
        "dataset_digest": experiment.dataset_digest,
        "method": experiment.method.name,
        "title": planned.title,
        "configuration": f"{planned.label}, {planned.recipe}",
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
        **{f"provenance.{name}": value for name, value in made_with.items()},
        **planned.tags,
    }
    return {f"{TAG}{name}": as_unicode(value) for name, value in own.items()} | {
        MLFLOW_RUN_NAME: run_name(planned),
        MLFLOW_SOURCE_NAME: "mltbench",
        MLFLOW_GIT_COMMIT: made_with.get("commit", "unknown"),
    }


def _parameters(planned: PlannedExperiment) -> dict[str, str]:
    experiment = planned.experiment
    values = {
        "method": experiment.method.name,
        "dataset": experiment.dataset,
        "seed": experiment.seed,
        **{f"method.{name}": value for name, value in experiment.method.parameters.items()},
        "backbone": experiment.backbone,
        "recipe": planned.recipe,
        "weights": planned.weights.name,
        "weights_digest": experiment.weights_digest,
        **{f"input.{name}": str(value) for name, value in experiment.input_format.as_json().items()},
        **{f"recipe.{name}": value for name, value in experiment.training.items()},
    }
    # A list that was a tuple before it was JSON is the same parameter: MLflow refuses a second spelling.
    return {name: as_unicode(str(tuple(v) if isinstance(v, list) else v)) for name, v in by_dotted_name(values)}


def _dataset_input(experiment: Experiment) -> DatasetInput:
    dataset = Dataset(
        name=experiment.dataset,
        digest=experiment.dataset_digest[:36],
        source_type="code",
        source=json.dumps({"mltbench_dataset": experiment.dataset, "sha256": experiment.dataset_digest}),
    )
    return DatasetInput(dataset=dataset, tags=[InputTag("mlflow.data.context", "training")])


class UploadThread:
    """Uploads runs of a plan beside its training, in order; one that failed is tried again after 2 s, 4 s, ..."""

    def __init__(self, store: Store, plan: Plan) -> None:
        self.store, self.plan = store, plan
        self._queue = SimpleQueue[PlannedExperiment | None]()
        self._left: dict[str, tuple[PlannedExperiment, str]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)
        self._thread.start()

    def put(self, planned: PlannedExperiment) -> None:
        """Ask for the upload of a run that has ended; returns at once."""
        self._left[planned.experiment.id] = planned, "not tried"
        self._queue.put(planned)

    def finish(self, *, patience: float = PATIENCE_SECONDS) -> list[tuple[PlannedExperiment, str]]:
        """Upload what waits, asking once more, and leave the rest after `patience` seconds without an upload.

        Returns:
            The runs that could not be uploaded, with the reasons.
        """
        self._over.set()
        self._queue.put(None)
        left, since = len(self._left), time.monotonic()
        while self._thread.is_alive() and time.monotonic() - since < patience:
            self._thread.join(0.1)
            if len(self._left) != left:
                left, since = len(self._left), time.monotonic()
        return list(self._left.values())

    def _run(self) -> None:
        while (planned := self._queue.get()) is not None:
            pause = FIRST_WAIT_SECONDS
            while True:
                last_try, error = self._over.is_set(), self._upload(planned)
                held = isinstance(error, HeldError)
                code = getattr(error, "error_code", None)
                if error is None or code in FINAL_ERRORS or (isinstance(error, InputError) and not held):
                    break
                if last_try and not held:
                    return
                time.sleep(pause) if last_try else self._over.wait(pause)
                pause = min(2 * pause, LONGEST_WAIT_SECONDS)

    def _upload(self, planned: PlannedExperiment) -> Exception | None:
        # Whatever goes wrong, the run stays in its folder, and the thread must live on for the others.
        try:
            upload(self.store, planned, self.plan.name, kind=self.plan.kind)
        except Exception as error:
            self._left[planned.experiment.id] = planned, str(error).partition("\n")[0] or type(error).__name__
            return error
        del self._left[planned.experiment.id]
        return None
