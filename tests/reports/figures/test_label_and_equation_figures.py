"""Figures 2, 3 and 5 and Eq. 4, and the paper's sentences about them, on the published label lists."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mltbench.datasets.long_tail.statistics import ClassStatistics
from mltbench.methods.catalogue import create_loss
from mltbench.reports.figures.class_distribution import class_distribution, draw_class_distribution
from mltbench.reports.figures.co_occurrence import co_occurrence, draw_co_occurrence
from mltbench.reports.figures.negative_gradient import draw_negative_gradient, negative_gradient
from mltbench.reports.figures.sampling_variance import draw_sampling_variance, sampling_variance
from mltbench.reports.figures.weight_function import draw_weight_function, weight_function


@pytest.fixture(params=["voc", "coco"])
def facts(request):
    arrays = request.getfixturevalue(f"{request.param}_facts")
    return arrays["train_labels"], arrays["classes"]


def test_eq_1_matches_what_the_sampler_draws(facts):
    frame = class_distribution(*facts, epochs=10)
    error = (frame.sampled - frame.expected).abs()
    assert (error <= 5 * frame.sampled_deviation / np.sqrt(10) + 1e-3).all()
    assert error.max() < 0.004
    # not because both are what they were before: for most classes re-sampling changes the share a lot
    assert ((frame.original - frame.expected).abs() > 5 * error.max()).sum() > len(frame) / 4
    # Sec. 3.1: "the class imbalance is not necessarily eliminated", and for the largest class it is exaggerated.
    assert frame.expected.iloc[0] > 10 * frame.expected.min()
    assert frame.expected.iloc[0] > frame.original.iloc[0]


def test_the_head_keeps_the_highest_conditional_probabilities(facts):
    """Sec. 4.4: the most frequent classes usually have the highest p(i|j)."""
    frame = co_occurrence(*facts)
    assert frame.given_size.is_monotonic_decreasing
    others = frame[frame.given != frame.class_name]
    mean = others.groupby(["class_name", "class_size"]).probability.mean().reset_index()
    head, medium, tail = (
        mean[(mean.class_size >= low) & (mean.class_size < high)].probability.mean()
        for low, high in ((100, 10**9), (20, 100), (0, 20))
    )
    assert head > 3 * medium > 9 * tail
    assert mean.loc[mean.probability.idxmax(), "class_name"] == "person"
    assert mean[["class_size", "probability"]].corr("spearman").iloc[0, 1] > 0.85


def test_the_variance_of_sampling_times_is_highest_at_the_head(facts):
    frame = sampling_variance(*facts)
    means = frame.groupby("group").variance.mean()
    assert means["head"] > 1.9 * means["medium"] > 7.6 * means["tail"]
    assert frame.loc[frame.variance.idxmax(), "group"] == "head"


def test_eighty_names_do_not_touch(coco_facts):
    labels, classes = coco_facts["train_labels"], coco_facts["classes"]
    for figure in (
        draw_class_distribution(class_distribution(labels, classes, epochs=1)),
        draw_sampling_variance(sampling_variance(labels, classes)),
        draw_co_occurrence(co_occurrence(labels, classes)),
    ):
        figure.draw_without_rendering()
        axis = figure.axes[0].xaxis
        rows = [axis.get_ticklabels(minor=minor) for minor in (False, True)]
        boxes = [[label.get_window_extent() for label in row] for row in rows]
        assert {label.get_text() for row in rows for label in row} == set(map(str, classes))
        assert all(left.x1 <= right.x0 for row in boxes for left, right in itertools.pairwise(row))
        assert min(box.y0 for box in boxes[0]) > max(box.y1 for box in boxes[1])  # every other one stands farther out


def gradient(loss, curve):
    """To the negative logit, by automatic differentiation of a loss of one image each, summed."""
    logits = torch.tensor(curve[["positive_logit", "negative_logit"]].to_numpy(), requires_grad=True)
    loss(logits, torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(logits.shape)).backward()
    return logits.grad[:, 1].numpy()


def test_gradients_are_those_of_the_losses_themselves():
    frame = negative_gradient()
    statistics = ClassStatistics.from_counts([50, 50], 100)
    ce, bce, tolerant = (frame[frame.loss == name] for name in ("CE", "BCE", "NT-BCE"))
    softmax = gradient(lambda z, labels: F.cross_entropy(z, labels.argmax(1), reduction="sum"), ce)
    assert np.allclose(ce.gradient, softmax, atol=1e-6)
    erm = create_loss("erm", statistics)
    assert np.allclose(bce.gradient, gradient(lambda z, labels: erm(z, labels) * z.numel(), bce), atol=1e-6)
    for scale, curve in tolerant.groupby("negative_scale"):
        loss = create_loss("nt-bce", statistics, negative_scale=scale, kappa=0)
        measured = gradient(lambda z, labels, loss=loss: loss(z, labels) * z.numel(), curve)
        assert np.allclose(curve.gradient, measured, atol=1e-6), scale
    assert len(frame) == 12 * 121


def test_weights_are_those_of_the_re_balanced_loss():
    frame = weight_function(alpha=0.2)
    for (beta, mu), curve in frame.groupby(["beta", "mu"]):
        # Image k holds the classes a and b alone, with n_a + n_b = 1000, so that r_a = n_b / 1000 takes every value.
        second = (1000 * curve.ratio.to_numpy()).round().astype(int)
        statistics = ClassStatistics.from_counts(np.stack([1000 - second, second], axis=1).ravel(), 10_000)
        labels = torch.eye(len(second)).repeat_interleave(2, dim=1)
        gradients = []
        for loss in (create_loss("r-bce", statistics, alpha=0.2, beta=beta, mu=mu), create_loss("erm", statistics)):
            logits = torch.zeros(labels.shape, requires_grad=True)
            loss(logits, labels).backward()
            gradients.append(logits.grad)
        at = np.arange(len(second))
        assert np.allclose(curve.weight, (gradients[0] / gradients[1])[at, 2 * at].numpy(), atol=1e-5)
    assert set(frame[frame.varied == "mu"].mu) == {0.1, 0.2, 0.3, 0.5}
    assert (frame.ratio.min(), frame.ratio.max()) == pytest.approx((0, 1), abs=0.01)


def test_every_curve_of_an_equation_is_drawn_and_named():
    for figure, panels in (
        (draw_negative_gradient(negative_gradient()), 3),
        (draw_weight_function(weight_function()), 2),
    ):
        assert len(figure.axes) == panels
        for axes in figure.axes:
            assert len(axes.lines) == len({line.get_label() for line in axes.lines}) == 4
            assert len({(line.get_marker(), str(line.get_linestyle())) for line in axes.lines}) == 4


def test_shares_are_of_the_images_in_which_a_class_is_known():
    rows = [[1, 0], [1, 255], [1, 1], [0, 1], [255, 1], [255, 1], [1, 255]]
    frame = class_distribution(np.repeat(np.array(rows, dtype=np.uint8), 60, axis=0), ("a", "b"))
    shares = frame.set_index("class_name")[["original", "expected", "sampled"]].to_numpy().T
    # p(a|b) is that of the two images with b that know a; each class is visited equally often.
    np.testing.assert_allclose(shares[:2], [[4 / 5, 4 / 5], [3 / 4, 3 / 4]])
    # Half of the draws are for a; of the others, a quarter holds a, and half knows it; so it is with b.
    np.testing.assert_allclose(shares[2], [(1 / 2 + 1 / 8) / (1 / 2 + 1 / 4)] * 2, atol=0.02)


def test_what_no_image_knows_of_two_classes_is_left_blank():
    labels = np.array([[1, 255, 1], [255, 1, 1], [0, 255, 1], [255, 0, 1]], dtype=np.uint8)
    frame = co_occurrence(labels, ("a", "b", "c"))
    blank = frame[frame.probability.isna()]
    assert {*zip(blank.given, blank.class_name, strict=True)} == {("a", "b"), ("b", "a")}
    (mesh,) = draw_co_occurrence(frame).axes[0].collections
    assert np.ma.getmaskarray(mesh.get_array()).sum() == 2
