"""Paired differences of every two rows of a table, over shared seeds and, where asked for, over test images."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ...benchmark.training.metrics import SCORE_NAMES
from ..results.bootstrap import Results, percentile_interval
from ..results.significance import pairwise_differences
from .build import results_by_seed
from .result_table import ResultTable, Row, write_csv

COLUMNS = ("dataset", "table", "group", "first", "second", "difference", "low", "high", "n", "p", "p_holm",
           "images_low", "images_high")  # fmt: skip


def pairs_frame(table: ResultTable, runs: pd.DataFrame, resampled: Mapping[str, Results] | None = None) -> pd.DataFrame:
    """Paired differences, first minus second, of every two measured rows of a table, for every group.

    `low` and `high` bound the mean difference over shared seeds (95 %, Student's t); `p` is of the paired t-test,
    `p_holm` corrected for all pairs of the group; `images_low` and `images_high` bound the difference over resampled
    test images (95 % percentiles), the shared seeds averaged in each resample; NaN without a bootstrap.

    Args:
        table: as `build_table` returns it.
        runs: that it was built from.
        resampled: as `bootstrap_runs` returns it.
    """
    by_label = {row.label: row for row in table.rows}
    parts = []
    for group in SCORE_NAMES:
        pairs = pairwise_differences(results_by_seed(table.rows, runs, group))
        over_images = [
            _over_images(by_label[first], by_label[second], group, resampled or {})
            for first, second in zip(pairs["first"], pairs["second"], strict=True)
        ]
        pairs = pairs.assign(dataset=table.dataset, table=table.number, group=group)
        parts.append(pairs.assign(images_low=[low for low, _ in over_images], images_high=[h for _, h in over_images]))
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def pairs_csv(pairs: pd.DataFrame) -> str:
    """The pairs as CSV, unrounded."""
    rows = [[None if value != value else value for value in row] for row in pairs.itertuples(index=False)]
    return write_csv(COLUMNS, rows)


def _over_images(first: Row, second: Row, group: str, resampled: Mapping[str, Results]) -> tuple[float, float]:
    one, other = (
        {
            seed: resampled[name][group]
            for seed, name in zip(row.seeds, row.experiments, strict=True)
            if group in resampled.get(name, {})
        }
        for row in (first, second)
    )
    differences = [one[seed] - other[seed] for seed in one if seed in other]
    return percentile_interval(np.mean(differences, axis=0)) if differences else (float("nan"), float("nan"))
