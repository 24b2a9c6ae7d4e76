"""Label matrices: what the whole suite means by `(N, C) of 0/1`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError


def as_label_matrix(labels: Any) -> NDArray[np.uint8]:
    """Return `labels` as a dense, checked uint8 matrix; one that is so already is returned itself, not copied.

    Args:
        labels: `(N, C)` of 0/1: nested lists, NumPy array, CPU tensor, or SciPy sparse matrix.

    Raises:
        InputError: if it is not a matrix with at least one row and one column, or holds anything but 0 and 1.

    >>> as_label_matrix([[1, 0], [0, 1]]).dtype
    dtype('uint8')
    """
    for strip in ("todense", "detach"):
        labels = getattr(labels, strip)() if hasattr(labels, strip) else labels
    try:
        dense = np.asarray(labels)
    except ValueError as error:
        raise InputError(f"labels must be a matrix (images, classes): {error}") from error
    if dense.ndim != 2 or 0 in dense.shape:
        raise InputError(f"labels must be a matrix (images, classes) with no empty side; got shape {dense.shape}")
    if dense.dtype == np.uint8 and dense.max() <= 1:
        return dense
    wrong = (dense != 0) & (dense != 1)
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        raise InputError(
            f"labels must be 0 or 1; row {row}, column {column} holds {dense[row, column]!s} "
            f"({int(wrong.sum())} such cells). Binarise the matrix first, for example `labels = labels > 0`"
        )
    return dense.astype(np.uint8)
