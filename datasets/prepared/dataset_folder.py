"""Datasets of image files on disk: a folder with labels, decoded images and a `dataset.json` that is written last.

NAME/dataset.json              what it is: classes, digests, sizes, options
NAME/labels.npz                ids, labels and file digests of each split
NAME/train.npy                 training images at 280 x 280
NAME/validation.npy, test.npy  the others at 224 x 224
NAME/quarantine.json           images that were converted, left out or cannot be used, with reasons
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.filesize import decimal

from ...errors import InputError
from ...files import OTHER_DATA_ROOT, locked, open_durably, replacing, write_durably, writing
from ...terminal import print_line
from ..dataset import Dataset, Split, in_pieces
from ..images.cache import (
    BadImagesError,
    Cache,
    ImageFile,
    build_cache,
    decode_chunk,
    find_cache,
    is_built,
    open_pixels,
)
from ..images.decode import DECODER_VERSION
from ..images.reports import ImageReport, ids_digest, read_reports
from .array_files import DAMAGE, map_array

MANIFEST = "dataset.json"
LABELS = "labels.npz"
QUARANTINE = "quarantine.json"
# A folder of the data root that holds no dataset.
DOWNLOADS = "downloads"
FORMAT = 1
# The published crops of training images keep .8 to 1 of each side: .8 x 280 = 224, so that none is enlarged.
SIDES = {"train": 280, "validation": 224, "test": 224}
# Images of a split that are decoded first, to learn how many of 16 bits they use; if others use more, all are decoded
# once more.
SAMPLE = 32
# Called with what is being done, how much more of it was done, and how much there is.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False, kw_only=True)
class SplitLabels:
    """A split without its pixels: `(N,)` unique ids, `(N, C)` uint8 labels of 0/1.

    The `(N,)` SHA-256 of the image files are left out (none at all) where the ids name well-known files.
    """

    ids: NDArray[np.str_]
    labels: NDArray[np.uint8]
    file_digests: NDArray[np.str_] = field(default_factory=lambda: np.empty(0, dtype="U64"))

    def digest(self, side: int) -> str:
        """SHA-256 over ids, labels, image files and how they are decoded: the split's identity."""
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
class StartingWeights:
    """Weights that a dataset's backbone starts from, unless a run names others."""

    weights: str  # `random`, the absolute path of a file, or empty for the backbone's published ones
    digest: str  # SHA-256 of the file, its first 8 digits for torchvision's own; or `random`
    input: str | None = None  # that the weights expect, by name; None is theirs
    padding: str | None = None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `dataset.json` says."""

    name: str
    summary: str
    source: str
    recipe: str
    backbone: str
    classes: tuple[str, ...]  # in column order
    digests: Mapping[str, str]  # of each split, as `SplitLabels.digest` gives them
    images: Mapping[str, int]  # how many each split has
    options: Mapping[str, Any]  # what it was built with
    weights: StartingWeights | None = None  # None is the backbone's published ones
    format: int = FORMAT


def describe_splits(splits: Mapping[str, SplitLabels], **about: Any) -> Manifest:
    """The manifest of splits; `about` holds its other values."""
    digests = {name: split.digest(SIDES[name]) for name, split in splits.items()}
    return Manifest(digests=digests, images={name: len(split.ids) for name, split in splits.items()}, **about)


@contextmanager
def building(name: str, data_root: Path) -> Iterator[None]:
    """Hold the lock of a dataset: if several processes need the same one, one builds it and the others wait.

    Raises `InputError` if the data root cannot be written, or the disk gets full.
    """
    with (
        writing(f"the dataset {name!r} under {data_root}"),
        locked(data_root / f".{name}.lock", f"building the dataset {name!r}"),
    ):
        yield


def write_prepared(folder: Path, manifest: Manifest, splits: Mapping[str, SplitLabels]) -> None:
    """Write labels and manifest, unless they are there; the manifest is written last and makes the folder a dataset.

    The manifest of another dataset is removed first, so that none ever lies beside labels that are not its own.
    """
    with suppress(InputError):
        if read_manifest(folder) == manifest and all(read_split_labels(folder, manifest, name) for name in splits):
            return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    arrays: dict[str, Any] = {}
    for name, split in splits.items():
        arrays |= {f"{name}_ids": split.ids, f"{name}_labels": split.labels, f"{name}_files": split.file_digests}
    with open_durably(folder / LABELS) as file:
        np.savez(file, **arrays)
    write_durably(folder / MANIFEST, json.dumps(asdict(manifest), indent=1).encode())


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder, or None where there is no whole one.

    Raises `InputError` if it is of another version, or damaged.
    """
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    try:
        if content["format"] != FORMAT:
            other = f"has format {content['format']!r}, this version reads {FORMAT}"
            raise InputError(f"{folder / MANIFEST} {other}; prepare or import it again")
        weights = StartingWeights(**content["weights"]) if content.get("weights") else None
        manifest = Manifest(**content | {"classes": tuple(content["classes"]), "weights": weights})
        _ = [(manifest.digests[name], manifest.images[name]) for name in content["digests"]]
    except (KeyError, TypeError) as error:
        raise _spoilt(folder, f"{folder / MANIFEST} is damaged ({error})") from error
    return manifest


