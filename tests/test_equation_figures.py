import numpy as np
import pytest
from mltbench.reports.figures.negative_gradient import draw_negative_gradient, negative_gradient
from mltbench.reports.figures.weight_function import draw_weight_function, weight_function


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_gradients_are_those_of_eq_6_and_eq_7():
    frame = negative_gradient()
    ce, bce, tolerant = (frame[frame.loss == loss] for loss in ("CE", "BCE", "NT-BCE"))
    both = np.exp(ce.negative_logit) + np.exp(ce.positive_logit)
    assert np.allclose(ce.gradient, np.exp(ce.negative_logit) / both, atol=1e-6)
    assert np.allclose(bce.gradient, sigmoid(bce.negative_logit), atol=1e-6)
    assert np.allclose(tolerant.gradient, sigmoid(tolerant.negative_scale * tolerant.negative_logit), atol=1e-6)
    assert len(frame) == 12 * 121


def test_weights_are_those_of_eq_4():
    frame = weight_function(alpha=0.2)
    assert np.allclose(frame.weight, 0.2 + sigmoid(frame.beta * (frame.ratio - frame.mu)), atol=1e-5)
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
