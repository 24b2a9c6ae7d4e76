"""Opening what `mltbench data prepare` has made."""

from __future__ import annotations

from pathlib import Path

from ...errors import InputError
from ..dataset import Dataset
from ..prepared.dataset_folder import open_prepared, read_manifest


def open_published(name: str, data_root: Path) -> Dataset:
    """Open a published set that was prepared under the data root, or its labels alone.

    Raises:
        InputError: if it was not prepared.
    """
    folder = data_root / name
    manifest = read_manifest(folder)
    if manifest is None:
        raise InputError(
            f"{name} is not prepared under {data_root}: `mltbench data prepare {name}` downloads and decodes it, "
            f"`mltbench data prepare {name} --root FOLDER` takes what is on disk"
        )
    return open_prepared(folder, manifest, cure=f"`mltbench data prepare {name}` brings them there")
