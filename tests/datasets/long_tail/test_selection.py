import hashlib
import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mltbench.datasets.long_tail.selection import (
    head_to_tail_order,
    ids_digest,
    pareto_targets,
    select_head_to_tail,
)
from mltbench.errors import InputError

# A fixed sequence of examples, and no limit for one: the machine may be busy.
steady = settings(derandomize=True, deadline=None, max_examples=60)


@st.composite
def label_matrices(draw):
    """Label matrices of 2..5 classes in which every class has an image."""
    classes = draw(st.integers(2, 5))
    rows = draw(st.lists(st.integers(0, 2**classes - 1), min_size=1, max_size=40))
    bits = [[row >> i & 1 for i in range(classes)] for row in rows]
    return np.vstack([np.array(bits), np.eye(classes)]).astype(np.uint8)


@pytest.mark.parametrize(
    ("classes", "largest", "smallest", "power"),
    [(20, 800, 1, 6), (80, 1200, 1, 6), (2, 1, 1, 6), (5, 37, 1, 6), (20, 800, 157, 6), (6, 90, 90, 6), (7, 500, 3, 1)],
)
def test_targets_fall_along_the_pareto_curve(classes, largest, smallest, power):
    targets = pareto_targets(classes, largest=largest, smallest=smallest, power=power)
    if (smallest, power) == (1, 6):
        assert targets == pareto_targets(classes, largest=largest)
    # x runs evenly from 1 to the .99 quantile of the Pareto density.
    end, spread = 100 ** (1 / power), largest - smallest
    curve = [spread * (1 + (end - 1) * k / (classes - 1)) ** -(power + 1) + smallest for k in range(classes)]
    assert targets[0] == largest
    assert all(earlier >= later >= smallest for earlier, later in itertools.pairwise(targets))
    # Each target is the curve cut to a whole number; the margin is for values that are whole but for rounding.
    assert all(-1e-6 <= value - target < 1 + 1e-6 for target, value in zip(targets, curve, strict=True))


@pytest.mark.parametrize(
    "changes", [{"num_classes": 1}, {"largest": 0, "smallest": 0}, {"smallest": 0}, {"smallest": 9}, {"power": 0.0},
                {"power": float("inf")}]
)  # fmt: skip
def test_targets_without_a_curve_are_refused(changes):
    with pytest.raises(InputError, match="at least 2 classes, largest >= smallest >= 1 and power > 0"):
        pareto_targets(**{"num_classes": 20, "largest": 8, **changes})


@steady
@given(label_matrices())
def test_order_is_by_summed_conditional_probability(labels):
    classes = range(labels.shape[1])
    total = [sum(labels[labels[:, j] == 1, i].mean() for j in classes) for i in classes]
    order = head_to_tail_order(labels)
    assert sorted(order) == list(classes)
    assert all(total[a] >= total[b] - 1e-12 for a, b in itertools.pairwise(order))


def test_classes_that_tie_keep_their_order_however_many_they_are():
    # Each class has an image of its own, so its sum is 1; one holds class 40 too: sums of 1 + 1 and, for 50, 1 + 1/2.
    labels = np.eye(80, dtype=np.uint8)
    labels[50, 40] = 1
    assert head_to_tail_order(labels) == [40, 50, *(c for c in range(80) if c not in (40, 50))]


@steady
@given(label_matrices(), st.integers(1, 50), st.integers(0, 2**32))
def test_selected_rows_are_unique_valid_and_repeatable(labels, largest, seed):
    targets = pareto_targets(labels.shape[1], largest=largest)
    rows = select_head_to_tail(labels, targets, random.Random(seed), order=sorted)
    assert rows == sorted(set(rows) & set(range(len(labels))))
    assert labels[rows].any(axis=1).all()
    assert rows == select_head_to_tail(labels, targets, random.Random(seed), order=sorted)
    # The class that is settled last keeps its size: its target, or all there is.
    last = head_to_tail_order(labels)[-1]
    assert labels[rows, last].sum() == min(targets[-1], labels[:, last].sum())


