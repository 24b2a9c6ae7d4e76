"""Figures 2 and 5, and the paper's sentences about them, on the published label lists."""

import itertools

import numpy as np
import pytest
from mltbench.reports.figures.class_distribution import class_distribution, draw_class_distribution
from mltbench.reports.figures.co_occurrence import co_occurrence, draw_co_occurrence
from mltbench.reports.figures.sampling_variance import draw_sampling_variance, sampling_variance

NAMES = ("a", "b", "c", "d")


@pytest.fixture(params=["voc", "coco"])
def facts(request):
    arrays = request.getfixturevalue(f"{request.param}_facts")
    return arrays["train_labels"], arrays["classes"]


def test_conditional_probabilities_of_a_small_matrix_are_counted_by_hand(small_labels):
    frame = co_occurrence(small_labels[:, ::-1], NAMES)  # d is now the largest
    table = frame.pivot(index="given", columns="class_name", values="probability")
    assert list(dict.fromkeys(frame.given)) == ["d", "c", "b", "a"]
    assert table.loc["c", "d"] == pytest.approx(2 / 3)  # 2 of the 3 images with c hold d
    assert table.loc["d", "c"] == pytest.approx(2 / 6)
    assert table.loc["a", "d"] == 1
    assert table.loc["a", "b"] == 0


def test_eq_1_matches_what_the_sampler_draws(facts):
    frame = class_distribution(*facts, epochs=10)
    error = (frame.sampled - frame.expected).abs()
    assert (error <= 5 * frame.sampled_deviation / np.sqrt(10) + 1e-3).all()
    assert error.max() < 0.004
    # not because both are what they were before: for most classes re-sampling changes the share a lot
    assert ((frame.original - frame.expected).abs() > 5 * error.max()).sum() > len(frame) / 4


def test_re_sampling_does_not_make_classes_even(facts):
    """Sec. 3.1: "the class imbalance is not necessarily eliminated"."""
    frame = class_distribution(*facts, epochs=1)
    assert frame.expected.iloc[0] > 10 * frame.expected.min()
    assert frame.expected.iloc[0] > frame.original.iloc[0]  # and for the largest class it is exaggerated


def test_the_head_keeps_the_highest_conditional_probabilities(facts):
    """Sec. 4.4: the most frequent classes usually have the highest p(i|j)."""
    frame = co_occurrence(*facts)
    others = frame[frame.given != frame.class_name]
    mean = others.groupby(["class_name", "class_size"]).probability.mean().reset_index()
    head, medium, tail = (
        mean[(mean.class_size >= low) & (mean.class_size < high)].probability.mean()
        for low, high in ((100, 10**9), (20, 100), (0, 20))
    )
    assert head > 3 * medium
    assert medium > 3 * tail
    assert mean.loc[mean.probability.idxmax(), "class_name"] == "person"
    assert mean[["class_size", "probability"]].corr("spearman").iloc[0, 1] > 0.85


def test_the_variance_of_sampling_times_is_highest_at_the_head(facts):
    frame = sampling_variance(*facts)
    means = frame.groupby("group").variance.mean()
    assert means["head"] > 1.9 * means["medium"]
    assert means["medium"] > 4 * means["tail"]
    assert frame.loc[frame.variance.idxmax(), "group"] == "head"


def test_variance_is_that_of_a_plain_loop(small_labels):
    counts = small_labels.sum(0)
    frame = sampling_variance(small_labels, NAMES).set_index("class_name")
    for i, name in enumerate(NAMES):
        times = np.array([(row / counts).sum() for row in small_labels if row[i]])
        assert frame.variance[name] == pytest.approx(np.var(times / times.mean()))


def test_eighty_names_do_not_touch(coco_facts):
    labels, classes = coco_facts["train_labels"], coco_facts["classes"]
    for figure in (
        draw_class_distribution(class_distribution(labels, classes, epochs=1)),
        draw_sampling_variance(sampling_variance(labels, classes)),
        draw_co_occurrence(co_occurrence(labels, classes)),
    ):
        figure.draw_without_rendering()
        boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
        assert len(boxes) == 80
        assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(boxes))
