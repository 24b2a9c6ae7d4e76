"""The bootstrap over test images for runs of a store: scored once, kept beside the results."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...benchmark.tracking.store import Store
from ...errors import InputError
from ...files import safe_file_name
from .artifacts import CACHE_FOLDER, local_artifact, read_arrays
from .bootstrap import group_means, resample_weights, weighted_average_precision

Results = dict[str, NDArray[np.float64]]


def bootstrap_runs(
    store: Store,
    runs: pd.DataFrame,
    per_class: pd.DataFrame,
    *,
    resamples: int,
    on_run: Callable[[], None] = lambda: None,
) -> dict[str, Results]:
    """Score every finished run on the same resampled test images, from its stored scores.

    What was scored is kept under the results root and not scored again.

    Args:
        store: where the runs live.
        runs: as `load_runs` returns them.
        per_class: as `load_per_class` returns them, for the groups of the classes.
        resamples: how many.
        on_run: called after each run.

    Returns:
        By experiment id, then by group: `(resamples,)` in percent. Runs without stored scores are left out.
    """
    groups = dict(per_class.drop_duplicates(["dataset", "class_name"]).set_index(["dataset", "class_name"]).group)
    found = {}
    for run in runs[runs.state == "finished"].itertuples():
        results = _resampled(store, run, groups, resamples)
        if results is not None:
            found[str(run.experiment_id)] = results
        on_run()
    return found


def _resampled(store: Store, run: Any, groups: Mapping[Any, str], resamples: int) -> Results | None:
    kept = store.root / CACHE_FOLDER / "bootstrap" / safe_file_name(f"{run.experiment_id}-{resamples}.npz")
    if kept.is_file():
        # A file that was cut short or flipped only costs the time to score again.
        with suppress(InputError):
            return read_arrays(kept)
    path = local_artifact(store, run, "test_scores.npz")
    if path is None:
        return None
    stored = read_arrays(path)
    scores, ids, classes = stored["scores"], stored["ids"], stored["classes"]
    labels = stored["labels"] if "labels" in stored else _labels_of_dataset(run, ids)
    weights = resample_weights(len(scores), resamples)
    names = [str(groups.get((run.dataset, str(name)), "")) for name in classes]
    results = group_means(weighted_average_precision(scores, labels, weights), names)
    _keep(kept, results)
    return results


def _labels_of_dataset(run: Any, ids: NDArray[np.str_]) -> NDArray[np.uint8]:
    """Test labels of runs from before labels were stored with the scores."""
    from ...datasets.registry import load_dataset

    test = load_dataset(str(run.dataset)).split("test")
    if not np.array_equal(test.ids, ids):
        raise InputError(
            f"experiment {run.experiment_id} scored other test images than {run.dataset} has here; prepare the dataset "
            "that it was trained on, or leave out --bootstrap"
        )
    return test.labels


def _keep(path: Path, results: Results) -> None:
    # Only saves time: a results folder that cannot be written still gives its numbers.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.stem}.{os.getpid()}.partial.npz")
        np.savez(partial, **results)  # type: ignore[arg-type]
        partial.replace(path)
