"""An experiment as a value: everything that decides its numbers, and the id that follows from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...datasets.dataset import Dataset
from ...errors import InputError
from ...methods.method import Method
from ..networks.backbones import InputFormat
from ..networks.initial_weights import InitialWeights
from .recipe import Recipe

# Raised by hand whenever a change of the code moves numbers; every experiment then has a new id.
NUMERICS_VERSION = 3


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One method trained once on one dataset."""

    dataset: str  # its name (a label: the digest decides)
    dataset_digest: str
    method: Method  # with all parameters (its name is a label)
    training: Mapping[str, Any]  # the resolved recipe as plain JSON
    backbone: str
    weights_digest: str  # SHA-256 of the initial weights, its first 8 digits for torchvision's own, or `random`
    input_format: InputFormat  # what these weights expect
    word_vectors_digest: str | None  # SHA-256 of the class names' vectors, or None where the head needs none
    seed: int
    numerics_version: int = NUMERICS_VERSION

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        method: Method,
        recipe: Recipe,
        weights: InitialWeights,
        *,
        seed: int = 0,
        device_type: str = "cpu",
        word_vectors_digest: str | None = None,
    ) -> Experiment:
        """A method on a dataset, by a recipe, from initial weights; `auto` of its precision is that of the device."""
        return cls(
            dataset=dataset.name,
            dataset_digest=dataset.digest,
            method=method,
            training=recipe.resolved(method.schedule, device_type=device_type),
            backbone=weights.backbone,
            weights_digest=weights.digest,
            input_format=weights.input,
            word_vectors_digest=word_vectors_digest,
            seed=seed,
        )

    def deciding(self) -> dict[str, Any]:
        """Return what decides the numbers, as plain JSON."""
        return {
            "dataset_digest": self.dataset_digest,
            "method": self.method.as_json(),
            "training": dict(self.training),
            "backbone": self.backbone,
            "weights_digest": self.weights_digest,
            "input_format": self.input_format.as_json(),
            "word_vectors_digest": self.word_vectors_digest,
            "seed": self.seed,
            "numerics_version": self.numerics_version,
        }

    @property
    def id(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical JSON of `deciding`."""
        return _hash(self.deciding())

    @property
    def configuration_id(self) -> str:
        """The id without the seed: what the seeds of one table row share."""
        return _hash({key: value for key, value in self.deciding().items() if key != "seed"})

    def to_json(self) -> str:
        """Return the experiment as JSON, labels included."""
        labels = {"dataset": self.dataset, "method": self.method.name, "title": self.method.title}
        return json.dumps({"id": self.id, "labels": labels, "deciding": self.deciding()}, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Experiment:
        """Rebuild an experiment from `to_json`.

        Raises:
            InputError: if its content does not have the id that it carries, or another version wrote it.
        """
        data = json.loads(text)
        deciding = dict(data["deciding"])
        if "input_format" not in deciding:
            raise InputError(f"experiment {data['id']} was written by an older version of mltbench; plan it again")
        deciding["input_format"] = InputFormat.from_json(deciding["input_format"])
        method = Method.from_json(deciding.pop("method"), name=data["labels"]["method"])
        experiment = cls(dataset=data["labels"]["dataset"], method=method, **deciding)
        if experiment.id != data["id"]:
            raise InputError(
                f"the experiment's JSON was changed: it says id {data['id']}, its content has {experiment.id}"
            )
        return experiment


def _hash(data: Mapping[str, Any]) -> str:
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
