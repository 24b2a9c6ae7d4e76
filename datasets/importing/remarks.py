"""What a user should know of images that were imported: files that no label names, and files that are there twice."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ..prepared.dataset_folder import SplitLabels
from .annotations import Annotations

ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".jp2"}


def files_without_label(annotations: Annotations, folder: Path) -> list[str]:
    """A remark on image files that lie beside named ones and that no label names, if there are any."""
    named = {folder / image.file for image in annotations.images}
    others = [
        path
        for place in {path.parent for path in named}
        if place.is_dir()
        for path in map(Path, os.scandir(place))
        if path.suffix.lower() in ENDINGS and path not in named
    ]
    if not others:
        return []
    return [f"not taken, no label names them: {_counted(others)}, such as {min(others)}"]


def files_in_two_splits(splits: Mapping[str, SplitLabels]) -> list[str]:
    """A remark on files of the same bytes in several splits, which make scores too good, if there are any."""
    first: dict[str, tuple[str, str]] = {}
    twice = []
    for name, split in splits.items():
        for image, digest in zip(split.ids.tolist(), split.file_digests.tolist(), strict=True):
            there = first.setdefault(digest, (name, image))
            if there[0] != name:
                twice.append(f"{there[1]} ({there[0]}) and {image} ({name})")
    if not twice:
        return []
    return [f"the same bytes in two splits, which makes scores too good: {_counted(twice)}, such as {twice[0]}"]


def _counted(files: list[Path] | list[str]) -> str:
    return f"{len(files)} image file{'s' * (len(files) > 1)}"
