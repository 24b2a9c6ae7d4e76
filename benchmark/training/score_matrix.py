"""Scores of a split as one matrix, of which a large split's does not lie in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# 200,000 images of 20 classes. What is larger is mapped from a file.
BYTES_IN_MEMORY = 16 * 2**20


def gather_scores(
    pieces: Iterable[NDArray[np.float32]], shape: tuple[int, int], *, folder: Path | None = None
) -> NDArray[np.float32]:
    """Put rows of scores that come in order into one matrix, without a second copy.

    Beyond `BYTES_IN_MEMORY` it is read-only and mapped from a file that never has a name: when the matrix is let go, or
    the process dies, the file is gone.

    Args:
        pieces: `(n, C)` each.
        shape: (N, C).
        folder: where the file would lie; None takes the system's place for temporary files.

    Raises:
        OSError: if the disk is full, say.
    """
    if 4 * shape[0] * shape[1] <= BYTES_IN_MEMORY:
        matrix, start = np.empty(shape, np.float32), 0
        for rows in pieces:
            matrix[start : start + len(rows)] = rows
            start += len(rows)
        return matrix
    with tempfile.TemporaryFile(dir=folder) as file:
        # Written, not mapped for writing: a full disk is then an error, and not the end of the process.
        for rows in pieces:
            file.write(np.ascontiguousarray(rows).data)
        file.flush()
        return np.memmap(file, np.float32, "r", shape=shape)
