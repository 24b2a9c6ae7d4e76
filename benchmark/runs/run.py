"""Running one experiment: a function of its JSON and a folder. Writes the folder; knows nothing of MLflow or plans."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...datasets.registry import load_dataset
from ...datasets.word_vectors import hashed_word_vectors, read_word_vectors
from ...errors import InputError
from ...files import is_disk_full, reporting_full_disk, write_durably
from ..experiments.experiment import Experiment
from ..networks.initial_weights import find_weights
from ..training.checkpoint import remove_checkpoints
from ..training.execution import DivergedError, Execution, StoppedEarly, to_the_end
from .heartbeat import Pulse, clear_run, hold
from .interruption import Interrupted, StopRequest, stop_requests
from .journal import Journal, is_finished, read_journal
from .keeper import Keeper, UnusableCheckpointError, checkpoint_for
from .outcome_files import write_outcome
from .provenance import code_version, machine

if TYPE_CHECKING:
    from ..training.shared_trunk import SharedTrunk
    from ..training.training_run import OnEpoch


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker needs to run one experiment: plain values alone.

    Attributes:
        experiment_json: as `Experiment.to_json` writes it.
        folder: the run's folder.
        data_root: where datasets are kept.
        execution: device, threads and when to evaluate.
        plugins: files that register somebody's own methods.
        word_vectors: file of word vectors, or None for the default.
        weights: file of the backbone's initial weights, or None for its published ones.
        command: the command line that asked for it.
        restart: train from the beginning what was interrupted.
        mates: jobs that are trained together with this one, see `cohort.run_cohort`.
    """

    experiment_json: str
    folder: str
    data_root: str
    execution: Execution
    plugins: Sequence[str] = ()
    word_vectors: str | None = None
    weights: str | None = None
    command: str = ""
    restart: bool = False
    mates: tuple[Job, ...] = ()

    @property
    def cohort(self) -> tuple[Job, ...]:
        """The job and its mates, each on its own."""
        return (replace(self, mates=()), *self.mates)

    def on(self, device: str) -> Job:
        """The same job, and its mates, on another device."""
        mates = tuple(mate.on(device) for mate in self.mates)
        return replace(self, execution=replace(self.execution, device=device), mates=mates)

    @property
    def experiment_id(self) -> str:
        """Id of the experiment."""
        return str(json.loads(self.experiment_json)["id"])


def run_job(job: Job, *, on_epoch: OnEpoch | None = None) -> bool:
    """Run one experiment, or the rest of it, in its folder. Tell whether it is finished.

    An error ends up in the journal, as `failed` with its reason, and False comes back.

    Args:
        job: what to run.
        on_epoch: called after each epoch's journal entry with the epochs done and its metrics (`validation/...` among
            them when the split was scored). Raising `StoppedEarly` ends the run: its journal says `stopped`.

    Raises:
        HeldError: if another process runs it.
        ExecutionChangedError: if it was interrupted under another number of threads or on another kind of device.
        DiskFullError: if the disk is full; the last checkpoint is whole.
        Interrupted: if a signal came; the step is finished and a checkpoint written.
    """
    with stop_requests() as request:
        return to_the_end(run_in_steps(job, request, on_epoch=on_epoch))


def run_in_steps(
    job: Job, request: StopRequest, *, on_epoch: OnEpoch | None = None, shared: SharedTrunk | None = None
) -> Generator[int, None, bool]:
    """As `run_job`, with a pause after each step that gives the steps done.

    Args:
        job: what to run.
        request: of signals.
        on_epoch: called after each epoch's journal entry.
        shared: what it has in common with its cohort.
    """
    import torch

    folder = Path(job.folder)
    with hold(folder) as pulse, reporting_full_disk(folder):
        if is_finished(folder):
            return True
        torch.set_num_threads(job.execution.threads)
        try:
            return (yield from _run(job, _begin(job, folder, pulse, request, shared), on_epoch, shared))
        except UnusableCheckpointError:
            remove_checkpoints(folder)
            return (yield from _run(job, _begin(job, folder, pulse, request, shared), on_epoch, shared))


