import numpy as np
import pytest
from mltbench.reports.results.bootstrap import (
    group_means,
    percentile_interval,
    resample_weights,
    weighted_average_precision,
)
from sklearn.metrics import average_precision_score


@pytest.mark.parametrize("seed", range(4))
def test_weights_are_what_copies_of_images_give(seed):
    generator = np.random.RandomState(seed)
    # Rounded scores tie, and a class without positives stays NaN.
    scores = generator.randn(60, 5).astype(np.float32).round(1)
    labels = (generator.rand(60, 5) < 0.1).astype(np.uint8)
    labels[:, 4] = 0
    weights = resample_weights(60, 70, seed=seed)
    found = weighted_average_precision(scores, labels, weights)
    for row, counts in zip(found, weights, strict=True):
        copies = np.repeat(np.arange(60), counts)
        for c, value in enumerate(row):
            drawn = labels[copies, c]
            expected = average_precision_score(drawn, scores[copies, c]) if drawn.any() else np.nan
            assert value == pytest.approx(expected, nan_ok=True)


def test_by_hand():
    # Scores .9 .8 .7 with labels 1 0 1. All once: (1 + 2/3) / 2. The last twice: (1 + 2 * 3/4) / 3.
    scores, labels = np.array([[0.9], [0.8], [0.7]], np.float32), np.array([[1], [0], [1]], np.uint8)
    weights = np.array([[1, 1, 1], [1, 1, 2], [0, 3, 0]], np.int32)
    found = weighted_average_precision(scores, labels, weights)[:, 0]
    assert found == pytest.approx([5 / 6, 2.5 / 3, np.nan], nan_ok=True)


def test_resamples_draw_as_many_images_as_there_are_and_repeat():
    weights = resample_weights(500, 400, seed=3)
    assert (weights.sum(axis=1) == 500).all()
    assert (weights == resample_weights(500, 400, seed=3)).all()
    # An image is left out of a resample with probability (1 - 1/500)^500 = .3675.
    assert (weights == 0).mean() == pytest.approx(0.3675, abs=0.005)
    assert weights.mean(axis=0).std() == pytest.approx(1 / 20, abs=0.01)


def test_groups_are_means_over_their_classes():
    per_class = np.array([[0.9, 0.5, 0.1, np.nan], [0.8, 0.6, 0.2, 0.4]])
    found = group_means(per_class, ["head", "head", "tail", "tail"])
    assert {name: values.round(6).tolist() for name, values in found.items()} == {
        "total": [50, 50],
        "head": [70, 70],
        "tail": [10, 30],
    }


def test_an_interval_holds_the_middle_of_the_resamples_and_covers_as_often_as_it_says():
    assert percentile_interval(np.append(np.arange(1001.0), np.nan)) == pytest.approx((25, 975))
    # On normal means, where the truth is known: 95 % intervals hold it in 95 % of 300 trials, give or take.
    generator, hits = np.random.RandomState(0), 0
    weights = resample_weights(80, 300)
    for _ in range(300):
        low, high = percentile_interval(weights @ generator.normal(5, 2, size=80) / 80)
        hits += low <= 5 <= high
    assert 0.9 <= hits / 300 <= 0.98
