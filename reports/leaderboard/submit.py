"""A submission made from the runs of one method in MLflow."""

import hashlib
import json
import re
from typing import Any

import pandas as pd

from ...benchmark.tracking.store import Store
from ...errors import InputError
from ..results.runs import local_artifact, per_class_frame, read_json
from .submission import FORMAT, group_means

DECIMALS = 4


def make_submission(store: Store, runs: pd.DataFrame, *, author: str, code: str, chosen_on: str) -> dict[str, Any]:
    """Gather the finished runs of one configuration.

    Args:
        store: that the runs are in.
        runs: of one configuration on one dataset, one per seed, as `load_runs` returns them.
        author: who submits.
        code: address of the code, http or https.
        chosen_on: what its hyper-parameters were chosen on, `validation` or `nothing`.

    Raises:
        InputError: if a run lacks its per-class average precision, or class sizes are unknown.
    """
    per_class = per_class_frame(store, runs)
    test = per_class[per_class.split == "test"]
    sizes = test.drop_duplicates("class_name").set_index("class_name").class_size
    if test.empty or sizes.isna().any():
        raise InputError(
            "the runs' per-class average precision or class sizes are not available; is the dataset prepared?"
        )
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


def _run(run: Any, test: pd.DataFrame, training_images: dict[str, int]) -> dict[str, Any]:
    own = test[test.experiment_id == run.experiment_id].set_index("class_name").ap
    if own.empty:
        raise InputError(f"experiment {run.experiment_id} has no per-class average precision in MLflow; run it again")
    ap = {name: None if own[name] != own[name] else round(float(own[name]), DECIMALS) for name in training_images}
    means = {group: round(value, DECIMALS) for group, value in group_means(ap, training_images).items()}
    return {"seed": int(run.seed), "experiment_id": str(run.experiment_id), "ap": ap, **means}


def _pretraining(store: Store, run: Any) -> str:
    path = local_artifact(store, run, "experiment.json")
    digest = read_json(path, "deciding")["deciding"].get("weights_digest") if path else None
    return "unknown" if not digest else "none" if digest == "random" else f"weights {str(digest)[:12]}"
