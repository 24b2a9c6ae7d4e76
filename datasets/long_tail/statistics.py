"""Label matrices `(N, C)` of 0/1 and their statistics: all that losses, samplers and figures know of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError

if TYPE_CHECKING:  # SciPy loads where labels are sparse, and are so already
    from scipy.sparse import csr_array

# Paper, Sec. 4.2: head "over 100" training images, medium 20 to 100, tail under 20. Its own group sizes, 6/6/8
# (VOC-MLT) and 22/33/25 (COCO-MLT), need head >= 100: pottedplant and backpack have exactly 100 images.
HEAD_AT_LEAST = 100
TAIL_BELOW = 20

GROUPS = ("head", "medium", "tail")
# Okabe and Ito's colours, which differ with any colour vision; every picture of groups has them.
GROUP_COLOURS = {"head": "#0072B2", "medium": "#E69F00", "tail": "#D55E00"}

# In a label matrix of 0/1: whether the image has the class is not known. As int8 it is -1, which says so in tensors.
UNKNOWN = 255

# Label cells counted at a time, so that memory does not grow with the dataset; and rows at least, if classes are many.
CELLS_AT_ONCE = 2**18
ROWS_AT_LEAST = 4096


def as_label_matrix(labels: Any) -> NDArray[np.uint8]:
    """A dense uint8 matrix `(N, C)` of 0/1 from nested lists, a NumPy array, a CPU tensor or a SciPy sparse matrix.

    One that is so already is not copied. Raises `InputError` if it is not a matrix with at least one row and one
    column, or holds anything but 0 and 1.

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
        found = f"row {row}, column {column} holds {dense[row, column]!s} ({int(wrong.sum())} such cells)"
        cure = "Binarise the matrix first, for example `labels = labels > 0`"
        raise InputError(f"labels must be 0 or 1; {found}. {cure}")
    return dense.astype(np.uint8)


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassStatistics:
    """Counts and co-occurrence of the classes of a training set, by `from_labels` or `from_counts`.

    With counts alone, what needs co-occurrence raises `InputError`.
    """

    counts: NDArray[np.int64]  # (C,) images that hold each class (n_i), all positive
    num_images: int  # of the training set (N)
    # (C, C) images that hold both classes (n_ij), SciPy sparse if the labels were; None when built from counts alone.
    co_occurrence: NDArray[np.int64] | csr_array | None = None

    @classmethod
    def from_labels(cls, labels: Any, *, class_names: Sequence[str] | None = None) -> ClassStatistics:
        """Count a label matrix `(N, C)` of 0/1, dense or SciPy sparse.

        Raises `InputError` if a cell is not 0 or 1, or a class has no image.

        >>> ClassStatistics.from_labels([[1, 0], [1, 1]]).counts.tolist()
        [2, 1]
        """
        counts, joint, number = _count_sparse(labels) if hasattr(labels, "tocsr") else _count_dense(labels)
        _require_every_class(counts, class_names)
        return cls(counts=counts, num_images=number, co_occurrence=joint)

    @classmethod
    def from_counts(cls, counts: Any, num_images: int) -> ClassStatistics:
        """Take class counts `(C,)` and the number of images as they are; co-occurrence stays unknown.

        Raises `InputError` if a count is not a whole number from 1 to `num_images`.

        >>> ClassStatistics.from_counts([90, 10], 95).num_classes
        2
        """
        given = np.asarray(counts)
        if given.ndim != 1 or given.size == 0:
            raise InputError(f"counts must be a vector of one number per class; got shape {given.shape}")
        if not np.array_equal(given, np.floor(given)):
            raise InputError("counts must be whole numbers: images per class, not frequencies")
        whole = given.astype(np.int64)
        _require_every_class(whole, None)
        if (most := int(whole.max())) > num_images:
            raise InputError(f"class {int(whole.argmax())} counts {most} images, more than num_images={num_images}")
        return cls(counts=whole, num_images=int(num_images))

    @property
    def num_classes(self) -> int:
        """Number of classes (C)."""
        return len(self.counts)

    @property
    def group_names(self) -> tuple[str, ...]:
        """Group of each class: `head`, `medium` or `tail`."""
        return tuple(GROUPS[(n < HEAD_AT_LEAST) + (n < TAIL_BELOW)] for n in self.counts.tolist())

    def group_mask(self, group: str) -> NDArray[np.bool_]:
        """Classes of one group as a mask `(C,)`."""
        return np.array([name == group for name in self.group_names])

    @property
    def group_sizes(self) -> str:
        """How many classes each group has, for people to read: `head 6, medium 6, tail 8`."""
        return ", ".join(f"{group} {self.group_names.count(group)}" for group in GROUPS)

    @property
    def joint_counts(self) -> NDArray[np.int64]:
        """Images that hold both classes, n_ij `(C, C)`, dense."""
        known = self._known_co_occurrence()
        return known if isinstance(known, np.ndarray) else known.toarray()

    @cached_property
    def conditional(self) -> NDArray[np.float64]:
        """Conditional probabilities `(C, C)`, dense: entry `[i, j]` is p(i|j) = n_ij / n_j (Sec. 3.1)."""
        return self.joint_counts / self.counts[None, :]

    @cached_property
    def expected_frequencies(self) -> NDArray[np.float64]:
        """Class frequencies under class-aware sampling `(C,)`: p-hat_i = mean over j of p(i|j) (Eq. 1)."""
        known = self._known_co_occurrence()
        if isinstance(known, np.ndarray):
            return np.asarray(self.conditional.mean(axis=1))
        return np.asarray(known @ (1 / self.counts)) / self.num_classes

    def _known_co_occurrence(self) -> NDArray[np.int64] | csr_array:
        if self.co_occurrence is None:
            built = "these statistics were built from counts; use ClassStatistics.from_labels(labels) instead"
            raise InputError(f"co-occurrence is unknown: {built}")
        return self.co_occurrence


