"""A submission as a value: read from JSON, with the means that tables show."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...benchmark.training.metrics import SCORE_NAMES
from ...datasets.long_tail.statistics import GROUPS, ClassStatistics
from ...errors import InputError

FORMAT = "mltbench-submission-1"
MOST_BYTES = 20_000_000


@dataclass(frozen=True, eq=False, kw_only=True)
class Submission:
    """The JSON of a submission that has passed its check."""

    data: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Its name in file names: small letters, digits and hyphens."""
        return str(self.data["id"])

    @property
    def board(self) -> tuple[str, ...]:
        """What must be equal for two submissions to be ranked against each other."""
        keys = ("dataset", "dataset_digest", "backbone", "pretraining")
        return (*(self.data[key] for key in keys), self.data["protocol"]["recipe"])

    @cached_property
    def by_seed(self) -> dict[str, dict[int, float]]:
        """Percent mAP by `SCORE_NAMES` and seed, computed from the per-class values."""
        found: dict[str, dict[int, float]] = {name: {} for name in SCORE_NAMES}
        for run in self.data["runs"]:
            for name, value in group_means(run["ap"], self.data["training_images"]).items():
                found[name][run["seed"]] = value
        return found

    def mean(self, name: str) -> float | None:
        """Mean of one of `SCORE_NAMES` over seeds, or None for a group without classes."""
        values = list(self.by_seed[name].values())
        return float(np.mean(values)) if values else None

    def deviation(self, name: str) -> float | None:
        """Sample standard deviation over seeds, or None for fewer than two."""
        values = list(self.by_seed[name].values())
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


def class_groups(training_images: Mapping[str, int]) -> dict[str, str]:
    """Group of each class by its training images: the suite's thresholds."""
    counts = list(training_images.values())
    names = ClassStatistics.from_counts(counts, sum(counts)).group_names
    return dict(zip(training_images, names, strict=True))


def group_means(ap: Mapping[str, float | None], training_images: Mapping[str, int]) -> dict[str, float]:
    """Total and group means of per-class average precision; classes without a value are left out.

    >>> group_means({"a": 90.0, "b": 40.0, "c": 20.0}, {"a": 500, "b": 5, "c": 4})
    {'total': 50.0, 'head': 90.0, 'tail': 30.0}
    """
    groups = class_groups(training_images)
    known = {name: float(value) for name, value in ap.items() if value is not None}
    values = {"total": list(known.values())}
    values |= {group: [value for name, value in known.items() if groups[name] == group] for group in GROUPS}
    return {name: float(np.mean(of_group)) for name, of_group in values.items() if of_group}


def read_json(path: Path) -> Any:
    """Read strict JSON: no NaN, no infinity, no name twice, at most 20 MB.

    Raises:
        InputError: if it is not.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path.name} has {path.stat().st_size:,} bytes; a submission has at most {MOST_BYTES:,}")
        text = path.read_text(encoding="utf-8")
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_each_once)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give the path of a submission") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path.name} is no JSON in UTF-8: {error}") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object holds a name twice")
    return found
