"""Labels in every form in which people have them, and statistics of matrices in which some are unknown."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from mltbench.datasets.long_tail import statistics as statistics_module
from mltbench.datasets.long_tail.statistics import UNKNOWN, ClassStatistics, as_label_matrix
from mltbench.datasets.long_tail.statistics import within_class_sampling_variance as sampling_variance
from mltbench.errors import InputError
from mltbench.methods.adjustments import class_bias


def incomplete_labels(seed, images=300, classes=6, share=0.3):
    """Labels as int8 with head-heavy columns, each class known in one image at least, and a class that is rarely so."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((images, classes)) < np.linspace(0.6, 0.05, classes)).astype(np.int8)
    labels[generator.random(labels.shape) < share] = -1
    labels[generator.random(images) < 0.8, 2] = -1
    labels[: 2 * classes] = np.vstack([np.eye(classes), np.zeros((classes, classes))])
    return labels


KNOWN = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
PARTLY = np.array([[1, 0, -1], [-1, 1, 0], [0, 0, 1], [1, -1, 0]])
FORMS = {
    "lists": lambda labels: labels.tolist(),
    "int8": lambda labels: labels.astype(np.int8),
    "uint8": lambda labels: labels.astype(np.int8).view(np.uint8),
    "int64": lambda labels: labels,
    "float16": lambda labels: labels.astype(np.float16),
    "float64": lambda labels: labels.astype(float),
    "fortran": np.asfortranarray,
    "objects": lambda labels: labels.astype(object),
    "masked": lambda labels: np.ma.array(np.abs(labels), mask=labels == -1),
    "masked bool": lambda labels: np.ma.array(labels == 1, mask=labels == -1),
    "DataFrame": pd.DataFrame,
    "DataFrame of floats": lambda labels: pd.DataFrame(labels.astype(float)),
    "DataFrame of Int64": lambda labels: pd.DataFrame(labels).astype("Int64"),
    "DataFrame of mixed types": lambda labels: pd.DataFrame(labels).astype({0: "float32", 1: "Int64", 2: object}),
    "tensor": torch.from_numpy,
    "bfloat16 tensor": lambda labels: torch.from_numpy(labels).bfloat16(),
    "tensor with a gradient": lambda labels: torch.from_numpy(labels).float().requires_grad_(),
    "sparse tensor": lambda labels: torch.from_numpy(labels).to_sparse(),
    "csr_matrix": scipy.sparse.csr_matrix,
    "coo_array of floats": lambda labels: scipy.sparse.coo_array(labels.astype(float)),
}
COMPLETE_FORMS = {
    "bool": lambda labels: labels == 1,
    "uint16": lambda labels: labels.astype(np.uint16),
    "DataFrame of boolean": lambda labels: pd.DataFrame(labels == 1).astype("boolean"),
    "DataFrame of bool and int": lambda labels: pd.DataFrame(labels).astype({0: bool}),
    "bool tensor": lambda labels: torch.from_numpy(labels == 1),
}


@pytest.mark.parametrize(
    ("form", "labels"),
    [(form, labels) for form in FORMS.values() for labels in (KNOWN, PARTLY)]
    + [(form, KNOWN) for form in COMPLETE_FORMS.values()],
    ids=[f"{name}, {kind}" for name in FORMS for kind in ("complete", "unknown")] + list(COMPLETE_FORMS),
)
def test_every_form_of_labels_is_one_matrix(form, labels):
    expected = labels.astype(np.int8).view(np.uint8)
    given = form(labels)
    found = as_label_matrix(given)
    assert (found.dtype, found.tolist()) == (np.uint8, expected.tolist())
    assert (
        ClassStatistics.from_labels(given).joint_counts.tolist()
        == ((labels == 1).T.astype(int) @ (labels == 1)).tolist()
    )


