"""How far numbers can be trusted: differences over seeds, ranks over classes."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltbench.reports.results.significance import (
    Difference,
    average_ranks,
    class_weighted_total,
    cliques_of,
    holm,
    paired_difference,
    pairwise_differences,
)
from scipy import stats

# Nemenyi's critical values q at 5 % and 10 % by number of methods, as printed in Demšar, JMLR 2006, Table 5(a).
PRINTED = {0.95: {3: 2.343, 4: 2.569, 5: 2.728, 7: 2.949, 10: 3.164}, 0.9: {3: 2.052, 10: 2.920}}


@pytest.mark.parametrize(("seed", "level"), [(0, 0.95), (1, 0.9), (2, 0.95), (3, 0.99), (4, 0.5)])
def test_a_paired_difference_is_scipys(seed, level):
    generator = np.random.RandomState(seed)
    first, second = generator.normal(60, 3, size=(2, 2 + seed))
    found = paired_difference(first, second, level=level)
    expected = stats.ttest_rel(first, second)
    interval = expected.confidence_interval(level)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (found.mean, found.p, found.n) == pytest.approx((first.mean() - second.mean(), expected.pvalue, 2 + seed))
    assert found.is_noise == (expected.pvalue >= 1 - level)
    if level == 0.95:
        assert paired_difference(first, second) == found


@pytest.mark.parametrize(
    ("low", "high", "is_noise"), [(-1, 1, True), (0, 1, True), (-1, 0, True), (0.1, 1, False), (-1, -0.1, False)]
)
def test_an_interval_that_holds_zero_is_noise(low, high, is_noise):
    assert Difference(mean=(low + high) / 2, low=low, high=high, n=3, p=0.05).is_noise is is_noise


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
    assert holm([]) == []


@given(values=st.lists(st.sampled_from([0.001, 0.004, 0.01, 0.02, 0.02, 0.04, 0.3, 1.0, math.nan]), max_size=6))
def test_holm_is_the_closed_test_of_bonferronis(values):
    """A hypothesis falls if every set of hypotheses that holds it falls by Bonferroni's test."""
    known = [i for i, value in enumerate(values) if not math.isnan(value)]
    sets = [some for n in range(1, len(known) + 1) for some in itertools.combinations(known, n)]
    expected = [
        max(min(1, len(some) * min(values[j] for j in some)) for some in sets if i in some) if i in known else math.nan
        for i in range(len(values))
    ]
    assert holm(values) == pytest.approx(expected, nan_ok=True)


def test_every_two_methods_are_paired_over_the_seeds_that_both_have():
    nan = math.nan
    results = pd.DataFrame(
        {3: [50, 53, nan, 90], 0: [51, 55.5, 60, nan], 7: [53, 54, 61, nan], 1: [nan, 59, 64, nan]}, index=list("bcad")
    )
    found = pairwise_differences(results)
    pairs = {("b", "c"): ([50, 51, 53], [53, 55.5, 54]), ("b", "a"): ([51, 53], [60, 61]), ("b", "d"): ([50], [90]),
             ("c", "a"): ([55.5, 54, 59], [60, 61, 64]), ("c", "d"): ([53], [90])}  # fmt: skip
    # The pair of a and d shares no seed.
    assert list(zip(found["first"], found["second"], strict=True)) == list(pairs)
    for line, (first, second) in zip(found.itertuples(), pairs.values(), strict=True):
        assert (line.difference, line.n) == pytest.approx((np.mean(first) - np.mean(second), len(first)))
        if len(first) > 1:
            test = stats.ttest_rel(first, second)
            interval = test.confidence_interval(0.95)
            assert (line.low, line.high, line.p) == pytest.approx((interval.low, interval.high, test.pvalue))
        else:
            assert (line.low, line.high, math.isnan(line.p)) == (-math.inf, math.inf, True)
    # Corrected for the three pairs that have a p-value.
    largest, middle, _, smallest, _ = found.p
    assert smallest < middle < largest
    corrected = [max(largest, 2 * middle), max(2 * middle, 3 * smallest), nan, 3 * smallest, nan]
    assert found.p_holm.tolist() == pytest.approx(corrected, nan_ok=True)
    narrow = pairwise_differences(results, level=0.5)
    assert (narrow.high - narrow.low)[0] < (found.high - found.low)[0] / 2


@pytest.mark.parametrize(("level", "k", "q"), [(level, k, q) for level, qs in PRINTED.items() for k, q in qs.items()])
def test_critical_differences_are_those_of_printed_tables(level, k, q):
    values = pd.DataFrame(np.random.RandomState(k).rand(14, k), columns=[f"m{i}" for i in range(k)])
    found = average_ranks(values, level=level)
    assert found.critical_difference == pytest.approx(q * math.sqrt(k * (k + 1) / (6 * 14)), rel=5e-4)
    assert found.p == pytest.approx(stats.friedmanchisquare(*values.to_numpy().T).pvalue)
    assert found.blocks == 14
    assert (level != 0.95) or found == average_ranks(values)


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
    ("ranks", "cliques"),
    [
        ((1, 2, 3), ()),  # as far apart as the critical difference is not closer
        ((1, 1.99, 2.98), ("ab", "bc")),
        ((1, 1.5, 1.9, 2.4, 2.8), ("abc", "bcd", "cde")),
        ((1, 1.2, 1.4, 3, 4.5, 4.6), ("abc", "ef")),
        ((1, 1.9, 1.95, 2.5), ("abc", "bcd")),
        ((2, 2, 2), ("abc",)),
        ((1, 2), ()),
    ],
)
def test_a_clique_is_in_no_other_and_nobody_is_one_alone(ranks, cliques):
    assert cliques_of(dict(zip("abcdef", ranks, strict=False)), 1) == tuple(map(tuple, cliques))


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
    assert class_weighted_total([1, 10, 100], [3, 2, 1]) == 20.5
