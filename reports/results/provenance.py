"""Where numbers come from: what every experiment was made with, and how to repeat it."""

import json
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from ...benchmark.tracking.store import Store
from ...benchmark.training.metrics import SCORE_NAMES
from .runs import VALIDATION, local_artifact, read_json

DIGESTS = ("weights_digest", "word_vectors_digest")


def configuration_records(store: Store, runs: pd.DataFrame) -> list[dict[str, Any]]:
    """Records of all finished runs, as pages and JSON show them: one per configuration, in the order of `runs`.

    A configuration has its `id` (the experiments' id without the seed), `label`, `dataset`, `digests`, `settings`
    (every hyper-parameter) and `experiments`. Each of these has its `id`, `seed`, `results` (mAP in percent by column
    of `load_runs`), `train_seconds`, the `command` that repeats it, MLflow's `run_id` and the `link` to it (None for a
    local store), when it `started` (UTC) and `provenance` (commit, versions, machine).
    """
    groups = runs[runs.state == "finished"].groupby("configuration_id", sort=False)
    return [_configuration(store, str(name), group) for name, group in groups]


def _configuration(store: Store, name: str, runs: pd.DataFrame) -> dict[str, Any]:
    first = next(runs.itertuples())
    settings = {k: v for k, v in json.loads(str(first.settings)).items() if k not in ("seed", "dataset", "method")}
    path = local_artifact(store, first, "experiment.json")
    deciding = read_json(path, "deciding")["deciding"] if path else {}
    digests = {name: str(deciding[name]) for name in DIGESTS if deciding.get(name)}
    return {
        "id": name,
        "label": f"{first.title!s} ({first.overrides!s})" if first.overrides else str(first.title),
        "dataset": str(first.dataset),
        "digests": {"dataset_digest": str(first.dataset_digest), **digests},
        "settings": {**settings, "numerics_version": str(first.numerics_version)},
        "experiments": [_experiment(store, run) for run in runs.sort_values("seed").itertuples()],
    }


def _experiment(store: Store, run: Any) -> dict[str, Any]:
    started = datetime.fromtimestamp(int(run.started) / 1000, UTC)
    return {
        "id": str(run.experiment_id),
        "seed": int(run.seed),
        "results": {column: _number(getattr(run, column)) for column in (*SCORE_NAMES, *VALIDATION)},
        "train_seconds": _number(run.train_seconds),
        "command": str(run.command),
        "run_id": str(run.run_id),
        "link": _link(store.tracking_uri, run),
        "started": started.strftime("%Y-%m-%d %H:%M:%S"),
        "provenance": json.loads(str(run.provenance)),
    }


def _link(tracking_uri: str, run: Any) -> str | None:
    # A report is sent to others: an address with a password in it must not be on its page.
    if not tracking_uri.startswith(("http://", "https://")) or "@" in tracking_uri:
        return None
    return f"{tracking_uri.rstrip('/')}/#/experiments/{run.mlflow_experiment}/runs/{run.run_id}"


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)
