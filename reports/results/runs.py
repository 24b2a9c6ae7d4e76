"""What MLflow holds of the suite's runs: a line per run, a line per class of each run, and artifacts as local files."""

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from ... import __version__
from ...benchmark.runs.folder import resolve_results_root
from ...benchmark.tracking.store import TAG, Store, open_store
from ...benchmark.training.metrics import SCORE_NAMES
from ...datasets.long_tail.statistics import ClassStatistics
from ...datasets.registry import load_dataset
from ...errors import InputError

VALIDATION = tuple(f"validation_{name}" for name in SCORE_NAMES)
LABELS = ("experiment_id", "configuration_id", "dataset", "dataset_digest", "method", "title", "overrides",
          "recipe", "backbone", "numerics_version", "seed", "state", "reason", "study", "trial", "parameters",
          "role", "command")  # fmt: skip
COSTS = ("train_seconds", "images_per_second")
COLUMNS = (*LABELS, "run_id", "started", *SCORE_NAMES, *VALIDATION, *COSTS, "settings", "provenance", "artifact_uri",
           "mlflow_experiment")  # fmt: skip
CLASS_COLUMNS = ("experiment_id", "dataset", "method", "title", "overrides", "recipe", "seed", "split", "class_name",
                 "group", "class_size", "ap")  # fmt: skip
PROVENANCE = f"{TAG}provenance."
CACHE_FOLDER = "report-cache"


def load_runs(
    out: Path | str | None = None, *, tracking_uri: str | None = None, kind: str = "experiment"
) -> pd.DataFrame:
    """Load all runs of the suite, oldest first: labels, mAP in percent, cost.

    An experiment that was tried several times has one line: its finished run, else the last. Columns `total`, `head`,
    `medium` and `tail` are mAP on the test split, `validation_...` on the validation split, both after the last epoch;
    `study`, `trial` and `parameters` (JSON) are filled for runs of a study; `settings` (hyper-parameters) and
    `provenance` are JSON.

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
    return runs_frame(_open(out, tracking_uri), kind=kind)


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
    store = _open(out, tracking_uri)
    return per_class_frame(store, runs_frame(store, kind=kind))


def runs_frame(store: Store, *, kind: str = "experiment") -> pd.DataFrame:
    """Load all runs of an open store; see `load_runs`."""
    frame = pd.DataFrame([_record(run) for run in store.runs_of(kind=kind)], columns=list(COLUMNS))
    frame = frame.sort_values(["state", "started"], key=lambda c: c == "finished" if c.name == "state" else c)
    # An experiment has one result however often it was tried; trials of several studies may share an experiment.
    same = ["experiment_id"] if kind == "experiment" else ["experiment_id", "study", "trial"]
    return frame.drop_duplicates(same, keep="last").sort_values("started").reset_index(drop=True)


def per_class_frame(store: Store, runs: pd.DataFrame) -> pd.DataFrame:
    """Load per-class average precision for runs that are loaded already; see `load_per_class`."""
    read = ((run, local_artifact(store, run, "per_class.json")) for run in runs[runs.state == "finished"].itertuples())
    found = [(run, read_json(path, "average_precision")) for run, path in read if path]
    sizes: dict[Any, dict[str, tuple[str, int]]] = {}
    # Older runs do not hold class sizes; a newer run on the same dataset does.
    for run, data in sorted(found, key=lambda item: "training_images_per_class" not in item[1]):
        if run.dataset_digest not in sizes:
            sizes[run.dataset_digest] = _class_sizes(run, data)
    lines = []
    for run, data in found:
        labels = tuple(getattr(run, column) for column in CLASS_COLUMNS[:7])
        for split, by_class in data["average_precision"].items():
            for name, ap in by_class.items():
                size = sizes[run.dataset_digest].get(name, ("", None))
                lines.append((*labels, split, name, *size, float("nan") if ap is None else 100 * ap))
    return pd.DataFrame(lines, columns=list(CLASS_COLUMNS)).astype({"class_size": "Int64", "ap": "float64"})


def of_one_dataset(frame: pd.DataFrame, dataset: str | None = None) -> pd.DataFrame:
    """Rows of the named dataset, or of the only one that there is.

    Raises:
        InputError: if there are several and none is named, or none of that name.
    """
    known = sorted(set(frame.dataset))
    if dataset is None and len(known) != 1:
        raise InputError(f"name one dataset with dataset=; there are: {', '.join(known) or '(none)'}")
    found = frame[frame.dataset == (dataset or known[0])]
    if found.empty:
        raise InputError(f"nothing on dataset {dataset!r}; there are: {', '.join(known) or '(none)'}")
    return found


def local_artifact(store: Store, run: Any, name: str) -> Path | None:
    """Path of one artifact of a run, or None if the run has none of that name.

    Artifacts of a local store are read where they are. Those of a server are fetched once, into a cache under the
    results root: artifacts of a finished run do not change. The run is a row of `load_runs` (a named tuple or Series).

    Raises:
        InputError: if MLflow does not deliver what it lists.
    """
    here = store.artifacts_of(str(run.artifact_uri))
    cached = store.root / CACHE_FOLDER / str(run.run_id) / name
    candidates = [here / name] if here is not None else []
    for candidate in (*candidates, store.runs / str(run.experiment_id) / name, cached):
        if candidate.is_file():
            return candidate
    if here is not None:
        return None
    try:
        if name not in [file.path for file in store.client.list_artifacts(run.run_id)]:
            return None
        cached.parent.mkdir(parents=True, exist_ok=True)
        return Path(store.client.download_artifacts(run.run_id, name, str(cached.parent)))
    except (MlflowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"cannot fetch {name} of MLflow run {run.run_id}: {reason}; is the tracking server up?"
        ) from error


def read_json(path: Path, key: str) -> dict[str, Any]:
    """Content of a JSON artifact, which holds an object under `key`.

    Raises:
        InputError: if the file is damaged, or another version wrote it in another way.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(content, dict) or not isinstance(content.get(key), dict):
        raise InputError(
            f"{path} holds no {key!r}: another version of mltbench has written it; read these results with that "
            f"version (`mltbench runs show` names the version of a run; this is {__version__})"
        )
    return content


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Content of an array artifact; nothing in it is executed.

    Raises:
        InputError: if the file is damaged: its checksums are compared.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, error) from error


