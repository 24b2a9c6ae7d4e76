"""Word vectors of class names, for heads that read the names: from a file, or made without any download."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from .array_files import DAMAGE
from .errors import InputError

DIMENSIONS = 300


@dataclass(frozen=True, eq=False, kw_only=True)
class WordVectors:
    """One vector per class.

    Attributes:
        vectors: `(C, D)` float32.
        source: where they come from, in words.
    """

    vectors: NDArray[np.float32]
    source: str

    @property
    def digest(self) -> str:
        """SHA-256 of the vectors."""
        return hashlib.sha256(np.ascontiguousarray(self.vectors).data).hexdigest()


def hashed_word_vectors(classes: Sequence[str], *, dimensions: int = DIMENSIONS) -> WordVectors:
    """The default that needs no download: a fixed Gaussian vector of length 1 per name, knowing nothing of meaning.

    Averaging vectors of a name's words instead (so that `red 1` is near `red 2`) lost 5 points of total mAP and 11 of
    tail mAP on Digits-MLT's validation split (ML-GCN, seed 0: 68.8 / 41.6 against 73.3 / 52.4).

    >>> hashed_word_vectors(["red 1", "red 2"]).vectors.shape
    (2, 300)
    """
    rows = [_name_vector(name, dimensions) for name in classes]
    return WordVectors(vectors=np.stack(rows).astype(np.float32), source="hashed names (no file given)")


def read_word_vectors(path: Path, classes: Sequence[str]) -> WordVectors:
    """Read word vectors of the classes from a file.

    Args:
        path: `.npz` with `classes` (C,) and `vectors` (C, D), or GloVe's text format (a word and D numbers a line).
        classes: class names; in a text file a name of several words is the mean of its words.

    Raises:
        InputError: if the file cannot be read, or a class is not in it.
    """
    if not path.is_file():
        raise InputError(
            f"no file of word vectors at {path}; give a GloVe text file or an .npz with classes and vectors"
        )
    words = {word for name in classes for word in [name, *name.lower().split()]}
    table = _read_npz(path) if path.suffix == ".npz" else _read_text(path, words)
    rows, missing = [], []
    for name in classes:
        parts = [name] if name in table else name.lower().split()
        missing += [part for part in parts if part not in table]
        rows.append([table[part] for part in parts if part in table])
    if missing:
        raise InputError(
            f"{path} has no vector for {', '.join(map(repr, missing[:5]))}; add it, or choose another file"
        )
    vectors = np.stack([np.mean(row, axis=0) for row in rows]).astype(np.float32)
    return WordVectors(vectors=vectors, source=path.name)


def _name_vector(name: str, dimensions: int) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.sha256(name.lower().encode()).digest()[:4], "big")
    vector = RandomState(seed).standard_normal(dimensions)
    return np.asarray(vector / np.linalg.norm(vector))


def _read_npz(path: Path) -> dict[str, NDArray[np.float32]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(zip(arrays["classes"].tolist(), arrays["vectors"], strict=True))
    except DAMAGE as error:
        raise InputError(f"{path} must hold the arrays `classes` (C,) and `vectors` (C, D): {error}") from error


def _read_text(path: Path, words: set[str]) -> dict[str, NDArray[np.float32]]:
    table: dict[str, NDArray[np.float32]] = {}
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            word, _, numbers = line.rstrip().partition(" ")
            if word not in words:
                continue
            try:
                table[word] = np.array(numbers.split(), dtype=np.float32)
            except ValueError as error:
                raise InputError(f"{path}, line {number}: {error}; a line is a word and its numbers") from error
            if not numbers or len(table[word]) != len(next(iter(table.values()))):
                raise InputError(f"{path}, line {number}: {word!r} has {len(table[word])} numbers, unlike the first")
    return table
