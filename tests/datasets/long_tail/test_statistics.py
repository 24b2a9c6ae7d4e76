import numpy as np
import pytest
import scipy.sparse
import torch
from mltbench.datasets.long_tail import statistics as statistics_module
from mltbench.datasets.long_tail.statistics import (
    ClassStatistics,
    instance_level_frequency,
    within_class_sampling_variance,
)
from mltbench.errors import InputError


def random_labels(seed, images=40, classes=6):
    """Return labels with head-heavy columns and at least one image per class; some images have none."""
    generator = np.random.default_rng(seed)
    drawn = generator.random((images, classes)) < np.linspace(0.6, 0.05, classes)
    return np.vstack([drawn, np.eye(classes, dtype=bool)]).astype(np.uint8)


def naive_joint(labels):
    classes = range(labels.shape[1])
    return [[sum(1 for row in labels if row[i] and row[j]) for j in classes] for i in classes]


def test_counts_and_conditional_of_the_small_matrix(small_statistics):
    assert small_statistics.counts.tolist() == [6, 3, 2, 1]
    assert small_statistics.counts.dtype == np.int64
    assert (small_statistics.num_images, small_statistics.num_classes) == (7, 4)
    # Column j is "given j": class 0 is on 2 of the 3 images of class 1; class 1 on 2 of the 6 of class 0.
    assert small_statistics.conditional[[0, 1, 0, 3], [1, 0, 3, 0]].tolist() == [2 / 3, 2 / 6, 1, 1 / 6]


@pytest.mark.parametrize("seed", range(3))
def test_co_occurrence_matches_naive_loops(seed):
    labels = random_labels(seed)
    statistics = ClassStatistics.from_labels(labels)
    joint = naive_joint(labels)
    classes = range(labels.shape[1])
    conditional = [[joint[i][j] / joint[j][j] for j in classes] for i in classes]
    # Eq. 1: p-hat_i = (1/C) sum over j of p(i|j).
    expected = [sum(conditional[i][j] for j in classes) / len(classes) for i in classes]
    assert statistics.joint_counts.tolist() == joint
    assert statistics.counts.tolist() == [joint[i][i] for i in classes]
    np.testing.assert_allclose(statistics.conditional, conditional, rtol=1e-14)
    np.testing.assert_allclose(statistics.expected_frequencies, expected, rtol=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_sampling_frequencies_match_naive_loops(seed):
    labels = random_labels(seed)
    images, classes = labels.shape
    counts = [sum(int(row[i]) for row in labels) for i in range(classes)]
    instance_level = [1 / classes * sum(1 / counts[i] for i in range(classes) if labels[k, i]) for k in range(images)]
    np.testing.assert_allclose(instance_level_frequency(labels, np.array(counts)), instance_level, rtol=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_within_class_variance_matches_naive_loops(seed):
    labels = random_labels(seed)
    counts = labels.sum(axis=0, dtype=int)
    variances = []
    for i in range(labels.shape[1]):
        times = [sum(1 / counts[j] for j in np.flatnonzero(row)) for row in labels if row[i]]
        mean = sum(times) / len(times)
        variances.append(sum((time / mean - 1) ** 2 for time in times) / len(times))
    assert max(variances) > 0.01
    np.testing.assert_allclose(within_class_sampling_variance(labels), variances, rtol=1e-9, atol=1e-12)


def test_within_class_variance_is_never_negative():
    # Equal sampling times give a variance of zero; rounding can carry it below, where its root would be NaN.
    for images in range(1, 60):
        variance = within_class_sampling_variance(np.ones((images, 3), dtype=np.uint8))
        assert (variance >= 0).all()
        assert (variance < 1e-12).all()


@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(lambda labels: labels.tolist(), id="lists"),
        pytest.param(lambda labels: labels.astype(bool), id="bool"),
        pytest.param(lambda labels: labels.astype(float), id="float"),
        pytest.param(scipy.sparse.csr_matrix, id="csr_matrix"),
        pytest.param(scipy.sparse.coo_array, id="coo_array"),
        pytest.param(torch.from_numpy, id="tensor"),
        pytest.param(lambda labels: torch.from_numpy(labels).bool(), id="bool tensor"),
    ],
)
def test_every_kind_of_matrix_gives_the_same(convert, small_labels, small_statistics):
    statistics = ClassStatistics.from_labels(convert(small_labels))
    assert statistics.joint_counts.tolist() == small_statistics.joint_counts.tolist()
    assert statistics.num_images == 7
    variance = within_class_sampling_variance(convert(small_labels))
    assert variance.tolist() == within_class_sampling_variance(small_labels).tolist()


