import numpy as np
import pytest
import scipy.sparse
import torch
from mltbench.datasets.long_tail import statistics as statistics_module
from mltbench.datasets.long_tail.statistics import GROUP_COLOURS, GROUPS, ClassStatistics, instance_level_frequency
from mltbench.datasets.long_tail.statistics import within_class_sampling_variance as sampling_variance
from mltbench.errors import InputError


def random_labels(seed, images=40, classes=6):
    """Return labels with head-heavy columns and at least one image per class; some images have none."""
    generator = np.random.default_rng(seed)
    drawn = generator.random((images, classes)) < np.linspace(0.6, 0.05, classes)
    return np.vstack([drawn, np.eye(classes, dtype=bool)]).astype(np.uint8)


@pytest.mark.parametrize("seed", range(3))
def test_statistics_match_naive_loops(seed):
    labels = random_labels(seed)
    statistics = ClassStatistics.from_labels(labels)
    classes = range(labels.shape[1])
    joint = [[sum(1 for row in labels if row[i] and row[j]) for j in classes] for i in classes]
    counts = [joint[i][i] for i in classes]
    conditional = [[joint[i][j] / joint[j][j] for j in classes] for i in classes]
    # Eq. 1: p-hat_i = (1/C) sum over j of p(i|j).
    expected = [sum(conditional[i][j] for j in classes) / len(classes) for i in classes]
    assert (statistics.joint_counts.tolist(), statistics.counts.tolist()) == (joint, counts)
    np.testing.assert_allclose(statistics.conditional, conditional, rtol=1e-14)
    np.testing.assert_allclose(statistics.expected_frequencies, expected, rtol=1e-14)
    instance_level = [sum(1 / counts[i] for i in classes if row[i]) / len(classes) for row in labels]
    np.testing.assert_allclose(instance_level_frequency(labels, np.array(counts)), instance_level, rtol=1e-14)
    variances = []
    for i in classes:
        times = [sum(1 / counts[j] for j in np.flatnonzero(row)) for row in labels if row[i]]
        mean = sum(times) / len(times)
        variances.append(sum((time / mean - 1) ** 2 for time in times) / len(times))
    assert max(variances) > 0.01
    np.testing.assert_allclose(sampling_variance(labels), variances, rtol=1e-9, atol=1e-12)


def test_within_class_variance_is_never_negative():
    # Equal sampling times give a variance of zero; rounding can carry it below, where its root would be NaN.
    for images in range(1, 60):
        variance = sampling_variance(np.ones((images, 3), dtype=np.uint8))
        assert 0 <= variance.min() <= variance.max() < 1e-12


FORMS = {
    "lists": lambda labels: labels.tolist(),
    "bool": lambda labels: labels.astype(bool),
    "float": lambda labels: labels.astype(float),
    "csr_matrix": scipy.sparse.csr_matrix,
    "tensor": torch.from_numpy,
    "bool tensor": lambda labels: torch.from_numpy(labels).bool(),
}


@pytest.mark.parametrize("convert", FORMS.values(), ids=FORMS)
def test_every_kind_of_matrix_gives_the_same(convert, small_labels, small_statistics):
    statistics = ClassStatistics.from_labels(convert(small_labels))
    assert statistics.joint_counts.tolist() == small_statistics.joint_counts.tolist()
    assert statistics.num_images == 7
    assert sampling_variance(convert(small_labels)).tolist() == sampling_variance(small_labels).tolist()


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
    with pytest.raises(InputError, match=r"row 0, column 0 holds 0\.5\. Soft labels"):
        ClassStatistics.from_labels(scipy.sparse.csr_array(np.array([[0.5, 1], [1, 0]])))


@pytest.mark.parametrize(("cells", "rows"), [(1, 7), (1, 64), (10**6, 1)])
def test_counts_in_pieces_are_those_of_the_whole(cells, rows, monkeypatch):
    labels = random_labels(1, images=200)
    monkeypatch.setattr(statistics_module, "CELLS_AT_ONCE", cells)
    monkeypatch.setattr(statistics_module, "ROWS_AT_LEAST", rows)
    assert (ClassStatistics.from_labels(labels).joint_counts == labels.astype(int).T @ labels.astype(int)).all()
    # Beyond a byte, and beyond two.
    assert ClassStatistics.from_labels(np.ones((70_000, 2), np.uint8)).joint_counts.tolist() == [[70_000] * 2] * 2


