"""Which datasets exist. A file in `datasets/sources/` that calls `register_dataset` adds one; nothing else changes."""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .dataset import SPLITS, Dataset
from .errors import InputError, unknown_name


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """A dataset by name, before any of it is opened.

    Attributes:
        name: public name, such as `digits-mlt`.
        summary: one sentence.
        source: where the images and the construction come from.
        open: makes the `Dataset` from the data root.
        recipe: name of the training recipe that fits it.
        backbone: name of the backbone that fits it.
    """

    name: str
    summary: str
    source: str
    open: Callable[[Path], Dataset]
    recipe: str
    backbone: str


_ENTRIES: dict[str, DatasetEntry] = {}


def register_dataset(entry: DatasetEntry) -> DatasetEntry:
    """Add a dataset.

    Raises:
        InputError: if the name is taken.
    """
    if entry.name in _ENTRIES:
        raise InputError(f"dataset {entry.name!r} is registered already; choose another name")
    _ENTRIES[entry.name] = entry
    return entry


def list_datasets() -> list[DatasetEntry]:
    """All registered datasets, by name."""
    _load_sources()
    return [_ENTRIES[name] for name in sorted(_ENTRIES)]


def get_dataset_entry(name: str) -> DatasetEntry:
    """Return one dataset's entry.

    Raises:
        InputError: if there is none of that name.
    """
    _load_sources()
    if name not in _ENTRIES:
        raise unknown_name("dataset", name, sorted(_ENTRIES))
    return _ENTRIES[name]


def load_dataset(name: str, *, data_root: Path | str | None = None) -> Dataset:
    """Open a dataset by name; its splits open when first used.

    >>> load_dataset("digits-mlt").classes[:2]
    ('red 0', 'red 1')
    """
    return get_dataset_entry(name).open(resolve_data_root(data_root))


def prepare(name: str, data_root: Path) -> None:
    """Open every split once, so that what has to be made is made before several processes ask for it."""
    dataset = load_dataset(name, data_root=data_root)
    for split in SPLITS:
        dataset.split(split)


def resolve_data_root(given: Path | str | None = None) -> Path:
    """Where datasets are kept: the given path, else MLTBENCH_DATA, else the user's cache folder."""
    chosen = given or os.environ.get("MLTBENCH_DATA")
    if chosen:
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "mltbench" / "data"


def _load_sources() -> None:
    from . import sources

    for module in pkgutil.iter_modules(sources.__path__):
        importlib.import_module(f"{sources.__name__}.{module.name}")