def instance_level_frequency(labels: NDArray[np.uint8], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Expected sampling frequency of each image `(N,)`: P^I = (1/C) sum of 1/n_i over its labels (Eq. 2)."""
    return labels @ (1.0 / (len(counts) * counts))


def within_class_sampling_variance(labels: Any) -> NDArray[np.float64]:
    """Variance of the normalised sampling times within each class `(C,)` (Sec. 4.4 and Fig. 5).

    For each class, the expected sampling times of its images (Eq. 2) are scaled to a mean of 1; their variance says
    how unequally class-aware sampling visits the images of the class.

    >>> within_class_sampling_variance([[1, 0], [1, 0], [0, 1]]).tolist()
    [0.0, 0.0]
    """
    matrix = as_label_matrix(labels)
    counts = ClassStatistics.from_labels(matrix).counts
    times = instance_level_frequency(matrix, counts)
    mean = (times @ matrix) / counts
    return np.asarray((times**2 @ matrix) / counts / mean**2 - 1.0).clip(min=0.0)


def _count_dense(labels: Any) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Counts, co-occurrence and number of images of a dense matrix.

    64 images of a class are the bits of one number: what two classes share is counted without a matrix product, whose
    threads took up to 15 s for a million images of 20 classes while other processes kept the cores busy; this takes
    .05 s.
    """
    matrix = as_label_matrix(labels)
    number, classes = matrix.shape
    joint = np.zeros((classes, classes), dtype=np.int64)
    at_once = max(CELLS_AT_ONCE // classes, ROWS_AT_LEAST)
    for start in range(0, number, at_once):
        rows = matrix[start : start + at_once]
        padded = np.zeros((classes, -(-len(rows) // 64) * 64), dtype=np.uint8)
        padded[:, : len(rows)] = rows.T
        bits = np.packbits(padded, axis=1).view(np.uint64)
        for i, of_class in enumerate(bits):
            joint[i] += np.bitwise_count(bits & of_class).sum(axis=1, dtype=np.int64)
    return joint.diagonal().copy(), joint, number


def _count_sparse(labels: Any) -> tuple[NDArray[np.int64], csr_array, int]:
    """The same of a SciPy sparse matrix; what it counts is sparse too."""
    rows = labels.tocsr(copy=True)
    rows.sum_duplicates()
    if rows.ndim != 2 or 0 in rows.shape or not ((rows.data == 0) | (rows.data == 1)).all():
        as_label_matrix(rows)  # says what is wrong
    rows = rows.astype(np.int64)
    joint = (rows.T @ rows).tocsr()
    return joint.diagonal(), joint, rows.shape[0]


def _require_every_class(counts: NDArray[np.int64], class_names: Sequence[str] | None) -> None:
    empty = np.flatnonzero(counts < 1)
    if empty.size:
        names = ", ".join(repr(class_names[i] if class_names else str(i)) for i in empty[:5])
        have = f"class {names} has" if empty.size == 1 else f"classes {names}{' ...' * (empty.size > 5)} have"
        cure = "n_i = 0 makes a weight and a bias infinite. Drop the column, or add an image of the class"
        raise InputError(f"{have} no training image ({empty.size} of {len(counts)} classes); {cure}")