def open_prepared(folder: Path, manifest: Manifest, *, cure: str = "prepare or import it again") -> Dataset:
    """Open the dataset of a folder; labels and images are read when first asked for.

    `cure` says what to do about missing images, of the split `{split}`.
    """
    digests = manifest.digests
    openers = {name: partial(_open_split, folder, manifest, name, cure) for name in digests}
    labels = {name: partial(_open_labels, folder, manifest, name) for name in digests}
    return Dataset(name=manifest.name, classes=manifest.classes, digests=digests, openers=openers, label_openers=labels)


def read_split_labels(folder: Path, manifest: Manifest, name: str) -> SplitLabels:
    """Ids, labels and file digests of a split, memory-mapped, so that they need not stay in memory.

    Raises `InputError` if they are damaged, or are not the recorded ones.
    """
    try:
        ids, labels, files = (map_array(folder / LABELS, f"{name}_{key}") for key in ("ids", "labels", "files"))
        split = SplitLabels(ids=ids, labels=labels, file_digests=files)
        digest = split.digest(SIDES[name])
    except DAMAGE as error:
        raise _spoilt(folder, f"{folder / LABELS} is damaged ({error})") from error
    if digest != manifest.digests[name]:
        raise _spoilt(folder, f"{manifest.name}: the {name} labels in {folder / LABELS} are not those of {MANIFEST}")
    return split


def _spoilt(folder: Path, what: str) -> InputError:
    return InputError(f"{what}; delete {folder} and prepare or import it again")


def _open_labels(folder: Path, manifest: Manifest, name: str) -> NDArray[np.uint8]:
    return read_split_labels(folder, manifest, name).labels


def _open_split(folder: Path, manifest: Manifest, name: str, cure: str) -> Split:
    labels = read_split_labels(folder, manifest, name)
    cache = find_cache(folder / f"{name}.npy")
    if cache is None:
        raise InputError(f"the {name} images of {manifest.name} are not under {folder}; {cure.format(split=name)}")
    pixels = open_pixels(cache.path)
    ids = (one for _, some in in_pieces(labels.ids) for one in some)
    if len(pixels) != len(labels.ids) or cache.ids != ids_digest(ids):
        raise _spoilt(folder, f"{cache.path} holds other images than {LABELS}")
    digest, bits = manifest.digests[name], max(cache.scales, default=0)
    return Split(images=pixels, labels=labels.labels, ids=labels.ids, recorded_digest=digest, bits=bits)


