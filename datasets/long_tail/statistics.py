"""Label matrices `(N, C)` and their statistics: all that losses, samplers and figures know of a dataset."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from operator import index
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

MAKES_A_MATRIX = "scikit-learn's MultiLabelBinarizer makes a matrix"


def as_label_matrix(labels: Any) -> NDArray[np.uint8]:
    """A dense uint8 matrix `(N, C)` of 0, 1 and `UNKNOWN` from anything that is a matrix of labels.

    That is nested lists, a NumPy array, a pandas DataFrame (of classes alone), a tensor or a SciPy sparse matrix, of
    any type of numbers. -1 means unknown, and so does 255 in uint8 and what a masked array masks. A matrix that is so
    already is not copied.

    Raises:
        InputError: if it is not a matrix with at least one row and one column, or a cell is anything else; the message
            names its row and column, and the cure.

    >>> as_label_matrix([[1, 0], [-1, 1]]).tolist()
    [[1, 0], [255, 1]]
    """
    if hasattr(labels, "iloc") and labels.ndim == 2 and 0 not in labels.shape:
        # Column by column, for each has a type of its own.
        columns = ((name, _as_array(labels.iloc[:, i])) for i, name in enumerate(labels.columns))
        return np.hstack([_cells(column[:, None], [name]) for name, column in columns])
    dense = _as_array(labels)
    if dense.ndim != 2 or 0 in dense.shape:
        raise InputError(f"labels must be a matrix (images, classes) with no empty side; got shape {dense.shape}")
    return _cells(dense, range(dense.shape[1]))


def cure_for_label(value: object) -> str:
    """What to do about a cell of labels that is neither 0 nor 1 nor unknown, as a sentence.

    >>> cure_for_label(None)
    'Fill what is missing: with 0 where the class is absent, with -1 where that is unknown'
    """
    if str(value).strip().lower() in ("", "none", "nan", "nat", "<na>"):
        return "Fill what is missing: with 0 where the class is absent, with -1 where that is unknown"
    if not isinstance(value, Real):
        return "Labels are numbers: drop columns that are no classes, such as ids, and turn text into numbers"
    number = float(value)
    if 0 < number < 1:
        return "Soft labels cannot be counted: give the hard labels that they were made of"
    if number == UNKNOWN:
        return "Unknown labels are -1; 255 means so in uint8 alone"
    if number > 1 and number.is_integer():
        counts = "of counts, `labels > 0` makes labels"
        return f"Drop columns that are no classes, such as ids; {counts}; of indices of classes, {MAKES_A_MATRIX}"
    return "1 means that the class is there, 0 that it is not, -1 that this is unknown"


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassStatistics:
    """Counts and co-occurrence of the classes of a training set, by `from_labels` or `from_counts`.

    Of labels with unknown cells, each statistic is that of the images in which its classes are known. With counts
    alone, what needs co-occurrence raises `InputError`.
    """

    counts: NDArray[np.int64]  # (C,) images that hold each class (n_i), all positive
    num_images: int  # of the training set (N)
    known_images: NDArray[np.int64]  # (C,) images in which each class is known: N, where no label is unknown
    # (C, C) images that hold both classes (n_ij), SciPy sparse if the labels were; None when built from counts alone.
    co_occurrence: NDArray[np.int64] | csr_array | None = None
    # (C, C) images that hold class j in which class i is unknown, as `co_occurrence`; None where no label is unknown.
    unknown_beside: NDArray[np.int64] | csr_array | None = None

    @classmethod
    def from_labels(cls, labels: Any, *, class_names: Sequence[str] | None = None) -> ClassStatistics:
        """Count a label matrix `(N, C)` of 0, 1 and -1 (unknown), in any form that `as_label_matrix` takes.

        Raises `InputError` if a cell is anything else, or a class has no image.

        >>> ClassStatistics.from_labels([[1, 0], [1, 1], [-1, 1]]).counts.tolist()
        [2, 2]
        """
        names = getattr(labels, "columns", ()) if class_names is None else class_names
        found = _count_sparse(labels) if hasattr(labels, "tocsr") else _count_dense(as_label_matrix(labels))
        _require_every_class(found.counts, names)
        return found

    @classmethod
    def from_counts(cls, counts: Any, num_images: int) -> ClassStatistics:
        """Take class counts `(C,)` and the number of images as they are; co-occurrence stays unknown.

        Raises `InputError` if they are not whole numbers, a count from 1 to `num_images`.

        >>> ClassStatistics.from_counts([90, 10], 95).num_classes
        2
        """
        if isinstance(counts, Mapping):
            cure = "Pass a list in the order of the logits' columns: [counts[name] for name in classes]"
            raise InputError(f"counts by name have no certain order. {cure}")
        given = _as_array(counts)
        if given.ndim != 1 or given.size == 0:
            raise InputError(f"counts must be a vector of one number per class; got shape {given.shape}")
        for i, count in enumerate(given.tolist()):
            if isinstance(count, bool) or not isinstance(count, Real) or not float(count).is_integer():
                raise InputError(
                    f"counts must be whole numbers: images per class, not frequencies; class {i}: {count!r}"
                )
        try:
            images = index(num_images)
        except TypeError:
            images = 0
        if images < 1:
            raise InputError(f"num_images must be a whole number, that of the training images; got {num_images!r}")
        whole = given.astype(np.int64)
        _require_every_class(whole, ())
        if (most := int(whole.max())) > images:
            raise InputError(f"class {int(whole.argmax())} counts {most} images, more than num_images={images}")
        return cls(counts=whole, num_images=images, known_images=np.full(len(whole), images))

    @property
    def num_classes(self) -> int:
        """Number of classes (C)."""
        return len(self.counts)

    @property
    def is_complete(self) -> bool:
        """Whether every class is known in every image."""
        return bool((self.known_images == self.num_images).all())

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
        return _dense(self._known_co_occurrence())

    @cached_property
    def conditional(self) -> NDArray[np.float64]:
        """Conditional probabilities `(C, C)`, dense: entry `[i, j]` is p(i|j) = n_ij / n_j (Sec. 3.1).

        Over the images in which both classes are known; NaN if no image with j is one.
        """
        if self.unknown_beside is None:
            return self.joint_counts / self.counts[None, :]
        with np.errstate(invalid="ignore"):
            return self.joint_counts / (self.counts[None, :] - _dense(self.unknown_beside))

    @cached_property
    def expected_frequencies(self) -> NDArray[np.float64]:
        """Class frequencies under class-aware sampling `(C,)`: p-hat_i = mean over j of p(i|j) (Eq. 1)."""
        joint = self._known_co_occurrence()
        if self.unknown_beside is not None:
            return np.asarray(np.nanmean(self.conditional, axis=1))
        if isinstance(joint, np.ndarray):
            return np.asarray(self.conditional.mean(axis=1))
        return np.asarray(joint @ (1 / self.counts)) / self.num_classes

    def _known_co_occurrence(self) -> NDArray[np.int64] | csr_array:
        if self.co_occurrence is None:
            built = "these statistics were built from counts; use ClassStatistics.from_labels(labels) instead"
            raise InputError(f"co-occurrence is unknown: {built}")
        return self.co_occurrence


def instance_level_frequency(labels: NDArray[np.uint8], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Expected sampling frequency of each image `(N,)`: P^I = (1/C) sum of 1/n_i over its labels (Eq. 2)."""
    return np.asarray((labels == 1) @ (1.0 / (len(counts) * counts)))