def test_a_class_without_image_is_named(small_labels):
    small_labels[:, 2] = 0
    with pytest.raises(InputError, match="class '2' has no training image"):
        ClassStatistics.from_labels(small_labels)
    with pytest.raises(InputError, match="class 'sofa' has no training image"):
        ClassStatistics.from_labels(small_labels, class_names=["person", "cat", "sofa", "boat"])
    with pytest.raises(InputError, match="class '1' has no training image"):
        ClassStatistics.from_counts([3, 0], 5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([[1, 2]],), "row 0, column 1 holds 2"),
        (([[1, 0], [-2, 1]],), "row 1, column 0 holds -2"),
        (([[1.0, float("nan")]],), "row 0, column 1 holds nan"),
        (([1, 0],), r"got shape \(2,\)"),
        ((np.zeros((0, 3)),), r"got shape \(0, 3\)"),
        (([0.5, 0.5], 8), "whole numbers"),
        (([[1, 2]], 8), "one number per class"),
        (([], 8), "one number per class"),
        (([1, 9], 8), "num_images=8"),
    ],
)
def test_what_are_no_labels_and_no_counts_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        (ClassStatistics.from_labels if len(given) == 1 else ClassStatistics.from_counts)(*given)


def test_counts_alone_have_groups_that_part_at_twenty_and_a_hundred_and_no_co_occurrence():
    statistics = ClassStatistics.from_counts([101, 100, 99, 20, 19, 1], 200)
    assert statistics.counts.tolist() == [101, 100, 99, 20, 19, 1]
    with pytest.raises(InputError, match="from_labels"):
        _ = statistics.expected_frequencies
    assert statistics.group_names == ("head", "head", "medium", "medium", "tail", "tail")
    assert statistics.group_mask("medium").tolist() == [False, False, True, True, False, False]
    assert ClassStatistics.from_counts([101, 99, 98, 3, 2, 1], 200).group_sizes == "head 1, medium 2, tail 3"
    # A class may be in every image.
    everywhere = ClassStatistics.from_counts([200, 7], 200)
    assert (everywhere.known_images.tolist(), everywhere.is_complete, everywhere.num_classes) == ([200, 200], True, 2)


def test_groups_have_one_order_and_one_colour_each():
    assert GROUPS == ("head", "medium", "tail")
    assert [GROUP_COLOURS[group] for group in GROUPS] == ["#0072B2", "#E69F00", "#D55E00"]


def test_frequencies_by_hand(small_labels, small_statistics):
    # Of the classes 6, 3, 2 and 1 images; of those with the second class, 2 hold the first, and so on.
    assert small_statistics.joint_counts.tolist() == [[6, 2, 2, 1], [2, 3, 1, 0], [2, 1, 2, 0], [1, 0, 0, 1]]
    by_hand = [[1, 2 / 3, 1, 1], [1 / 3, 1, 1 / 2, 0], [1 / 3, 1 / 3, 1, 0], [1 / 6, 0, 0, 1]]
    np.testing.assert_allclose(small_statistics.conditional, by_hand, rtol=1e-15)
    expected = np.array([11 / 3, 11 / 6, 5 / 3, 7 / 6]) / 4
    np.testing.assert_allclose(small_statistics.expected_frequencies, expected, rtol=1e-15)
    images = np.array([1 / 6 + 1 / 3, 1 / 6, 1, 1 / 6 + 1, 1 / 3, 1 / 6 + 1 / 2, 1 / 6]) / 4
    np.testing.assert_allclose(instance_level_frequency(small_labels, small_statistics.counts), images, rtol=1e-15)
    # An unknown cell is no image of the class.
    unknown = np.where(small_labels == 0, 255, small_labels).astype(np.uint8)
    np.testing.assert_array_equal(instance_level_frequency(unknown, small_statistics.counts), images)
    # The second class: times 3, 6 and 2 of 11 thirds.
    variance = ((9 / 11) ** 2 + (18 / 11) ** 2 + (6 / 11) ** 2) / 3 - 1
    assert sampling_variance(small_labels)[1] == pytest.approx(variance, rel=1e-12)
    assert sampling_variance(small_labels)[3] == 0
