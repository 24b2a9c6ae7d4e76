"""Artifacts of runs as local files: read where they lie when the store is local, fetched once when it is not."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
from numpy.typing import NDArray

from ... import __version__
from ...errors import InputError

if TYPE_CHECKING:
    from ...benchmark.tracking.store import Store

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


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} cannot be read ({error}); restore it, or delete its run and train it again")


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
