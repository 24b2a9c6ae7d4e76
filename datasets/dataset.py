"""Datasets as values: named classes and up to three splits, each with one digest, opened when first asked for."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, require_known
from .long_tail.statistics import ClassStatistics, as_label_matrix

SPLITS = ("train", "validation", "test")
# Ids converted to Python strings at a time: a million at once take 200 MB.
IDS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False, kw_only=True)
class Split:
    """Images `(N, H, W, 3)` uint8 RGB with labels `(N, C)` uint8 and unique ids `(N,)`, perhaps memory-mapped.

    Labels are 0, 1 and `UNKNOWN` (255), which statistics, losses and metrics leave out.
    `recorded_digest` is the identity of a split whose pixels are too many to be hashed at every start and are checked
    by other means; None to hash them. Of images of 16 bits, `bits` were used to scale them; 0 where there are none.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    ids: NDArray[np.str_]
    recorded_digest: str | None = None
    bits: int = 0

    def __post_init__(self) -> None:
        as_label_matrix(self.labels)
        if self.labels.dtype != np.uint8 or self.ids.dtype.kind != "U":
            cure = '`labels.astype("int8").view("uint8")` makes them of 0, 1 and -1'
            raise InputError(
                f"labels must be uint8 and ids strings; got {self.labels.dtype} and {self.ids.dtype}. Of labels, {cure}"
            )
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[3] != 3:
            raise InputError(f"images must be uint8 (N, H, W, 3); got {self.images.dtype} {self.images.shape}")
        images, rows, ids = len(self.images), len(self.labels), len(self.ids)
        if not images == rows == ids:
            raise InputError(f"{images} images, {rows} label rows, {ids} ids: not one each")
        # By hashes, .2 s a million, where `np.unique` of the ids takes 2 s and 110 MB; different ids may share a hash.
        hashes = np.fromiter((hash(one) for _, some in in_pieces(self.ids) for one in some), np.int64, len(self.ids))
        if len(np.unique(hashes)) < len(hashes) and len(np.unique(self.ids)) < len(self.ids):
            raise InputError("image ids are not unique")

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over shapes, ids, labels and pixels, or the recorded digest."""
        if self.recorded_digest is not None:
            return self.recorded_digest
        digest = hashlib.sha256(f"{self.images.shape} {self.labels.shape}\n".encode())
        for start, some in in_pieces(self.ids):
            digest.update(("\n" * bool(start) + "\n".join(some)).encode())
        digest.update(np.ascontiguousarray(self.labels).data)
        digest.update(np.ascontiguousarray(self.images).data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """A long-tailed multi-label dataset; each split is opened at most once, when it is first asked for."""

    name: str
    classes: tuple[str, ...]  # C names, in column order
    digests: Mapping[str, str]  # SHA-256 of each split, known without opening it
    openers: Mapping[str, Callable[[], Split]]
    # For the labels of a split without its images, where that is possible.
    label_openers: Mapping[str, Callable[[], NDArray[np.uint8]]] = field(default_factory=dict)
    _opened: dict[str, Split] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def in_memory(cls, name: str, classes: Iterable[str], splits: Mapping[str, Split]) -> Self:
        """A dataset of splits that are open already."""
        openers = {split: partial(splits.__getitem__, split) for split in splits}
        return cls(name=name, classes=tuple(classes), digests={k: s.digest for k, s in splits.items()}, openers=openers)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of its splits, `train` first: any but `train` may be missing."""
        return tuple(name for name in SPLITS if name in self.digests)

    def require_validation(self, what: str) -> None:
        """Raise `InputError` unless there is a validation split, which `what` scores."""
        if "validation" not in self.splits:
            cure = "import it with one: without --no-validation, with --replace"
            raise InputError(f"{self.name} has no validation split, which {what} scores; {cure}")

    def split(self, name: str) -> Split:
        """Open one of `splits`.

        Raises `InputError` if the split is unknown, or its content does not have the recorded digest.
        """
        require_known(f"split of {self.name}", name, self.openers)
        if name not in self._opened:
            split = self.openers[name]()
            if split.digest != self.digests[name]:
                found = f"{split.digest[:12]}, expected {self.digests[name][:12]}; its files were changed"
                cure = "Delete its folder under the data root and prepare or import it again"
                raise InputError(f"{self.name}: the {name} split has digest {found}. {cure}")
            self._opened[name] = split
        return self._opened[name]

    def labels(self, name: str) -> NDArray[np.uint8]:
        """Labels `(N, C)` of a split, without its images where they are stored apart."""
        return self.label_openers[name]() if name in self.label_openers else self.split(name).labels

    @cached_property
    def statistics(self) -> ClassStatistics:
        """Class statistics of the training split."""
        return ClassStatistics.from_labels(self.labels("train"), class_names=self.classes)

    @property
    def digest(self) -> str:
        """SHA-256 over the class names and the digests of all splits: the dataset's identity."""
        lines = [*self.classes, *(f"{name} {self.digests[name]}" for name in sorted(self.digests))]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def in_pieces(ids: NDArray[np.str_]) -> Iterator[tuple[int, list[str]]]:
    """Ids as Python strings, some at a time, with the position of the first."""
    for start in range(0, len(ids), IDS_AT_ONCE):
        yield start, ids[start : start + IDS_AT_ONCE].tolist()
