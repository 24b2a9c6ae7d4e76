"""Default against tuned: the winners of studies on fresh seeds, beside their methods' defaults, on the test split."""

import math

import pandas as pd
from rich import box
from rich.markup import escape
from rich.table import Table

from ...benchmark.tracking.store import Store
from ...benchmark.tracking.winners import Winner, studies_with_winners
from ...benchmark.training.metrics import SCORE_NAMES
from ...terminal import table_of
from ..results.significance import paired_difference

COLUMNS = ("study", "dataset", "method", "title", "objective", "trial", "group", "default", "default_deviation",
           "tuned", "tuned_deviation", "difference", "low", "high", "n", "p", "settings")  # fmt: skip


def tuned_frame(store: Store, runs: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """One line per winner and group: default and tuned test mAP in percent, and tuned minus default, paired by seed.

    `low` and `high` bound the difference (95 %, Student's t over the shared seeds); seeds that the winner was chosen on
    are left out, and winners without a shared fresh seed. `runs` are as `load_runs` returns them.
    """
    rows = []
    for study, winners in studies_with_winners(store).items():
        for winner in winners:
            if winner.dataset == dataset:
                rows += _rows(study, winner, runs[(runs.state == "finished") & ~runs.seed.isin(list(winner.seeds))])
    return pd.DataFrame(rows, columns=list(COLUMNS))


def tuned_table(frame: pd.DataFrame) -> Table:
    """The frame as a table in the terminal: default and tuned side by side for every group."""
    rows = []
    for row in frame.to_dict("records"):
        names = [row[name] for name in ("study", "title", "objective")]
        scores = [_spread(row[name], row[f"{name}_deviation"]) for name in ("default", "tuned")]
        difference, low, high = (f"{row[name]:+.2f}" for name in ("difference", "low", "high"))
        if math.isfinite(row["low"]):
            difference += f" [{low}, {high}]{'' if row['low'] <= 0 <= row['high'] else ' *'}"
        first = row["group"] == SCORE_NAMES[0]
        rows.append((*(names if first else ("", "", "")), row["group"], *scores, difference, row["n"]))
    columns = ("study", "method", "best by", "group", "default", "tuned", "difference", "seeds")
    title = f"Default against tuned: mAP on {escape(str(frame.dataset.iloc[0]))} (test split, percent)"
    caption = "tuned minus default, paired by seed, with its 95 % interval; * where the interval leaves out zero"
    table = table_of(columns, rows, numbers=columns[4:], box=box.SIMPLE_HEAD, title=title, caption=caption)
    for column in table.columns[4:]:
        column.no_wrap = True
    return table


def _rows(study: str, winner: Winner, runs: pd.DataFrame) -> list[tuple[object, ...]]:
    default, tuned = (
        runs[runs.configuration_id == configuration].drop_duplicates("seed", keep="last").set_index("seed")
        for configuration in (winner.default_configuration, winner.tuned_configuration)
    )
    shared = sorted(set(default.index) & set(tuned.index))
    rows: list[tuple[object, ...]] = []
    for group in SCORE_NAMES:
        one, other = tuned.loc[shared, group], default.loc[shared, group]
        if not shared or one.isna().any() or other.isna().any():
            continue
        label = (study, winner.dataset, winner.method, str(default.title.iloc[0]), winner.objective, winner.trial)
        found = paired_difference(one, other)
        scores = (other.mean(), other.std(ddof=1), one.mean(), one.std(ddof=1))
        difference = (found.mean, found.low, found.high, found.n, found.p)
        rows.append((*label, group, *scores, *difference, " ".join(winner.settings)))
    return rows


def _spread(mean: float, deviation: float) -> str:
    return f"{mean:.2f}" if math.isnan(deviation) else f"{mean:.2f} ± {deviation:.2f}"
