"""A submission: made from the runs of one method, read from JSON, and the means that tables show of it."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...benchmark.tracking.store import Store
from ...benchmark.training.metrics import SCORE_NAMES
from ...datasets.long_tail.statistics import GROUPS, ClassStatistics
from ...errors import InputError
from ..results.runs import local_artifact, per_class_frame
from ..results.runs import read_json as read_artifact

FORMAT = "mltbench-submission-1"
MOST_BYTES = 20_000_000
DECIMALS = 4


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
    def scores(self) -> pd.DataFrame:
        """Percent mAP, computed from the per-class values: a line per seed, a column for each of `SCORE_NAMES`.

        A group without classes is NaN.
        """
        means = {run["seed"]: group_means(run["ap"], self.data["training_images"]) for run in self.data["runs"]}
        return pd.DataFrame.from_dict(means, orient="index", columns=list(SCORE_NAMES)).sort_index()


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


def make_submission(store: Store, runs: pd.DataFrame, *, author: str, code: str, chosen_on: str) -> dict[str, Any]:
    """The JSON of a submission from finished runs of one configuration on one dataset, one per seed.

    Args:
        store: that the runs are in.
        runs: as `load_runs` returns them.
        author: who submits.
        code: address of the code, http or https.
        chosen_on: what its hyper-parameters were chosen on, `validation` or `nothing`.

    Raises:
        InputError: if a run lacks its per-class average precision, or class sizes are unknown.
    """
    per_class = per_class_frame(store, runs)
    test = per_class[per_class.split == "test"]
    sizes = test.drop_duplicates("class_name").set_index("class_name").class_size
    if sizes.isna().any():
        raise InputError("the classes' numbers of training images are not available; is the dataset prepared?")
    training_images = {str(name): int(size) for name, size in sizes.items()}
    first = runs.iloc[0]
    title = f"{first.title} ({first.overrides})" if first.overrides else str(first.title)
    settings = {name: str(value)[:500] for name, value in json.loads(first.settings).items()}
    seconds = runs.train_seconds.dropna()
    devices = {json.loads(text).get("device_name", "") for text in runs.provenance} - {""}
    return {
        "format": FORMAT,
        "id": slug(f"{title} {first.dataset} {first.backbone} {first.recipe}"),
        "method": title,
        "author": author,
        "code": code,
        "dataset": str(first.dataset),
        "dataset_digest": str(first.dataset_digest),
        "protocol": {"recipe": str(first.recipe), "split": "test", "epoch": "last", "chosen_on": chosen_on},
        "backbone": str(first.backbone),
        "pretraining": _pretraining(store, first),
        "hyperparameters": {n: value for n, value in settings.items() if n.startswith(("method.", "recipe."))},
        "cost": {
            "train_seconds": round(float(seconds.mean()), 1) if len(seconds) else None,
            "device": ", ".join(sorted(devices))[:120] or "unknown",
        },
        "training_images": training_images,
        "runs": [_run(run, test, training_images) for run in runs.sort_values("seed").itertuples()],
    }


def slug(text: str) -> str:
    """A text as small letters, digits and hyphens, 64 at most; what had to be cut ends in a digest of the whole.

    >>> slug("DB-Focal (mu=0.2) ../x")
    'db-focal-mu-0-2-x'
    """
    slugged = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "submission"
    if len(slugged) <= 64:
        return slugged
    return f"{slugged[:55].strip('-')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object holds a name twice")
    return found


def _run(run: Any, test: pd.DataFrame, training_images: dict[str, int]) -> dict[str, Any]:
    own = test[test.experiment_id == run.experiment_id].set_index("class_name").ap
    if own.empty:
        raise InputError(f"experiment {run.experiment_id} has no per-class average precision in MLflow; run it again")
    ap = {name: None if own[name] != own[name] else round(float(own[name]), DECIMALS) for name in training_images}
    means = {group: round(value, DECIMALS) for group, value in group_means(ap, training_images).items()}
    return {"seed": int(run.seed), "experiment_id": str(run.experiment_id), "ap": ap, **means}


def _pretraining(store: Store, run: Any) -> str:
    path = local_artifact(store, run, "experiment.json")
    digest = read_artifact(path, "deciding")["deciding"].get("weights_digest") if path else None
    return "unknown" if not digest else "none" if digest == "random" else f"weights {str(digest)[:12]}"
