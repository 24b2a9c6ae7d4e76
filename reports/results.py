"""Runs read back from MLflow as one tidy table of pandas."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..benchmark.store import TAG, Store, open_store, resolve_results_root

GROUPS = ("total", "head", "medium", "tail")
LABELS = ("experiment_id", "configuration_id", "dataset", "dataset_digest", "method", "title", "overrides", "recipe",
          "backbone", "seed", "state", "reason")  # fmt: skip
COLUMNS = (*LABELS, "run_id", "started", *GROUPS, "train_seconds", "images_per_second")


def load_runs(out: Path | str | None = None, *, tracking_uri: str | None = None) -> pd.DataFrame:
    """Load all runs of the suite, oldest first: labels, test mAP in percent, cost.

    Of several tries of one experiment the finished one counts, else the last.

    Raises:
        InputError: if there are no results.

    Example:
        runs = load_runs("mltbench-results")
        runs.groupby("method").total.mean()
    """
    root = resolve_results_root(Path(out) if out is not None else None)
    return runs_frame(open_store(root, tracking_uri, create=False))


def runs_frame(store: Store) -> pd.DataFrame:
    """Load all runs of an open store; see `load_runs`."""
    rows = []
    for run in store.runs_of():
        tags, metrics = run.data.tags, run.data.metrics
        row = {label: tags.get(f"{TAG}{label}", "") for label in LABELS}
        row |= {"run_id": run.info.run_id, "started": run.info.start_time, "seed": int(row["seed"] or -1)}
        row |= {group: 100 * metrics.get(f"test/{group}", float("nan")) for group in GROUPS}
        row |= {cost: metrics.get(f"cost/{cost}") for cost in ("train_seconds", "images_per_second")}
        rows.append(row)
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame = frame.sort_values(["state", "started"], key=lambda c: c == "finished" if c.name == "state" else c)
    return frame.drop_duplicates("experiment_id", keep="last").sort_values("started").reset_index(drop=True)