def _begin(job: Job, folder: Path, pulse: Pulse, request: StopRequest, shared: SharedTrunk | None) -> Keeper:
    """Make a new beginning in a folder that holds nothing to go on from: failures are never cached."""
    journal = Journal(folder)
    checkpoint = None if job.restart else checkpoint_for(folder, job.experiment_id, job.execution)
    if checkpoint is None:
        clear_run(folder)
        provenance = {**code_version(), **machine(job.execution.device, job.execution.threads), "command": job.command}
        if shared:
            # Its seconds are a share of theirs, its peak of memory is theirs.
            provenance["cohort"] = str(shared.members)
        write_durably(folder / "experiment.json", job.experiment_json.encode())
        write_durably(folder / "provenance.json", json.dumps(provenance, indent=1).encode())
        journal.append("start", execution=asdict(job.execution), durable=True)
    return Keeper(journal, job.experiment_id, checkpoint, job.execution, pulse, request)


def _run(job: Job, keeper: Keeper, on_epoch: OnEpoch | None, shared: SharedTrunk | None) -> Generator[int, None, bool]:
    from ...methods.plugins import load_plugins

    def end(event: str, reason: str, **details: Any) -> None:
        done = max(entry.step for entry in read_journal(keeper.journal.folder))
        details = {"steps": keeper.pulse.steps, **details}
        keeper.journal.append(event, step=done, reason=reason, durable=True, **details)

    try:
        load_plugins(job.plugins)
        yield from _train(Experiment.from_json(job.experiment_json), job, keeper, on_epoch, shared)
    except UnusableCheckpointError:
        raise
    except Interrupted as stop:
        end("interrupted", f"signal {stop}")
        raise
    except StoppedEarly as stop:
        end("stopped", str(stop))
    except Exception as error:
        if is_disk_full(error):
            with suppress(OSError):
                end("interrupted", str(error))
            raise
        if isinstance(error, InputError) and keeper.checkpoint is not None:
            # Nothing was trained yet: what is wrong can be mended, and what was trained before is kept.
            end("interrupted", str(error))
            return False
        step = {"steps": error.step} if isinstance(error, DivergedError) else {}
        end("failed", f"{type(error).__name__}: {error}", **step)
    else:
        remove_checkpoints(keeper.journal.folder)
        return True
    remove_checkpoints(keeper.journal.folder)
    return False


def _train(
    experiment: Experiment, job: Job, keeper: Keeper, on_epoch: OnEpoch | None, shared: SharedTrunk | None
) -> Generator[int, None, None]:
    from ..training.trainer import Trainer
    from ..training.training_run import train

    dataset = load_dataset(experiment.dataset, data_root=job.data_root)
    if dataset.digest != experiment.dataset_digest:
        raise InputError(
            f"dataset {dataset.name} has digest {dataset.digest[:12]} here, "
            f"the experiment was planned with {experiment.dataset_digest[:12]}; plan it again"
        )
    weights = find_weights(experiment.backbone, experiment.weights_digest, job.weights, job.data_root)
    vectors = None
    if experiment.method.head.needs_word_vectors:
        file = job.word_vectors
        source = read_word_vectors(Path(file), dataset.classes) if file else hashed_word_vectors(dataset.classes)
        vectors = source.vectors
    trainer = Trainer(experiment, dataset, job.execution, word_vectors=vectors, weights=weights, shared=shared)
    journal = keeper.journal
    outcome = yield from train(trainer, journal, on_epoch=on_epoch, watch=keeper)
    write_outcome(outcome, dataset, journal.folder)
    epochs = experiment.training["schedule"]["epochs"]
    test = outcome.test.as_metrics("test") if outcome.test else {}
    journal.append_once("evaluation", step=epochs, metrics=outcome.validation.as_metrics("validation"))
    journal.append_once("test" if test else "cost", step=epochs, metrics={**test, **outcome.cost})
    journal.append("finished", step=epochs, durable=True)
