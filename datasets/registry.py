"""Which datasets there are: those of `published/` and `sources/`, and those that were imported into the data root.

A file in `datasets/sources/` that calls `register_dataset` adds one; nothing else changes.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, unknown_name
from ..files import safe_file_name
from ..registry import NamedEntries
from .dataset import SPLITS, Dataset
from .prepared.dataset_folder import StartingWeights, open_prepared, read_manifest


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """A dataset by name, before any of it is opened."""

    name: str
    summary: str
    source: str  # where the images and the construction come from
    open: Callable[[Path], Dataset]  # from the data root
    recipe: str  # name of the training recipe that fits it
    backbone: str  # name of the backbone that fits it
    weights: StartingWeights | None = None  # of that backbone; None is its published ones


# What the entry of an imported dataset says that its manifest knows.
ABOUT = ("name", "summary", "source", "recipe", "backbone", "weights")
_REGISTERED = NamedEntries[DatasetEntry]("dataset", f"{__package__}.published", f"{__package__}.sources")
# Adds a dataset; raises `InputError` if the name is taken.
register_dataset = _REGISTERED.add
# Imported datasets that were looked up, so that what follows in this process finds them without the data root.
_IMPORTED: dict[str, DatasetEntry] = {}


def list_datasets(*, data_root: Path | str | None = None) -> list[DatasetEntry]:
    """All datasets by name: the registered ones, and with a data root those that were imported into it."""
    found = dict(_REGISTERED.load())
    for folder in Path(data_root).glob("[!.]*") if data_root is not None else ():
        # The error of a damaged one is raised when it is asked for by name.
        with contextlib.suppress(InputError):
            if folder.name not in found and (entry := _imported_entry(folder)) is not None:
                found[folder.name] = entry
    return [found[name] for name in sorted(found)]


def get_dataset_entry(name: str, *, data_root: Path | str | None = None) -> DatasetEntry:
    """One dataset's entry; without a data root, imported ones are those of `resolve_data_root` and those found before.

    Raises `InputError` if there is none of that name.
    """
    if (registered := _REGISTERED.load().get(name)) is not None:
        return registered
    root = resolve_data_root(data_root)
    entry = _imported_entry(root / name) if safe_file_name(name) == name else None
    if entry is not None:
        _IMPORTED[name] = entry
    elif data_root is not None or name not in _IMPORTED:
        raise unknown_name("dataset", name, [known.name for known in list_datasets(data_root=root)])
    return _IMPORTED[name]


def load_dataset(name: str, *, data_root: Path | str | None = None) -> Dataset:
    """Open a dataset by name; its splits open when first used.

    >>> load_dataset("digits-mlt").classes[:2]
    ('red 0', 'red 1')
    """
    root = resolve_data_root(data_root)
    return get_dataset_entry(name, data_root=root).open(root)


def prepare(name: str, data_root: Path, *, splits: Sequence[str] = SPLITS) -> None:
    """Open those of the splits that the dataset has, so that generated ones are there before several processes ask."""
    dataset = load_dataset(name, data_root=data_root)
    for split in splits:
        if split in dataset.splits:
            dataset.split(split)


def resolve_data_root(given: Path | str | None = None) -> Path:
    """Where datasets are kept: the given path, else MLTBENCH_DATA, else the user's cache folder."""
    if chosen := given or os.environ.get("MLTBENCH_DATA"):
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "mltbench" / "data"


def _imported_entry(folder: Path) -> DatasetEntry | None:
    manifest = read_manifest(folder)
    if manifest is None or manifest.name != folder.name:
        return None
    about = {name: getattr(manifest, name) for name in ABOUT}
    cure = f"import {folder.name} again (`mltbench data import`)"
    return DatasetEntry(**about, open=lambda root: open_prepared(folder, manifest, cure=cure))