def _open(out: Path | str | None, tracking_uri: str | None) -> Store:
    return open_store(resolve_results_root(Path(out) if out is not None else None), tracking_uri, create=False)


def _record(run: Run) -> dict[str, Any]:
    tags, metrics = run.data.tags, run.data.metrics
    record: dict[str, Any] = {label: tags.get(f"{TAG}{label}", "") for label in LABELS}
    provenance = {key.removeprefix(PROVENANCE): value for key, value in tags.items() if key.startswith(PROVENANCE)}
    percent = {name: 100 * metrics.get(f"test/{name}", float("nan")) for name in SCORE_NAMES}
    percent |= {f"validation_{name}": 100 * metrics.get(f"validation/{name}", float("nan")) for name in SCORE_NAMES}
    return record | {
        "run_id": run.info.run_id,
        "started": run.info.start_time,
        "seed": int(record["seed"] or -1),
        **percent,
        **{cost: metrics.get(f"cost/{cost}") for cost in COSTS},
        "settings": json.dumps(run.data.params, sort_keys=True),
        "provenance": json.dumps(provenance, sort_keys=True),
        "artifact_uri": run.info.artifact_uri,
        "mlflow_experiment": run.info.experiment_id,
    }


def _class_sizes(run: Any, data: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """Group and training images of each class; nothing if they are unknown."""
    counts = data.get("training_images_per_class") or _counts_of_dataset(run)
    if not counts:
        return {}
    statistics = ClassStatistics.from_counts(list(counts.values()), sum(counts.values()))
    return {name: (group, counts[name]) for name, group in zip(counts, statistics.group_names, strict=True)}


def _counts_of_dataset(run: Any) -> dict[str, int]:
    """Class sizes from the dataset itself, or nothing if this version of it is not on this machine."""
    try:
        dataset = load_dataset(str(run.dataset))
    except (InputError, OSError):
        return {}
    counts = dict(zip(dataset.classes, dataset.statistics.counts.tolist(), strict=True))
    return counts if dataset.digest == run.dataset_digest else {}


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} cannot be read ({error}); restore it, or delete its run and train it again")
