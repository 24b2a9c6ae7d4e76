"""What a worker needs to train a cohort: plain values alone, so that it can be sent to any process or machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..training.execution import Execution


@dataclass(frozen=True, kw_only=True)
class Member:
    """One experiment of a cohort.

    Attributes:
        experiment_json: as `Experiment.to_json` writes it.
        folder: the run's folder.
        weights: file of the backbone's initial weights, or None for its published ones.
    """

    experiment_json: str
    folder: str
    weights: str | None = None

    @property
    def experiment_id(self) -> str:
        """Id of the experiment."""
        return str(json.loads(self.experiment_json)["id"])


@dataclass(frozen=True, kw_only=True)
class Job:
    """A cohort of experiments, often of one, that one process trains together.

    Attributes:
        members: the experiments.
        data_root: where datasets are kept.
        execution: device, threads and when to evaluate.
        plugins: files that register user-defined methods.
        word_vectors: file of word vectors, or None for the default.
        command: the command line that asked for it.
        restart: train from the beginning what was interrupted.
    """

    members: tuple[Member, ...]
    data_root: str
    execution: Execution
    plugins: tuple[str, ...] = ()
    word_vectors: str | None = None
    command: str = ""
    restart: bool = False

    def on(self, device: str) -> Job:
        """The same job on another device."""
        return replace(self, execution=replace(self.execution, device=device))

    def one_by_one(self) -> Iterator[Job]:
        """Yield a job for each experiment alone."""
        for member in self.members:
            yield replace(self, members=(member,))