@steady
@given(st.lists(st.integers(1, 30), min_size=2, max_size=6), st.integers(1, 40), st.integers(0, 2**32))
def test_classes_that_share_no_image_reach_their_targets(sizes, largest, seed):
    labels = np.repeat(np.eye(len(sizes), dtype=np.uint8), sizes, axis=0)
    targets = pareto_targets(len(sizes), largest=largest)
    before = labels.copy()
    rows = select_head_to_tail(labels, targets, random.Random(seed))
    assert np.array_equal(labels, before)
    selected = labels[rows].sum(axis=0)
    for rank, c in enumerate(head_to_tail_order(labels)):
        assert selected[c] == min(targets[rank], sizes[c])


# The order is B, A, C: sums of p(i|j) are 1 + 3/4 + 1/2, 3/5 + 1 + 2/3 and 1/5 + 2/4 + 1. The last image holds C, and
# whether it holds A is unknown.
TOY = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 1, 1], [0, 1, 1], [255, 0, 1]], dtype=np.uint8)


class OneEnd:
    """Draws from one end of a sequence, and remembers what it was asked for."""

    def __init__(self, end):
        self.end, self.asked = end, []

    def sample(self, population, k):
        self.asked.append((list(population), k))
        return [*population][:k] if self.end == "first" else [*population][len(population) - k :]


@pytest.mark.parametrize(
    ("targets", "end", "asked", "selected"),
    [
        # B takes 2 and 3, A adds 0 to them, C has none yet and takes 4.
        ((2, 3, 1), "first", [([2, 3, 4, 5], 2), ([0, 1, 4], 1), ([4, 5, 6], 1)], [0, 2, 3, 4]),
        # B takes 2, 3 and 4, of which A gives up 2; C has 4 already.
        ((3, 2, 1), "first", [([2, 3, 4, 5], 3), ([2, 3, 4], 1)], [3, 4]),
        # B takes 3, 4 and 5; A gives up 4, which C loses too and keeps 5.
        ((3, 1, 1), "last", [([2, 3, 4, 5], 3), ([3, 4], 1)], [3, 5]),
        # There are no more than all.
        ((9, 4, 4), "first", [([2, 3, 4, 5], 4), ([0, 1], 1), ([6], 1)], [0, 2, 3, 4, 5, 6]),
    ],
)
def test_images_are_added_and_removed_class_by_class_from_head_to_tail(targets, end, asked, selected):
    assert head_to_tail_order(TOY) == [1, 0, 2]
    generator = OneEnd(end)
    assert select_head_to_tail(TOY, targets, generator, order=sorted) == selected
    assert generator.asked == asked


def test_rows_come_in_the_order_that_is_asked_for_and_else_in_that_of_the_set():
    labels = np.eye(2, dtype=np.uint8)[[0, 1, 1, 1, 1, 1, 1, 1, 0]]
    downwards = select_head_to_tail(labels, (9, 2), random.Random(0), order=lambda rows: sorted(rows, reverse=True))
    assert len(downwards) == 4
    assert downwards == sorted(downwards, reverse=True)
    # CPython puts 8 before 1 in a set of few numbers, as the published lists do.
    assert select_head_to_tail(labels[[0, 1, 0, 0, 0, 0, 0, 0, 1]], (1, 2), OneEnd("first"))[-2:] == [8, 1]


def test_of_equal_classes_the_first_comes_first_and_what_is_unknown_counts_nothing():
    assert head_to_tail_order(np.eye(40, dtype=np.uint8)) == list(range(40))
    # Nobody knows the first two classes together: p(i|j) of the others sum up to 2, 2 and 1/2 + 1/2 + 1.
    unknown = np.array([[1, -1, 0], [-1, 1, 1], [1, -1, 1], [-1, 1, 0]], dtype=np.int8).view(np.uint8)
    assert head_to_tail_order(unknown) == [0, 1, 2]


def test_targets_are_one_for_each_class():
    with pytest.raises(InputError, match="2 targets for 3 classes"):
        select_head_to_tail(TOY, (3, 2), random.Random(0))


def test_a_list_of_images_is_known_by_its_sorted_ids():
    assert ids_digest(iter(["b", "a", "ä"])) == hashlib.sha256("a\nb\nä".encode()).hexdigest()