def decode_splits(
    folder: Path,  # of the dataset
    files: Mapping[str, Sequence[ImageFile]],  # of each split that is wanted
    *,
    cure: str,  # what to do about images that cannot be used, as the end of a message
    workers: int = 1,  # processes that decode
    leave_out: bool = False,  # continue without images that cannot be used
    on_progress: Progress = lambda activity, more, total: None,
) -> dict[str, Cache]:
    """Decode splits into a dataset's folder; write its quarantine report, also when images cannot be used.

    Images of 16 bits are scaled alike in all splits: by the fewest bits that hold all of their values.

    Raises `InputError` before any image is decoded, if the disk has too little room, and after all were tried, if some
    cannot be used; whole splits are kept.
    """
    lacking = check_room(folder, files)
    some = [file for name in lacking for file in files[name][:: max(1, len(files[name]) // SAMPLE)]]
    likely = max((report.bits for report in decode_chunk(8, some)[1]), default=0) or 8

    def build(name: str, bits: int | None = None) -> Cache:
        path, report = folder / f"{name}.npy", partial(on_progress, f"decoding {name}" + " alike" * bool(bits))
        return build_cache(
            files[name], path, SIDES[name], workers=workers, leave_out=leave_out, bits=bits, likely=likely,
            on_progress=report,
        )  # fmt: skip

    caches, errors = dict[str, Cache](), list[BadImagesError]()
    for name in files:
        try:
            caches[name] = build(name)
        except BadImagesError as error:
            errors.append(error)
    if not errors:
        deepest = max((depth for cache in caches.values() for depth in cache.depths), default=None)
        for name in [name for name, cache in caches.items() if not cache.scales <= {deepest}]:
            caches[name] = build(name, deepest)
    _write_quarantine(folder)
    if errors:
        bad = [report for error in errors for report in error.bad]
        everything = sum(cache.images for cache in caches.values()) + sum(error.images for error in errors)
        lines = [f"{len(bad)} of {everything} images cannot be used:"]
        lines += [f"  {report.path}: {report.problem}" for report in bad[:10]]
        lines += [f"  ... and {len(bad) - 10} more"] if len(bad) > 10 else []
        raise InputError("\n".join([*lines, f"all of them, with reasons: {folder / QUARANTINE}. {cure}"]))
    return caches


def check_room(folder: Path, files: Mapping[str, Sequence[ImageFile]]) -> list[str]:
    """Say how much room the decoded images take of splits that are not there yet; return the names of these.

    Raises `InputError` if there is less.
    """
    paths = {name: folder / f"{name}.npy" for name in files}
    lacking = [name for name, images in files.items() if not is_built(images, paths[name], SIDES[name])]
    if not lacking:
        return []
    needed = sum(len(files[name]) * SIDES[name] ** 2 * 3 for name in lacking)
    # What an earlier command left there is overwritten.
    left = [path.stat() for name in lacking for path in folder.glob(f"*{name}.npy*")]
    free = shutil.disk_usage(folder).free + sum(file.st_size for file in left if file.st_nlink == 1)
    what = f"{sum(len(files[name]) for name in lacking):,} images"
    if needed > free:
        lack = f"{what} take {decimal(needed)} when decoded, and {folder.parent} has {decimal(free)} free"
        raise InputError(f"{lack}; {OTHER_DATA_ROOT}")
    print_line(f"decoding {what}: {decimal(needed)} under {folder.parent} ({decimal(free)} free)")
    return lacking


def _write_quarantine(folder: Path) -> None:
    """Write the report on all splits, also on those that were decoded earlier, as it is read from their tables."""
    with replacing(folder / QUARANTINE) as file:
        for key, kind, field_name in (("unusable", "problem", "reason"), ("converted", "note", "what")):
            file.write(b'{\n "%s": [' % key.encode() if key == "unusable" else b'],\n "%s": [' % key.encode())
            for i, (split, report) in enumerate(_reports(folder, kind)):
                entry = {"split": split, "image": report.id, "path": report.path, field_name: getattr(report, kind)}
                file.write((", " * bool(i) + "\n  " + json.dumps(entry)).encode())
        file.write(b"]\n}\n")


def _reports(folder: Path, kind: str) -> Iterator[tuple[str, ImageReport]]:
    """Reports that have a problem, or a note."""
    for split in SIDES:
        for report in read_reports(folder / f"{split}.npy"):
            if getattr(report, kind):
                yield split, report


def describe_reports(folder: Path, caches: Mapping[str, Cache]) -> list[str]:
    """What became of images that were left out or converted, a line each, with the file that lists all of them.

    The caches may lie in another folder than when they were built.
    """
    numbers, first = Counter[object](), dict[object, str]()
    for cache in caches.values():
        for report in read_reports(folder / cache.path.name, cache.table):
            for what, why in (("left out", report.problem), ("converted", report.note), (report.bits, report.note)):
                if what and why:
                    numbers[what] += 1
                    first.setdefault(what, report.path if what == report.bits else f"{report.path} ({why})")
    lines = [
        f"{what}: {numbers[what]:,} image{'s' * (numbers[what] > 1)}, such as {first[what]}; "
        f"listed in {folder / QUARANTINE}"
        for what in ("left out", "converted")
        if what in numbers
    ]
    depths = sorted({depth for cache in caches.values() for depth in cache.depths}, reverse=True)
    if len(depths) > 1:
        used = [
            f"{numbers[depth]:,} of {depth} bits keep {256 >> depths[0] - depth} grey levels (such as {first[depth]})"
            for depth in depths
        ]
        lines.append(
            f"images of 16 bits are scaled alike, by the {depths[0]} that the deepest use: {', '.join(used)}. If those "
            "are wrong, save them with 8 bits and import again"
        )
    return lines
