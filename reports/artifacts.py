"""Artifacts of runs as local files: read where they lie when the store is local, fetched once when it is not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..datasets.errors import InputError

if TYPE_CHECKING:
    from ..benchmark.store import Store

CACHE_FOLDER = "report-cache"


def local_artifact(store: Store, run: Any, name: str) -> Path | None:
    """Path of one artifact of a run, or None where the run has none of that name.

    Looked for, in this order: at the artifact's address when that is a local file; in the run's own folder under the
    results root; in the cache there. Else it is fetched from MLflow into that cache: artifacts of a finished run do
    not change.

    Args:
        store: where the run lives.
        run: a row of `load_runs`, as a named tuple or a Series.
        name: file name, such as `per_class.json`.

    Raises:
        InputError: if MLflow does not hand out what it lists.
    """
    address = urlsplit(str(run.artifact_uri))
    is_local = address.scheme in ("", "file")
    cached = store.root / CACHE_FOLDER / str(run.run_id) / name
    candidates = [Path(url2pathname(address.path)) / name] if is_local else []
    for candidate in (*candidates, store.runs / str(run.experiment_id) / name, cached):
        if candidate.is_file():
            return candidate
    return None if is_local else _fetch(store, str(run.run_id), name, cached.parent)


def _fetch(store: Store, run_id: str, name: str, folder: Path) -> Path | None:
    from mlflow.exceptions import MlflowException

    try:
        if name not in [file.path for file in store.client.list_artifacts(run_id)]:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        return Path(store.client.download_artifacts(run_id, name, str(folder)))
    except (MlflowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"cannot fetch {name} of MLflow run {run_id}: {reason}; is the tracking server up?") from error
