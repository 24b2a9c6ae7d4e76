"""How sure a comparison is: paired differences over shared seeds, and average ranks over classes.

Pure functions of numbers. Seeds are paired: the same seed gives methods with the same sampler the same images, crops
and initial weights, so that differences vary less than the methods themselves.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Mean of a paired difference, first minus second, over n pairs, with its confidence interval `low` to `high`.

    The interval of a single pair is infinite. `p` is the two-sided p-value of the paired t-test, not corrected for the
    number of comparisons, and NaN for a single pair.
    """

    mean: float
    low: float
    high: float
    n: int
    p: float

    @property
    def is_noise(self) -> bool:
        """Whether the interval holds zero."""
        return self.low <= 0 <= self.high


def paired_difference(first: ArrayLike, second: ArrayLike, *, level: float = LEVEL) -> Difference:
    """Mean of first minus second with Student's t interval over the pairs.

    The interval is mean ± t(n - 1) s / sqrt(n), s the sample standard deviation of the differences. It says how the
    difference would vary over further seeds, on these test images. Both are `(n,)` results, one per shared seed, in the
    same order; `level` is the confidence level in 0..1.

    Raises:
        ValueError: if there is no pair.

    >>> d = paired_difference([3.0, 4.0, 5.0], [1.0, 2.0, 4.0])
    >>> round(d.mean, 3), round(d.low, 3), round(d.high, 3)
    (1.667, 0.232, 3.101)
    """
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    n, mean = len(differences), float(differences.mean()) if len(differences) else math.nan
    if n == 0:
        raise ValueError("a paired difference needs at least one pair")
    if n == 1:
        return Difference(mean=mean, low=-math.inf, high=math.inf, n=1, p=math.nan)
    error = float(differences.std(ddof=1)) / math.sqrt(n)
    # Distribution and quantile of Student's t; scipy.stats has them too, a hundred times slower per call.
    half = float(special.stdtrit(n - 1, (1 + level) / 2)) * error
    p = 2 * float(special.stdtr(n - 1, -abs(mean) / error)) if error else float(mean == 0)
    return Difference(mean=mean, low=mean - half, high=mean + half, n=n, p=p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction of p-values for the number of comparisons; NaN stays and is not counted.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    # NaN sorts last.
    order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]
    corrected = np.full(len(values), math.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(np.arange(len(order), 0, -1) * values[order]), 1.0)
    return corrected.tolist()


def pairwise_differences(results: pd.DataFrame, *, level: float = LEVEL) -> pd.DataFrame:
    """Paired differences of every two methods over the seeds that both have; pairs without a shared seed are left out.

    Columns: `first`, `second`, `difference` (first minus second), `low`, `high`, `n`, `p`, as `paired_difference` gives
    them, and `p_holm` (corrected for all comparisons of the table). `results` has one row per method, one column per
    seed, NaN where a seed is missing.
    """
    values = dict(zip(results.index, results.to_numpy(dtype=np.float64), strict=True))
    pairs = []
    for first, second in combinations(results.index, 2):
        shared = ~np.isnan(values[first] - values[second])
        if shared.any():
            found = paired_difference(values[first][shared], values[second][shared], level=level)
            pairs.append((first, second, found.mean, found.low, found.high, found.n, found.p))
    columns = ["first", "second", "difference", "low", "high", "n", "p"]
    frame = pd.DataFrame(pairs, columns=columns)
    return frame.assign(p_holm=holm(frame.p.tolist()))


@dataclass(frozen=True, kw_only=True)
class AverageRanks:
    """Average ranks of methods over blocks, with Friedman's test and Nemenyi's critical difference."""

    ranks: dict[str, float]  # by method, best (lowest) first; 1 is best in every block
    blocks: int
    p: float  # of Friedman's test that all methods rank alike
    critical_difference: float  # average ranks closer than this do not differ at the 5 % level
    cliques: tuple[tuple[str, ...], ...]  # the longest runs of neighbours in `ranks` that are closer than that


def average_ranks(results: pd.DataFrame, *, level: float = LEVEL) -> AverageRanks:
    """Rank methods within each block and average the ranks (Demšar, JMLR 2006, Sec. 3.2.2).

    The critical difference is q sqrt(k (k + 1) / (6 N)) for k methods and N blocks, q the studentised range divided by
    sqrt(2). Ties share their mean rank. What the blocks are decides what may be claimed: with datasets as blocks it is
    about further datasets, with the classes of one dataset as blocks about how evenly a method wins over these classes.

    `results` has one row per block and one column per method; larger is better. `level` is one minus that of the tests.

    Raises:
        ValueError: for fewer than 3 methods or 2 blocks, or a missing value.
    """
    blocks, k = results.shape
    if k < 3 or blocks < 2 or bool(results.isna().to_numpy().any()):
        raise ValueError(f"average ranks need 3 methods and 2 blocks without gaps; got {k} methods, {blocks} blocks")
    ranked: NDArray[np.float64] = stats.rankdata(-results.to_numpy(), axis=1)
    same = bool((ranked == ranked[:, :1]).all())
    p = 1.0 if same else float(stats.friedmanchisquare(*results.to_numpy().T).pvalue)
    quantile = float(stats.studentized_range.ppf(level, k, np.inf)) / math.sqrt(2)
    critical = quantile * math.sqrt(k * (k + 1) / (6 * blocks))
    means = pd.Series(ranked.mean(axis=0), index=results.columns).sort_values(kind="stable")
    ranks = {str(name): float(value) for name, value in means.items()}
    cliques = cliques_of(ranks, critical)
    return AverageRanks(ranks=ranks, blocks=blocks, p=p, critical_difference=critical, cliques=cliques)


def cliques_of(ranks: dict[str, float], critical: float) -> tuple[tuple[str, ...], ...]:
    """The longest runs of two or more neighbours, in the order of `ranks`, that are closer than `critical`."""
    names, values = list(ranks), list(ranks.values())
    spans: list[tuple[int, int]] = []
    for start in range(len(names)):
        end = max(i for i in range(start, len(names)) if values[i] - values[start] < critical)
        if end > start and (not spans or end > spans[-1][1]):
            spans.append((start, end))
    return tuple(tuple(names[start : end + 1]) for start, end in spans)


def class_weighted_total(groups: Sequence[float], classes: Sequence[int]) -> float:
    """Mean over all classes from the means of their groups: the sum of m_g C_g over the sum of C_g.

    A group without classes may have a NaN mean. Quoted or stored totals that differ contradict themselves.

    >>> round(class_weighted_total([68.73, 80.38, 69.09], [6, 6, 8]), 2)
    72.37
    """
    used = [(mean, number) for mean, number in zip(groups, classes, strict=True) if number]
    return sum(mean * number for mean, number in used) / sum(number for _, number in used)
