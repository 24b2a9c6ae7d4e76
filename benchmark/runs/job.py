"""What a worker needs to train a cohort: plain values alone, so that it can be sent to any process or machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..training.execution import Execution


@dataclass(frozen=True, kw_only=True)
class Member:
    """One experiment of a cohort."""

    experiment_json: str  # as `Experiment.to_json` writes it
    folder: str  # the run's folder
    weights: str | None = None  # file of the backbone's initial weights, or None for its published ones

    @property
    def experiment_id(self) -> str:
        """Id of the experiment."""
        return str(json.loads(self.experiment_json)["id"])


@dataclass(frozen=True, kw_only=True)
class Job:
    """A cohort of experiments, often of one, that one process trains together."""

    members: tuple[Member, ...]  # the experiments
    data_root: str  # where datasets are kept
    execution: Execution  # device, threads and when to evaluate
    plugins: tuple[str, ...] = ()  # files that register user-defined methods
    word_vectors: str | None = None  # file of word vectors, or None for the default
    command: str = ""  # the command line that asked for it
    restart: bool = False  # train from the beginning what was interrupted

    def one_by_one(self) -> Iterator[Job]:
        """Yield a job for each experiment alone."""
        for member in self.members:
            yield replace(self, members=(member,))
