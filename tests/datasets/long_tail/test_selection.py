import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mltbench.datasets.long_tail.selection import head_to_tail_order, pareto_targets, select_head_to_tail
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


@pytest.mark.parametrize(("classes", "largest"), [(20, 800), (80, 1200), (2, 1), (5, 37)])
def test_targets_fall_along_the_pareto_curve(classes, largest):
    targets = pareto_targets(classes, largest=largest)
    # x runs evenly from 1 to the .99 quantile of a Pareto density with power 6.
    end = 100 ** (1 / 6)
    curve = [(largest - 1) * (1 + (end - 1) * k / (classes - 1)) ** -7 + 1 for k in range(classes)]
    assert targets[0] == largest
    assert all(earlier >= later >= 1 for earlier, later in itertools.pairwise(targets))
    # Each target is the curve cut to a whole number; the margin is for values that are whole but for rounding.
    assert all(-1e-6 <= value - target < 1 + 1e-6 for target, value in zip(targets, curve, strict=True))


@pytest.mark.parametrize(("classes", "largest"), [(1, 800), (20, 0)])
def test_targets_without_a_curve_are_refused(classes, largest):
    with pytest.raises(InputError, match="at least 2 classes, largest >= smallest >= 1 and power > 0"):
        pareto_targets(classes, largest=largest)


@steady
@given(label_matrices())
def test_order_is_by_summed_conditional_probability(labels):
    classes = range(labels.shape[1])
    total = [sum(labels[labels[:, j] == 1, i].mean() for j in classes) for i in classes]
    order = head_to_tail_order(labels)
    assert sorted(order) == list(classes)
    assert all(total[a] >= total[b] - 1e-12 for a, b in itertools.pairwise(order))


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
