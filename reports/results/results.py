"""Runs read back from MLflow as one tidy table of pandas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...benchmark.tracking.store import TAG, Store, open_store, resolve_results_root

if TYPE_CHECKING:
    from mlflow.entities import Run

GROUPS = ("total", "head", "medium", "tail")
VALIDATION = tuple(f"validation_{group}" for group in GROUPS)
LABELS = ("experiment_id", "configuration_id", "dataset", "dataset_digest", "method", "title", "overrides",
          "recipe", "backbone", "numerics_version", "seed", "state", "reason", "study", "trial", "parameters",
          "command")  # fmt: skip
COSTS = ("train_seconds", "images_per_second")
COLUMNS = (*LABELS, "run_id", "started", *GROUPS, *VALIDATION, *COSTS, "settings", "provenance", "artifact_uri",
           "mlflow_experiment")  # fmt: skip
PROVENANCE = f"{TAG}provenance."


def load_runs(
    out: Path | str | None = None, *, tracking_uri: str | None = None, kind: str = "experiment"
) -> pd.DataFrame:
    """Load all runs of the suite, oldest first: labels, mAP in percent, cost.

    Of several tries of one experiment the finished one counts, else the last. Columns `total`, `head`, `medium` and
    `tail` are mAP on the test split, `validation_...` on the validation split, both after the last epoch; `study`,
    `trial` and `parameters` (JSON) are filled for runs of a study; `settings` (hyper-parameters) and `provenance` are
    JSON.

    Args:
        out: results root; None takes MLTBENCH_HOME or `mltbench-results`.
        tracking_uri: of MLflow; None takes MLFLOW_TRACKING_URI or SQLite under `out`.
        kind: `experiment`, or `trial` for the trials of studies.

    Raises:
        InputError: if there are no results.

    Example:
        runs = load_runs("mltbench-results")
        runs.groupby("method").total.mean()
    """
    root = resolve_results_root(Path(out) if out is not None else None)
    return runs_frame(open_store(root, tracking_uri, create=False), kind=kind)


def runs_frame(store: Store, *, kind: str = "experiment") -> pd.DataFrame:
    """Load all runs of an open store; see `load_runs`."""
    frame = pd.DataFrame([_record(run) for run in store.runs_of(kind=kind)], columns=list(COLUMNS))
    frame = frame.sort_values(["state", "started"], key=lambda c: c == "finished" if c.name == "state" else c)
    # An experiment has one result however often it was tried; trials of several studies may share an experiment.
    same = ["experiment_id"] if kind == "experiment" else ["experiment_id", "study", "trial"]
    return frame.drop_duplicates(same, keep="last").sort_values("started").reset_index(drop=True)


def _record(run: Run) -> dict[str, Any]:
    tags, metrics = run.data.tags, run.data.metrics
    record: dict[str, Any] = {label: tags.get(f"{TAG}{label}", "") for label in LABELS}
    provenance = {key.removeprefix(PROVENANCE): value for key, value in tags.items() if key.startswith(PROVENANCE)}
    return record | {
        "run_id": run.info.run_id,
        "started": run.info.start_time,
        "seed": int(record["seed"] or -1),
        **{group: _percent(metrics, f"test/{group}") for group in GROUPS},
        **{f"validation_{group}": _percent(metrics, f"validation/{group}") for group in GROUPS},
        **{cost: metrics.get(f"cost/{cost}") for cost in COSTS},
        "settings": json.dumps(run.data.params, sort_keys=True),
        "provenance": json.dumps(provenance, sort_keys=True),
        "artifact_uri": run.info.artifact_uri,
        "mlflow_experiment": run.info.experiment_id,
    }


def _percent(metrics: Mapping[str, float], name: str) -> float:
    return 100 * metrics.get(name, float("nan"))
