import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mltbench.datasets.long_tail.statistics import ClassStatistics
from mltbench.methods.catalogue import create_loss
from mltbench.reports.figures.negative_gradient import draw_negative_gradient, negative_gradient
from mltbench.reports.figures.weight_function import draw_weight_function, weight_function


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
    assert frame.ratio.min() < 0.01
    assert frame.ratio.max() > 0.99


@pytest.mark.parametrize(
    ("figure", "panels"),
    [(draw_negative_gradient(negative_gradient()), 3), (draw_weight_function(weight_function()), 2)],
)
def test_every_curve_is_drawn_and_named(figure, panels):
    assert len(figure.axes) == panels
    for axes in figure.axes:
        assert len(axes.lines) == 4
        assert len({line.get_label() for line in axes.lines}) == 4
        assert len({(line.get_marker(), str(line.get_linestyle())) for line in axes.lines}) == 4
