"""Datasets of image files on disk: a folder with labels, decoded images and a `dataset.json` that is written last.

NAME/dataset.json              what it is: classes, digests, sizes, options
NAME/labels.npz                ids, labels and file digests of each split
NAME/train.npy                 training images at 280 x 280
NAME/validation.npy, test.npy  the others at 224 x 224
NAME/quarantine.json           images that were converted, left out or cannot be used, with reasons
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..dataset import Dataset, Split, in_pieces
from ..images.cache import find_cache, open_pixels, write_json
from ..images.decode import DECODER_VERSION
from .array_files import DAMAGE, map_array

MANIFEST = "dataset.json"
LABELS = "labels.npz"
# A folder of the data root that holds no dataset.
DOWNLOADS = "downloads"
FORMAT = 1
# The published crops of training images keep .8 to 1 of each side: .8 x 280 = 224, so that none is enlarged.
SIDES = {"train": 280, "validation": 224, "test": 224}


@dataclass(frozen=True, eq=False, kw_only=True)
class SplitLabels:
    """A split without its pixels.

    Attributes:
        ids: `(N,)` unique strings.
        labels: `(N, C)` uint8 of 0/1.
        file_digests: `(N,)` SHA-256 of the image files, or none at all where the ids name well-known files.
    """

    ids: NDArray[np.str_]
    labels: NDArray[np.uint8]
    file_digests: NDArray[np.str_] = field(default_factory=lambda: np.empty(0, dtype="U64"))

    def digest(self, side: int) -> str:
        """SHA-256 over ids, labels, image files and how they are decoded: what names the split."""
        # JSON with the ids last, written in pieces.
        head = json.dumps({"decoder": DECODER_VERSION, "side": side, "shape": self.labels.shape, "ids": []})
        digest = hashlib.sha256(head.removesuffix("]}").encode())
        for start, some in in_pieces(self.ids):
            digest.update((", " * bool(start) + json.dumps(some, ensure_ascii=True)[1:-1]).encode())
        digest.update(b"]}")
        digest.update(np.ascontiguousarray(self.labels).data)
        for _, some in in_pieces(self.file_digests):
            digest.update("".join(some).encode())
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `dataset.json` says.

    Attributes:
        name: of the dataset.
        summary: one sentence.
        source: where it comes from.
        recipe: training recipe that fits it.
        backbone: backbone that fits it.
        classes: C names, in column order.
        digests: of each split, as `SplitLabels.digest` gives them.
        images: how many each split has.
        options: what it was made with.
        format: of this file.
    """

    name: str
    summary: str
    source: str
    recipe: str
    backbone: str
    classes: tuple[str, ...]
    digests: Mapping[str, str]
    images: Mapping[str, int]
    options: Mapping[str, Any]
    format: int = FORMAT


def write_prepared(folder: Path, manifest: Manifest, splits: Mapping[str, SplitLabels]) -> None:
    """Write labels and manifest; the manifest comes last and makes the folder a dataset.

    What is there already is left alone. Of another dataset the manifest goes first, so that whoever is killed in
    between leaves none beside labels that are not its own.

    Raises:
        OSError: if the folder cannot be written.
    """
    if _is_written(folder, manifest):
        return
    (folder / MANIFEST).unlink(missing_ok=True)
    arrays: dict[str, Any] = {}
    for name, split in splits.items():
        arrays |= {f"{name}_ids": split.ids, f"{name}_labels": split.labels, f"{name}_files": split.file_digests}
    aside = folder / f".{LABELS}-{os.getpid()}"
    try:
        with aside.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(folder / LABELS)
    finally:
        aside.unlink(missing_ok=True)
    write_json(folder / MANIFEST, asdict(manifest))


def _is_written(folder: Path, manifest: Manifest) -> bool:
    try:
        if read_manifest(folder) != manifest:
            return False
        for name in manifest.digests:
            read_split_labels(folder, manifest, name)
    except InputError:
        return False
    return True


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder, or None where there is no whole one.

    Raises:
        InputError: if it is of another version.
    """
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    try:
        found = content["format"]
        if found != FORMAT:
            raise InputError(
                f"{folder / MANIFEST} has format {found!r}, this version reads {FORMAT}; prepare or import it again"
            )
        manifest = Manifest(**content | {"classes": tuple(content["classes"])})
        _ = [(manifest.digests[name], manifest.images[name]) for name in content["digests"]]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{folder / MANIFEST} is damaged ({error}); delete {folder} and prepare or import it again"
        ) from error
    return manifest


def open_prepared(folder: Path, manifest: Manifest, *, cure: str = "prepare or import it again") -> Dataset:
    """Open the dataset of a folder; labels and images are read when first asked for.

    Args:
        folder: as `write_prepared` fills it.
        manifest: of that folder.
        cure: what to do when images are missing.
    """
    names = list(manifest.digests)
    return Dataset(
        name=manifest.name,
        classes=manifest.classes,
        digests=manifest.digests,
        openers={name: partial(_open_split, folder, manifest, name, cure) for name in names},
        label_openers={name: partial(_open_labels, folder, manifest, name) for name in names},
    )


def read_split_labels(folder: Path, manifest: Manifest, name: str) -> SplitLabels:
    """Ids, labels and file digests of a split, mapped into memory: the system may take their pages back.

    Raises:
        InputError: if they are damaged, or are not the recorded ones.
    """
    try:
        ids, labels, files = (map_array(folder / LABELS, f"{name}_{key}") for key in ("ids", "labels", "files"))
        split = SplitLabels(ids=ids, labels=labels, file_digests=files)
        digest = split.digest(SIDES[name])
    except DAMAGE as error:
        raise InputError(
            f"{folder / LABELS} is damaged ({error}); delete {folder} and prepare or import it again"
        ) from error
    if digest != manifest.digests[name]:
        raise InputError(
            f"{manifest.name}: the {name} labels in {folder / LABELS} are not those of {MANIFEST}; "
            f"delete {folder} and prepare or import it again"
        )
    return split


def _open_labels(folder: Path, manifest: Manifest, name: str) -> NDArray[np.uint8]:
    return read_split_labels(folder, manifest, name).labels


def _open_split(folder: Path, manifest: Manifest, name: str, cure: str) -> Split:
    labels = read_split_labels(folder, manifest, name)
    cache = find_cache(folder / f"{name}.npy")
    if cache is None:
        raise InputError(f"the {name} images of {manifest.name} are not under {folder}; {cure}")
    pixels = open_pixels(cache.path)
    kept = [image.id for image in cache.images if not image.problem]
    if kept != labels.ids.tolist() or len(pixels) != len(kept):
        raise InputError(
            f"{cache.path} holds other images than {LABELS}; delete {folder} and prepare or import it again"
        )
    return Split(images=pixels, labels=labels.labels, ids=labels.ids, recorded_digest=manifest.digests[name])
