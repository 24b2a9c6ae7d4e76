"""Running one experiment: a function of its JSON and a folder. Writes the folder; knows nothing of MLflow or plans."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..datasets.errors import InputError
from ..datasets.registry import load_dataset
from ..datasets.word_vectors import hashed_word_vectors, read_word_vectors
from .execution import Execution, StoppedEarly
from .experiment import Experiment
from .initial_weights import find_weights
from .journal import Journal, read_journal
from .provenance import code_version, machine

if TYPE_CHECKING:
    from ..datasets.dataset import Dataset
    from .training_run import OnEpoch, Outcome


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
    """

    experiment_json: str
    folder: str
    data_root: str
    execution: Execution
    plugins: Sequence[str] = ()
    word_vectors: str | None = None
    weights: str | None = None
    command: str = ""


def run_job(job: Job, *, on_epoch: OnEpoch | None = None) -> bool:
    """Run one experiment; write its journal, scores and weights into its folder. Tell whether it is finished.

    An error ends up in the journal, as `failed` with its reason; only an interruption leaves this function.

    Args:
        job: what to run.
        on_epoch: called after each epoch's journal entry with the epochs done and its metrics (`validation/...` among
            them when the split was scored). Raising `StoppedEarly` ends the run: its journal says `stopped`.
    """
    import torch

    from .plugins import load_plugins

    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder)
    torch.set_num_threads(job.execution.threads)
    (folder / "experiment.json").write_text(job.experiment_json)
    provenance = {**code_version(), **machine(job.execution.device, job.execution.threads), "command": job.command}
    (folder / "provenance.json").write_text(json.dumps(provenance, indent=1))
    journal.append("start", execution=asdict(job.execution))
    try:
        load_plugins(job.plugins)
        experiment = Experiment.from_json(job.experiment_json)
        _train(experiment, job, folder, journal, on_epoch)
    except StoppedEarly as stop:
        journal.append("stopped", step=_epochs_done(folder), reason=str(stop))
        return False
    except Exception as error:
        journal.append("failed", reason=f"{type(error).__name__}: {error}")
        return False
    return True


def _train(experiment: Experiment, job: Job, folder: Path, journal: Journal, on_epoch: OnEpoch | None) -> None:
    from .trainer import Trainer
    from .training_run import train

    dataset = load_dataset(experiment.dataset, data_root=job.data_root)
    if dataset.digest != experiment.dataset_digest:
        raise InputError(
            f"dataset {dataset.name} has digest {dataset.digest[:12]} here, "
            f"the experiment was planned with {experiment.dataset_digest[:12]}; plan it again"
        )
    weights = find_weights(experiment, job.weights, job.data_root)
    vectors = None
    if experiment.method.head.needs_word_vectors:
        file = job.word_vectors
        source = read_word_vectors(Path(file), dataset.classes) if file else hashed_word_vectors(dataset.classes)
        vectors = source.vectors
    trainer = Trainer(experiment, dataset, job.execution, word_vectors=vectors, weights=weights)
    outcome = train(trainer, journal, on_epoch=on_epoch)
    _write_outcome(outcome, dataset, folder)
    epochs = experiment.training["schedule"]["epochs"]
    test = outcome.test.as_metrics("test") if outcome.test else {}
    journal.append("evaluation", step=epochs, metrics=outcome.validation.as_metrics("validation"))
    journal.append("test" if test else "cost", step=epochs, metrics={**test, **outcome.cost})
    journal.append("finished", step=epochs)


def _epochs_done(folder: Path) -> int:
    return max(entry.step for entry in read_journal(folder))


def _write_outcome(outcome: Outcome, dataset: Dataset, folder: Path) -> None:
    import torch

    classes = dataset.classes
    scored = {"test": outcome.test, "validation": outcome.validation}
    per_class = {
        split: dict(zip(classes, [None if np.isnan(ap) else ap for ap in scores.per_class.tolist()], strict=True))
        for split, scores in scored.items()
        if scores is not None
    }
    report: Mapping[str, Any] = {
        "average_precision": per_class,
        "classes_without_positives": {
            split: [classes[i] for i in scores.excluded] for split, scores in scored.items() if scores is not None
        },
        # Reports need class sizes and groups, and must not have to open the dataset for them.
        "training_images_per_class": dict(zip(classes, dataset.statistics.counts.tolist(), strict=True)),
        "training_images": dataset.statistics.num_images,
    }
    (folder / "per_class.json").write_text(json.dumps(report, indent=1))
    if outcome.test_scores is not None:
        test = dataset.split("test")
        np.savez_compressed(
            folder / "test_scores.npz",
            scores=outcome.test_scores,
            labels=test.labels,
            ids=test.ids,
            classes=np.array(classes),
        )
    torch.save({name: value.cpu() for name, value in outcome.network.state_dict().items()}, folder / "weights.pt")
