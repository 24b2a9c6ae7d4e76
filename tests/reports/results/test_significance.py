"""How far numbers can be trusted: differences over seeds, ranks over classes, resampled test images."""

import math

import numpy as np
import pandas as pd
import pytest
from mltbench.errors import InputError
from mltbench.reports.results.bootstrap import (
    group_means,
    percentile_interval,
    resample_weights,
    weighted_average_precision,
)
from mltbench.reports.results.significance import (
    average_ranks,
    class_weighted_total,
    holm,
    paired_difference,
    pairwise_differences,
)
from scipy import stats
from sklearn.metrics import average_precision_score

# Nemenyi's critical values q at 5 % for 3 to 10 methods, as printed in Demšar, JMLR 2006, Table 5(a).
PRINTED = {3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}


@pytest.mark.parametrize("seed", range(5))
def test_a_paired_difference_is_scipys(seed):
    generator = np.random.RandomState(seed)
    first, second = generator.normal(60, 3, size=(2, 2 + seed))
    found = paired_difference(first, second)
    expected = stats.ttest_rel(first, second)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (found.mean, found.p) == pytest.approx((first.mean() - second.mean(), expected.pvalue))
    assert found.is_noise == (expected.pvalue >= 0.05)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([5], [3], (2, -math.inf, math.inf, math.nan, True)),  # one pair does not show noise
        ([2, 3, 4], [1, 2, 3], (1, 1, 1, 0, False)),
        ([2, 3], [2, 3], (0, 0, 0, 1, True)),
    ],
)
def test_differences_without_spread(first, second, expected):
    found = paired_difference(first, second)
    numbers = (found.mean, found.low, found.high, found.p, found.is_noise)
    assert numbers == pytest.approx(expected, nan_ok=True)


def test_no_pair_is_an_error():
    with pytest.raises(ValueError, match="at least one pair"):
        paired_difference([], [])
    assert pairwise_differences(pd.DataFrame()).empty


def test_holm_by_hand():
    # Sorted .01 .02 .03 .04 times 4 3 2 1 is .04 .06 .06 .04; the last may not fall below the one before.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.01, math.nan]) == pytest.approx([0.01, math.nan], nan_ok=True)
    assert holm([]) == []


@pytest.mark.parametrize(("k", "q"), PRINTED.items())
def test_critical_differences_are_those_of_printed_tables(k, q):
    values = pd.DataFrame(np.random.RandomState(k).rand(14, k), columns=[f"m{i}" for i in range(k)])
    found = average_ranks(values)
    assert found.critical_difference == pytest.approx(q * math.sqrt(k * (k + 1) / (6 * 14)), rel=5e-4)
    assert found.p == pytest.approx(stats.friedmanchisquare(*values.to_numpy().T).pvalue)


def test_average_ranks_by_hand():
    # Ranks: 1 2 3, then 1.5 1.5 3, then 3 1 2.
    found = average_ranks(pd.DataFrame({"a": [3, 3, 1], "b": [2, 3, 3], "c": [1, 1, 2]}))
    assert list(found.ranks.items()) == [("b", 1.5), ("a", pytest.approx(5.5 / 3)), ("c", pytest.approx(8 / 3))]
    assert found.cliques == (("b", "a", "c"),)
    alike = average_ranks(pd.DataFrame({"a": [1, 2], "b": [1, 2], "c": [1, 2]}))
    assert (alike.p, alike.cliques) == (1.0, (("a", "b", "c"),))


def test_cliques_are_the_longest_runs_closer_than_the_critical_difference():
    base = np.arange(40)[:, None] + np.zeros((1, 4))
    shift = np.array([0.0, 0.0, -0.5, -0.9])
    swap = np.where(np.arange(40)[:, None] % 2 == 0, 1, -1) * np.array([0.1, -0.1, 0, 0])
    found = average_ranks(pd.DataFrame(base + shift + swap, columns=list("abcd")))
    assert found.ranks == {"a": 1.5, "b": 1.5, "c": 3.0, "d": 4.0}
    assert found.critical_difference < 1
    assert found.cliques == (("a", "b"),)


@pytest.mark.parametrize(
    "values",
    [{"a": [1, 2], "b": [1, 2]}, {"a": [1], "b": [2], "c": [3]}, {"a": [1, 2], "b": [1, math.nan], "c": [1, 2]}],
)
def test_ranks_of_too_little_are_an_error(values):
    with pytest.raises(ValueError, match="3 methods and 2 blocks"):
        average_ranks(pd.DataFrame(values))


def test_totals_by_hand():
    assert class_weighted_total([90, 60, 30], [1, 1, 2]) == 52.5
    assert class_weighted_total([90, math.nan, 30], [1, 0, 2]) == 50


@pytest.mark.parametrize("hidden", [0, 0.4])
@pytest.mark.parametrize("seed", range(4))
def test_weights_are_what_copies_of_images_give(seed, hidden):
    generator = np.random.RandomState(seed)
    # Rounded scores tie, and a class without positives stays NaN.
    scores = generator.randn(60, 5).round(1)
    scores[:, 0] = 1 + scores[:, 0] * 1e-12  # which a float32 cannot tell apart
    labels = (generator.rand(60, 5) < 0.1).astype(np.uint8)
    labels[:, 4] = 0
    labels[generator.rand(60, 5) < hidden] = 255
    weights = resample_weights(60, 70, seed=seed)
    found = weighted_average_precision(scores, labels, weights)
    assert found.shape == (70, 5)
    for row, counts in zip(found[seed::4], weights[seed::4], strict=True):  # scikit-learn takes a millisecond for each
        copies = np.repeat(np.arange(60), counts)
        for c, value in enumerate(row):
            known = copies[labels[copies, c] != 255]
            drawn = labels[known, c]
            expected = average_precision_score(drawn, scores[known, c]) if drawn.any() else np.nan
            assert value == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_a_score_that_is_no_number_is_not_ranked():
    scores = np.array([[0.5, 0.1], [0.2, math.nan]])
    with pytest.raises(InputError, match="image 1, class 1 is NaN"):
        weighted_average_precision(scores, np.ones((2, 2), np.uint8), resample_weights(2, 3))


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
    expected = {"total": [50, 50], "head": [70, 70], "tail": [10, 30]}
    assert {name: values.round(6).tolist() for name, values in found.items()} == expected


def test_an_interval_holds_the_middle_of_the_resamples():
    assert percentile_interval(np.append(np.arange(1001.0), np.nan)) == pytest.approx((25, 975))