@pytest.mark.parametrize("form", [scipy.sparse.coo_array, lambda labels: scipy.sparse.csr_array(labels.astype(bool))])
def test_sparse_labels_are_counted_without_a_dense_copy(form, monkeypatch):
    labels = random_labels(0)
    expected = ClassStatistics.from_labels(labels)
    monkeypatch.setattr(statistics_module, "as_label_matrix", None)
    found = ClassStatistics.from_labels(form(labels))
    assert scipy.sparse.issparse(found.co_occurrence)
    assert (found.joint_counts == expected.joint_counts).all()
    assert (found.conditional == expected.conditional).all()
    np.testing.assert_allclose(found.expected_frequencies, expected.expected_frequencies, rtol=1e-14)


def test_sparse_labels_are_checked_and_never_edited():
    twice = scipy.sparse.csr_array((np.array([1, 1]), np.array([1, 1]), np.array([0, 2, 2])), shape=(2, 2))
    with pytest.raises(InputError, match="row 0, column 1 holds 2"):
        ClassStatistics.from_labels(twice)
    assert twice.nnz == 2
    with pytest.raises(InputError, match="0 or 1"):
        ClassStatistics.from_labels(scipy.sparse.csr_array(np.array([[0.5, 1], [1, 0]])))


@pytest.mark.parametrize(("cells", "rows"), [(1, 7), (1, 64), (10**6, 1)])
def test_counts_in_pieces_are_those_of_the_whole(cells, rows, monkeypatch):
    labels = random_labels(1, images=200)
    monkeypatch.setattr(statistics_module, "CELLS_AT_ONCE", cells)
    monkeypatch.setattr(statistics_module, "ROWS_AT_LEAST", rows)
    assert (ClassStatistics.from_labels(labels).joint_counts == labels.astype(int).T @ labels.astype(int)).all()


def test_counts_beyond_a_byte_are_counted():
    assert ClassStatistics.from_labels(np.ones((70_000, 2), dtype=np.uint8)).joint_counts.tolist() == [[70_000] * 2] * 2


def test_a_class_without_image_is_named(small_labels):
    small_labels[:, 2] = 0
    with pytest.raises(InputError, match="class '2' has no training image"):
        ClassStatistics.from_labels(small_labels)
    with pytest.raises(InputError, match="class 'sofa' has no training image"):
        ClassStatistics.from_labels(small_labels, class_names=["person", "cat", "sofa", "boat"])
    with pytest.raises(InputError, match="class '1' has no training image"):
        ClassStatistics.from_counts([3, 0], 5)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[1, 2]], "row 0, column 1 holds 2"),
        ([[1, 0], [-1, 1]], "row 1, column 0 holds -1"),
        ([[1.0, float("nan")]], "row 0, column 1 holds nan"),
        ([1, 0], r"got shape \(2,\)"),
        (np.zeros((0, 3)), r"got shape \(0, 3\)"),
    ],
)
def test_what_is_no_label_matrix_is_refused(labels, message):
    with pytest.raises(InputError, match=message):
        ClassStatistics.from_labels(labels)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([0.5, 0.5], "whole numbers"),
        ([[1, 2]], "one number per class"),
        ([], "one number per class"),
        ([1, 9], "num_images=8"),
    ],
)
def test_what_are_no_counts_is_refused(counts, message):
    with pytest.raises(InputError, match=message):
        ClassStatistics.from_counts(counts, 8)


def test_counts_alone_have_no_co_occurrence():
    statistics = ClassStatistics.from_counts([3, 1], 4)
    assert statistics.counts.tolist() == [3, 1]
    with pytest.raises(InputError, match="from_labels"):
        _ = statistics.expected_frequencies


def test_groups_part_at_twenty_and_a_hundred():
    statistics = ClassStatistics.from_counts([101, 100, 99, 20, 19, 1], 200)
    assert statistics.group_names == ("head", "head", "medium", "medium", "tail", "tail")
    assert statistics.group_mask("medium").tolist() == [False, False, True, True, False, False]
