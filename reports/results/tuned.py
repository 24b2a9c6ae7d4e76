"""Default against tuned: the winners of studies on fresh seeds, beside their methods' defaults, on the test split."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from ...benchmark.tracking.store import Store
from ...benchmark.tracking.winners import Winner, studies_with_winners
from .results import GROUPS
from .significance import paired_difference

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("study", "dataset", "method", "title", "objective", "trial", "group", "default", "default_deviation",
           "tuned", "tuned_deviation", "difference", "low", "high", "n", "p", "settings")  # fmt: skip


def tuned_frame(store: Store, runs: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """One line per winner and group: default and tuned test mAP in percent, and tuned minus default, paired by seed.

    `low` and `high` bound the difference (95 %, Student's t over the shared seeds); seeds that the winner was chosen on
    are left out, and winners without a shared fresh seed.

    Args:
        store: where winners are announced.
        runs: as `load_runs` returns them.
        dataset: name of the dataset.
    """
    rows = []
    for study, winners in studies_with_winners(store).items():
        for winner in winners:
            if winner.dataset == dataset:
                rows += _rows(study, winner, runs[(runs.state == "finished") & ~runs.seed.isin(list(winner.seeds))])
    return pd.DataFrame(rows, columns=list(COLUMNS))


def tuned_table(frame: pd.DataFrame) -> Table:
    """The frame as a table in the terminal: default and tuned side by side for every group."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"Default against tuned: mAP on {escape(str(frame.dataset.iloc[0]))} (test split, percent)",
        title_justify="left",
        caption="tuned minus default, paired by seed, with its 95 % interval; * where the interval leaves out zero",
        caption_justify="left",
    )
    for column in ("study", "method", "best by", "group", "default", "tuned", "difference", "seeds"):
        left = column in ("study", "method", "best by", "group")
        table.add_column(column, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    for row in frame.to_dict("records"):
        first = row["group"] == GROUPS[0]
        table.add_row(
            *((escape(str(row["study"])), escape(str(row["title"])), str(row["objective"])) if first else ("", "", "")),
            str(row["group"]),
            _spread(row["default"], row["default_deviation"]),
            _spread(row["tuned"], row["tuned_deviation"]),
            _interval(row["difference"], row["low"], row["high"]),
            str(row["n"]),
        )
    return table


def _rows(study: str, winner: Winner, runs: pd.DataFrame) -> list[tuple[object, ...]]:
    default, tuned = (
        runs[runs.configuration_id == configuration].drop_duplicates("seed", keep="last").set_index("seed")
        for configuration in (winner.default_configuration, winner.tuned_configuration)
    )
    shared = sorted(set(default.index) & set(tuned.index))
    if not shared:
        return []
    label = (study, winner.dataset, winner.method, str(default.title.iloc[0]), winner.objective, winner.trial)
    rows: list[tuple[object, ...]] = []
    for group in GROUPS:
        one, other = tuned.loc[shared, group], default.loc[shared, group]
        if one.isna().any() or other.isna().any():
            continue
        found = paired_difference(one, other)
        marks = (other.mean(), other.std(ddof=1), one.mean(), one.std(ddof=1))
        rows.append(
            (*label, group, *marks, found.mean, found.low, found.high, found.n, found.p, " ".join(winner.settings))
        )
    return rows


def _spread(mean: float, deviation: float) -> str:
    return f"{mean:.2f}" if math.isnan(deviation) else f"{mean:.2f} ± {deviation:.2f}"


def _interval(mean: float, low: float, high: float) -> str:
    if math.isinf(low):
        return f"{mean:+.2f}"
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]{'' if low <= 0 <= high else ' *'}"
