"""Paired differences of every two rows of a table, over shared seeds and, where asked for, over test images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..results.bootstrap import percentile_interval
from ..results.results import GROUPS
from ..results.significance import pairwise_differences
from .formats import write_csv
from .rows import ResultTable, Row
from .table import results_by_seed

COLUMNS = ("dataset", "table", "group", "first", "second", "difference", "low", "high", "n", "p", "p_holm",
           "images_low", "images_high")  # fmt: skip
# Results on resampled test images: by experiment id, then by group, `(resamples,)` in percent.
Resampled = Mapping[str, Mapping[str, NDArray[np.float64]]]


def pairs_frame(table: ResultTable, runs: pd.DataFrame, resampled: Resampled | None = None) -> pd.DataFrame:
    """Paired differences, first minus second, of every two measured rows of a table, for every group.

    `low` and `high` bound the mean difference over shared seeds (95 %, Student's t); `p` is of the paired t-test,
    `p_holm` corrected for all pairs of the group; `images_low` and `images_high` bound the difference over resampled
    test images (95 % percentiles), the shared seeds averaged in each resample; NaN without a bootstrap.
    """
    by_label = {row.label: row for row in table.rows}
    parts = []
    for group in GROUPS:
        pairs = pairwise_differences(results_by_seed(table.rows, runs, group))
        over_images = [
            _over_images(by_label[str(pair.first)], by_label[str(pair.second)], group, resampled)
            for pair in pairs[["first", "second"]].itertuples()
        ]
        pairs = pairs.assign(dataset=table.dataset, table=table.number, group=group)
        parts.append(pairs.assign(images_low=[low for low, _ in over_images], images_high=[h for _, h in over_images]))
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def pairs_csv(pairs: pd.DataFrame) -> str:
    """The pairs as CSV, unrounded."""
    rows = [[None if value != value else value for value in row] for row in pairs.itertuples(index=False)]
    return write_csv(COLUMNS, rows)


def _over_images(first: Row, second: Row, group: str, resampled: Resampled | None) -> tuple[float, float]:
    if resampled is None:
        return float("nan"), float("nan")
    one, other = (dict(zip(row.seeds, row.experiments, strict=True)) for row in (first, second))
    shared = [
        (resampled[one[seed]][group], resampled[other[seed]][group])
        for seed in one
        if seed in other and all(group in resampled.get(name, {}) for name in (one[seed], other[seed]))
    ]
    if not shared:
        return float("nan"), float("nan")
    interval = percentile_interval(np.mean([a - b for a, b in shared], axis=0))
    return interval.low, interval.high