@pytest.mark.parametrize("labels", [KNOWN, PARTLY])
def test_what_is_a_label_matrix_already_is_not_copied(labels, monkeypatch):
    monkeypatch.setattr(statistics_module, "ROWS_AT_LEAST", 1)
    monkeypatch.setattr(statistics_module, "CELLS_AT_ONCE", 1)
    matrix = labels.astype(np.int8).view(np.uint8)
    matrix.flags.writeable = False
    assert as_label_matrix(matrix) is matrix
    assert np.shares_memory(as_label_matrix(labels == 1 if labels is KNOWN else matrix), matrix) == (labels is PARTLY)
    assert as_label_matrix(labels).tolist() == matrix.tolist()


NAMES = ["cat", "dog"]


@pytest.mark.parametrize(
    ("labels", "place", "cure"),
    [
        ([[1, 0], [0, math.nan]], "row 1, column 1 holds nan", "with 0 .* with -1"),
        ([[1, None], [0, 1]], "row 0, column 1 holds None", "with 0 .* with -1"),
        ([[1, ""], [0, 1]], "row 0, column 1 holds ''", "with 0 .* with -1"),
        (pd.DataFrame({"cat": [1, None], "dog": [0, 1]}).astype("Int64"), "row 1, column 'cat'", "with 0 .* with -1"),
        (pd.DataFrame({"cat": [True, pd.NA], "dog": [0, 1]}), "row 1, column 'cat' holds <NA>", "with 0 .* with -1"),
        (pd.DataFrame({"cat": pd.to_datetime(["2020", None]), "dog": [0, 1]}), "column 'cat'", "are numbers"),
        (pd.DataFrame({"image": ["a.jpg", "b.jpg"], "cat": [0, 1]}), "column 'image' holds 'a.jpg'", "such as ids"),
        (pd.DataFrame({"patient": [17, 18], "cat": [0, 1]}), "column 'patient' holds 17", "such as ids"),
        ([["1", "0"], ["0", "1"]], "row 0, column 0 holds '1'", "turn text into numbers"),
        ([[1, "cat"], [0, 1]], "row 0, column 1 holds 'cat'", "turn text into numbers"),
        ([[1 + 0j, 0]], "row 0, column 0", "are numbers"),
        ([[0, 3], [2, 5]], "row 0, column 1 holds 3", "of counts, `labels > 0`.*MultiLabelBinarizer"),
        ([[0, 0.5], [1, 0]], "row 0, column 1 holds 0.5", "Soft labels"),
        ([[0, 1.5], [1, 0]], "row 0, column 1 holds 1.5", "-1 that this is unknown"),
        ([[0, math.inf], [1, 0]], "row 0, column 1 holds inf", "-1 that this is unknown"),
        ([[0, -2], [1, 0]], "row 0, column 1 holds -2", "-1 that this is unknown"),
        (np.array([[0, 255], [1, 0]]), "row 0, column 1 holds 255", "Unknown labels are -1"),
        (np.array([[0, 254], [1, 255]], np.uint8), "row 0, column 1 holds 254", "of counts"),
        (scipy.sparse.csr_array(np.array([[0, 0], [0, 7]])), "row 1, column 1 holds 7", "of counts"),
        (scipy.sparse.csr_array(np.array([[0, 0], [0, math.nan]])), "row 1, column 1 holds nan", "with 0 .* with -1"),
        ([[0, 3], [1], [2, 4, 5]], "rows of one length", "MultiLabelBinarizer"),
        ([0, 1, 1], r"got shape \(3,\)", ""),
        (pd.DataFrame({"cat": []}), r"got shape \(0, 1\)", ""),
        (None, r"got shape \(\)", ""),
    ],
)
def test_a_cell_that_is_no_label_is_named_with_its_cure(labels, place, cure):
    for read in (as_label_matrix, ClassStatistics.from_labels):
        with pytest.raises(InputError, match=f"(?s){place}.*{cure}"):
            read(labels)


def test_a_class_without_image_has_the_name_of_its_column():
    with pytest.raises(InputError, match="class 'dog' has no training image"):
        ClassStatistics.from_labels(pd.DataFrame({"cat": [1, 1], "dog": [0, -1]}))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array])
