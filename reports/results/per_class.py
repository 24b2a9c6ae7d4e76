"""Average precision of every class of every run, as one tidy table of pandas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ...benchmark.tracking.store import Store, open_store, resolve_results_root
from ...datasets.long_tail.statistics import ClassStatistics
from ...errors import InputError
from .artifacts import local_artifact, read_json
from .results import runs_frame

COLUMNS = ("experiment_id", "dataset", "method", "title", "overrides", "recipe", "seed", "split", "class_name", "group",
           "class_size", "ap")  # fmt: skip


def load_per_class(
    out: Path | str | None = None, *, tracking_uri: str | None = None, kind: str = "experiment"
) -> pd.DataFrame:
    """Load the average precision of every class: one line per finished run, split and class.

    `ap` is in percent, NaN for a class without positives; `class_size` counts training images, and `group` is `head`,
    `medium` or `tail` by it. Arguments as for `load_runs`.

    Raises:
        InputError: if there are no results.

    Example:
        per_class = load_per_class("mltbench-results")
        per_class[per_class.split == "test"].groupby(["title", "class_name"]).ap.mean()
    """
    root = resolve_results_root(Path(out) if out is not None else None)
    store = open_store(root, tracking_uri, create=False)
    return per_class_frame(store, runs_frame(store, kind=kind))


def per_class_frame(store: Store, runs: pd.DataFrame) -> pd.DataFrame:
    """Load per-class average precision for runs that are loaded already; see `load_per_class`."""
    finished = [run for run in runs.itertuples() if run.state == "finished"]
    read = [(run, _read(store, run)) for run in finished]
    sizes = _class_sizes([(run, data) for run, data in read if data])
    records = [line for run, data in read if data for line in _lines(run, data, sizes[str(run.dataset_digest)])]
    return pd.DataFrame(records, columns=list(COLUMNS)).astype({"class_size": "Int64", "ap": "float64"})


def _read(store: Store, run: Any) -> Mapping[str, Any] | None:
    path = local_artifact(store, run, "per_class.json")
    return read_json(path, "average_precision") if path else None


def _lines(run: Any, data: Mapping[str, Any], sizes: Mapping[str, tuple[int, str]]) -> Iterator[tuple[Any, ...]]:
    labels = tuple(getattr(run, column) for column in COLUMNS[:7])
    for split, by_class in data["average_precision"].items():
        for name, ap in by_class.items():
            size, group = sizes.get(name, (None, ""))
            yield (*labels, split, name, group, size, float("nan") if ap is None else 100 * ap)


def _class_sizes(read: list[tuple[Any, Mapping[str, Any]]]) -> dict[str, dict[str, tuple[int, str]]]:
    """Training images and group of each class, by dataset digest."""
    found: dict[str, dict[str, tuple[int, str]]] = {}
    # Runs that tell class sizes speak for those that were made before runs told them.
    for run, data in sorted(read, key=lambda item: "training_images_per_class" not in item[1]):
        if run.dataset_digest not in found:
            counts = data.get("training_images_per_class") or _counts_of_dataset(run)
            found[run.dataset_digest] = _with_groups(counts, data.get("training_images"))
    return found


def _with_groups(counts: Mapping[str, int], images: int | None) -> dict[str, tuple[int, str]]:
    if not counts:
        return {}
    statistics = ClassStatistics.from_counts(list(counts.values()), images or sum(counts.values()))
    return {name: (size, group) for (name, size), group in zip(counts.items(), statistics.group_names, strict=True)}


def _counts_of_dataset(run: Any) -> dict[str, int]:
    """Class sizes from the dataset itself, when it is here; else nothing."""
    from ...datasets.registry import load_dataset

    try:
        dataset = load_dataset(str(run.dataset))
        if dataset.digest != run.dataset_digest:
            return {}
        return dict(zip(dataset.classes, dataset.statistics.counts.tolist(), strict=True))
    except (InputError, OSError):
        return {}
