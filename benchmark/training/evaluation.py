"""Scores of a split as one matrix; that of a large split does not lie in memory."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

EVALUATION_BATCH = 256
# Images whose scores are copied to the host together: a device is waited for only then.
EVALUATED_AT_ONCE = 8 * EVALUATION_BATCH
# 200,000 images of 20 classes. What is larger is mapped from a file.
BYTES_IN_MEMORY = 16 * 2**20


def in_batches(score: Callable[[Tensor], Tensor], images: int) -> Iterator[NDArray[np.float32]]:
    """Score images `0..images` by a function of their indices; yield rows of several batches at a time."""
    for start in range(0, images, EVALUATED_AT_ONCE):
        batches = torch.split(torch.arange(start, min(start + EVALUATED_AT_ONCE, images)), EVALUATION_BATCH)
        yield torch.cat([score(indices) for indices in batches]).cpu().numpy()


def gather_scores(
    pieces: Iterable[NDArray[np.float32]], shape: tuple[int, int], *, folder: Path | None = None
) -> NDArray[np.float32]:
    """Put rows of scores that come in order into one matrix, without a second copy.

    Beyond `BYTES_IN_MEMORY` it is read-only and mapped from a file that never has a name: when the matrix is freed, or
    the process dies, the file is gone.

    The pieces are `(n, C)` each, `shape` is (N, C); the file would lie in `folder`, by default the system's.

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