def test_statistics_are_those_of_the_images_in_which_the_classes_are_known(seed, form, monkeypatch):
    monkeypatch.setattr(statistics_module, "CELLS_AT_ONCE", 1)
    monkeypatch.setattr(statistics_module, "ROWS_AT_LEAST", 100)
    labels = incomplete_labels(seed)
    rows, classes = labels.tolist(), range(labels.shape[1])
    found = ClassStatistics.from_labels(form(labels))
    assert found.num_images == 300
    assert found.counts.tolist() == [sum(row[i] == 1 for row in rows) for i in classes]
    assert found.known_images.tolist() == [sum(row[i] != -1 for row in rows) for i in classes]
    conditional = np.empty((len(classes), len(classes)))
    for i, j in itertools.product(classes, classes):
        both = [row for row in rows if row[i] != -1 and row[j] != -1]
        holding = [row[i] for row in both if row[j] == 1]
        conditional[i, j] = sum(holding) / len(holding)
    np.testing.assert_allclose(found.conditional, conditional, rtol=1e-14)
    np.testing.assert_allclose(found.expected_frequencies, conditional.mean(axis=1), rtol=1e-14)
    bias = [0.05 * math.log(k / n - 1) for n, k in zip(found.counts, found.known_images, strict=True)]
    np.testing.assert_allclose(class_bias(found, kappa=0.05), bias, rtol=1e-6)
    variances = []
    for i in classes:
        times = [sum(1 / found.counts[j] for j in classes if row[j] == 1) for row in rows if row[i] == 1]
        variances.append(np.var(np.array(times) / np.mean(times)))
    np.testing.assert_allclose(sampling_variance(form(labels)), variances, rtol=1e-9, atol=1e-12)


def test_of_complete_labels_nothing_is_unknown():
    found = ClassStatistics.from_labels(KNOWN)
    assert (found.is_complete, found.unknown_beside) == (True, None)
    assert found.known_images.tolist() == [4, 4, 4]


def test_of_classes_that_no_image_knows_together_no_probability_is_known():
    found = ClassStatistics.from_labels([[1, -1, 0], [-1, 1, 1], [1, -1, 1], [-1, 1, 0]])
    expected = [[1, math.nan, 1], [math.nan, 1, 1], [0.5, 0.5, 1]]
    np.testing.assert_array_equal(found.conditional, expected)
    np.testing.assert_allclose(found.expected_frequencies, [1, 1, 2 / 3])


def test_a_class_in_every_image_that_knows_it_has_no_bias():
    with pytest.raises(InputError, match="class 1 is in all 2 training images where it is known"):
        class_bias(ClassStatistics.from_labels([[1, 1], [0, -1], [0, 1]]), kappa=0.05)


@pytest.mark.parametrize(
    "counts",
    [[5, 3], (5, 3), np.array([5.0, 3.0]), torch.tensor([5, 3]), pd.Series([5, 3]), pd.Series([5, 3], dtype="Int64")],
)
def test_counts_of_any_kind_are_taken(counts):
    found = ClassStatistics.from_counts(counts, np.int64(10))
    assert (found.counts.dtype, found.counts.tolist(), found.num_images) == (np.int64, [5, 3], 10)


@pytest.mark.parametrize(
    ("counts", "images", "message"),
    [
        ({"cat": 5, "dog": 3}, 10, r"no certain order.*\[counts\[name\] for name in classes\]"),
        ([5, math.nan], 10, "class 1: nan"),
        ([5, math.inf], 10, "class 1: inf"),
        (pd.Series([5, None], dtype="Int64"), 10, "class 1: nan"),
        (["5", "3"], 10, "class 0: '5'"),
        ([True, False], 10, "class 0: True"),
        ([5, -3], 10, "class '1' has no training image"),
        (5, 10, r"got shape \(\)"),
        ([5, 3], 10.0, "whole number.*got 10.0"),
        ([5, 3], math.nan, "whole number.*got nan"),
        ([5, 3], -3, "whole number.*got -3"),
        ([5, 3], None, "whole number.*got None"),
        ([5, 3], "10", "whole number.*got '10'"),
    ],
)
def test_counts_that_are_none_are_refused(counts, images, message):
    with pytest.raises(InputError, match=message):
        ClassStatistics.from_counts(counts, images)


def test_255_is_minus_one():
    assert np.array([UNKNOWN], np.uint8).view(np.int8).tolist() == [-1]