def within_class_sampling_variance(labels: Any) -> NDArray[np.float64]:
    """Variance of the normalised sampling times within each class `(C,)` (Sec. 4.4 and Fig. 5).

    For each class, the expected sampling times of its images (Eq. 2) are scaled to a mean of 1; their variance says
    how unequally class-aware sampling visits the images of the class.

    >>> within_class_sampling_variance([[1, 0], [1, 0], [0, 1]]).tolist()
    [0.0, 0.0]
    """
    matrix = as_label_matrix(labels)
    counts = ClassStatistics.from_labels(matrix).counts
    times, positive = instance_level_frequency(matrix, counts), matrix == 1
    mean = (times @ positive) / counts
    return np.asarray((times**2 @ positive) / counts / mean**2 - 1.0).clip(min=0.0)


def _count_dense(matrix: NDArray[np.uint8]) -> ClassStatistics:
    """Count a label matrix that `as_label_matrix` gave.

    64 images of a class are the bits of one number: what two classes share is counted without a matrix product, whose
    threads took up to 15 s for a million images of 20 classes while other processes kept the cores busy; this takes
    .05 s.
    """
    number, classes = matrix.shape
    joint, beside = np.zeros((2, classes, classes), dtype=np.int64)
    unknown = np.zeros(classes, dtype=np.int64)
    at_once = max(CELLS_AT_ONCE // classes, ROWS_AT_LEAST)
    for start in range(0, number, at_once):
        rows = matrix[start : start + at_once]
        positive = _bits(rows == 1)
        for i, of_class in enumerate(positive):
            joint[i] += np.bitwise_count(positive & of_class).sum(axis=1, dtype=np.int64)
        if rows.max() == UNKNOWN:
            unknown += (rows == UNKNOWN).sum(axis=0)
            for i, of_class in enumerate(_bits(rows == UNKNOWN)):
                beside[i] += np.bitwise_count(positive & of_class).sum(axis=1, dtype=np.int64)
    return _statistics(joint.diagonal().copy(), number, joint, unknown, beside)


def _bits(cells: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """A row of bits for each column, 64 a number, the last one filled up with zeros."""
    padded = np.zeros((cells.shape[1], -(-len(cells) // 64) * 64), dtype=np.bool_)
    padded[:, : len(cells)] = cells.T
    return np.packbits(padded, axis=1).view(np.uint64)


def _count_sparse(labels: Any) -> ClassStatistics:
    """Count a SciPy sparse matrix; what it counts is sparse too."""
    rows = labels.tocsr(copy=True)
    rows.sum_duplicates()
    if rows.ndim != 2 or 0 in rows.shape:
        as_label_matrix(rows)  # says what is wrong
    try:
        rows.data = _cells(rows.data[:, None], [""])[:, 0]
    except InputError:
        as_label_matrix(rows)  # says where
        raise
    positive, unknown = ((rows == value).astype(np.int64).tocsr() for value in (1, UNKNOWN))
    joint = (positive.T @ positive).tocsr()
    beside = (unknown.T @ positive).tocsr()
    return _statistics(joint.diagonal(), rows.shape[0], joint, np.asarray(unknown.sum(axis=0)).ravel(), beside)


def _statistics(counts: Any, number: int, joint: Any, unknown: NDArray[np.int64], beside: Any) -> ClassStatistics:
    return ClassStatistics(
        counts=counts,
        num_images=number,
        known_images=number - unknown,
        co_occurrence=joint,
        unknown_beside=beside if unknown.any() else None,
    )


def _dense(counts: NDArray[np.int64] | csr_array) -> NDArray[np.int64]:
    return counts if isinstance(counts, np.ndarray) else counts.toarray()


def _as_array(values: Any) -> NDArray[Any]:
    """A NumPy array of lists, of a column of a DataFrame, of a tensor on any device, of a sparse or a masked array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().to_dense()
        # NumPy has no bfloat16.
        values = values.float() if values.is_floating_point() and values.itemsize < 4 else values
    elif hasattr(values, "toarray"):
        values = values.toarray()
    elif np.ma.isMaskedArray(values):
        return np.where(np.ma.getmaskarray(values), np.int8(-1), np.ma.getdata(values))
    try:
        array = np.asarray(values)
        # Numbers beside text would all be text.
        return np.asarray(values, dtype=object) if array.dtype.kind in "US" else array
    except ValueError as error:
        cure = f"of lists of classes, {MAKES_A_MATRIX}"
        raise InputError(f"labels must be a matrix (images, classes), with rows of one length; {cure}") from error


def _cells(array: NDArray[Any], columns: Sequence[object]) -> NDArray[np.uint8]:
    """Labels `(N, C)` as uint8, without a copy where they are so already; `columns` are named in the error."""
    if array.dtype == np.uint8 and array.max(initial=0) <= 1:
        return array
    if array.dtype == np.bool_:
        return array.view(np.uint8)
    found = array if array.dtype == np.uint8 else np.empty(array.shape, np.uint8)
    at_once = max(CELLS_AT_ONCE // array.shape[1], ROWS_AT_LEAST)
    for start in range(0, len(array), at_once):
        rows = array[start : start + at_once]
        numbers = rows if rows.dtype.kind in "iuf" else _numbers(rows)
        unknown = numbers == (UNKNOWN if array.dtype == np.uint8 else -1)
        wrong = (numbers != 0) & (numbers != 1) & ~unknown
        if wrong.any():
            row, column = (int(i) for i in np.argwhere(wrong)[0])
            value = rows[row, column]
            where = f"row {start + row}, column {columns[column]!r}"
            held = repr(value) if isinstance(value, str) else str(value)
            raise InputError(f"labels must be 0, 1 or -1 (unknown); {where} holds {held}. {cure_for_label(value)}")
        if found is not array:
            found[start : start + at_once] = np.where(unknown, UNKNOWN, numbers == 1)
    return found


def _numbers(cells: NDArray[Any]) -> NDArray[np.float64]:
    """Cells of any kind as numbers; NaN for what is none."""
    numbers = [float(cell) if isinstance(cell, Real | np.bool_) else math.nan for cell in cells.ravel()]
    return np.array(numbers).reshape(cells.shape)


def _require_every_class(counts: NDArray[np.int64], class_names: Sequence[object]) -> None:
    empty = np.flatnonzero(counts < 1)
    if empty.size:
        names = ", ".join(repr(class_names[i] if len(class_names) else str(i)) for i in empty[:5])
        have = f"class {names} has" if empty.size == 1 else f"classes {names}{' ...' * (empty.size > 5)} have"
        cure = "drop the column (of label files: --drop-empty-classes), or add an image: n_i = 0 makes weights infinite"
        raise InputError(f"{have} no training image ({empty.size} of {len(counts)} classes); {cure}")
