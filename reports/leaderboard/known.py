"""Which versions of datasets a leaderboard takes results on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from ...errors import InputError
from .submission import read_json

OWN_FILE = "datasets.json"


@dataclass(frozen=True, kw_only=True)
class KnownDataset:
    """A dataset that results may be submitted on.

    Attributes:
        digests: its accepted versions.
        training_images: by class; empty where nobody wrote them down.
        without_test_images: classes that have no average precision; None where nobody wrote them down.
    """

    digests: tuple[str, ...]
    training_images: Mapping[str, int]
    without_test_images: tuple[str, ...] | None


def known_datasets(folder: Path | None = None) -> dict[str, KnownDataset]:
    """Datasets that the suite knows, and those of `datasets.json` in a folder of submissions.

    The file holds, by dataset: `digests` (a list), and perhaps `training_images` (by class) and
    `without_test_images` (a list of classes).

    Raises:
        InputError: if the file cannot be used.
    """
    found = json.loads((files(__package__) / "known.json").read_text(encoding="utf-8"))
    own = folder / OWN_FILE if folder is not None else None
    if own is not None and own.is_file():
        found |= read_json(own)
    try:
        return {name: _known(entry) for name, entry in found.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{own}: each dataset needs `digests`, a list of SHA-256, and may have `training_images` (by class) and "
            f"`without_test_images` ({type(error).__name__}: {error})"
        ) from error


def _known(entry: Mapping[str, Any]) -> KnownDataset:
    without = entry.get("without_test_images")
    return KnownDataset(
        digests=tuple(entry["digests"]),
        training_images=dict(entry.get("training_images", {})),
        without_test_images=None if without is None else tuple(without),
    )
