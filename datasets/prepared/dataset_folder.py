"""Datasets of image files on disk: a folder with labels, decoded images and a `dataset.json` that is written last.

NAME/dataset.json              what it is: classes, digests, sizes, options
NAME/labels.npz                ids, labels and file digests of each split
NAME/train.npy                 training images at 280 x 280
NAME/validation.npy, test.npy  the others at 224 x 224
NAME/quarantine.json           images that were converted, left out or cannot be used, with reasons
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...files import locked, open_durably, replacing, write_durably, writing
from ..dataset import Dataset, Split, in_pieces
from ..images import cache as image_cache
from ..images.cache import BadImagesError, Cache, ImageFile, ImageReport, find_cache, open_pixels
from ..images.decode import DECODER_VERSION
from .array_files import DAMAGE, map_array

MANIFEST = "dataset.json"
LABELS = "labels.npz"
QUARANTINE = "quarantine.json"
# A folder of the data root that holds no dataset.
DOWNLOADS = "downloads"
FORMAT = 1
# The published crops of training images keep .8 to 1 of each side: .8 x 280 = 224, so that none is enlarged.
SIDES = {"train": 280, "validation": 224, "test": 224}
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
    kept = [image.id for image in cache.images if not image.problem]
    if kept != labels.ids.tolist() or len(pixels) != len(kept):
        raise _spoilt(folder, f"{cache.path} holds other images than {LABELS}")
    return Split(images=pixels, labels=labels.labels, ids=labels.ids, recorded_digest=manifest.digests[name])


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

    Raises `InputError` after all images were tried, if some cannot be used; whole splits are kept.
    """
    caches, reports = dict[str, Cache](), dict[str, Sequence[ImageReport]]()
    for name, images in files.items():
        path, report = folder / f"{name}.npy", partial(on_progress, f"decoding {name}")
        try:
            cache = image_cache.build_cache(
                images, path, SIDES[name], workers=workers, leave_out=leave_out, on_progress=report
            )
            caches[name], reports[name] = cache, cache.images
        except BadImagesError as error:
            reports[name] = error.images
    _write_quarantine(folder, reports)
    if len(caches) < len(files):
        everything = [report for split in reports.values() for report in split]
        bad = [report for report in everything if report.problem]
        lines = [f"{len(bad)} of {len(everything)} images cannot be used:"]
        lines += [f"  {report.path}: {report.problem}" for report in bad[:10]]
        lines += [f"  ... and {len(bad) - 10} more"] if len(bad) > 10 else []
        raise InputError("\n".join([*lines, f"all of them, with reasons: {folder / QUARANTINE}. {cure}"]))
    return caches


def _write_quarantine(folder: Path, reports: Mapping[str, Sequence[ImageReport]]) -> None:
    """Write the report on all splits; on those that were decoded earlier, it is taken from their records."""
    entries: dict[str, list[dict[str, str]]] = {"unusable": [], "converted": []}
    for split in SIDES:
        earlier = image_cache.read_record(folder / f"{split}.npy").get("images", ())
        for report in reports[split] if split in reports else [ImageReport(**image) for image in earlier]:
            entry = {"split": split, "image": report.id, "path": report.path}
            if report.problem:
                entries["unusable"].append(entry | {"reason": report.problem})
            elif report.note:
                entries["converted"].append(entry | {"what": report.note})
    with replacing(folder / QUARANTINE) as file:
        file.write(json.dumps(entries, indent=1).encode())


def describe_reports(folder: Path, caches: Mapping[str, Cache]) -> list[str]:
    """What became of images that were left out or converted, a line each, with the file that lists all of them."""
    reports = [report for cache in caches.values() for report in cache.images]
    left_out = [(report.path, report.problem) for report in reports if report.problem]
    converted = [(report.path, report.note) for report in reports if report.note]
    listed = f"listed in {folder / QUARANTINE}"
    return [
        f"{what}: {len(found)} image{'s' * (len(found) > 1)}, such as {found[0][0]} ({found[0][1]}); {listed}"
        for what, found in (("left out", left_out), ("converted", converted))
        if found
    ]
