"""The reference run: what the demo's experiments gave on one machine, and how far other runs of them are from that.

The same id is the same experiment, to the last bit on one machine. Another processor, or another version of torch, adds
numbers in another order; the last digits then differ, and training amplifies the difference.

`reference.csv` is made anew, after a change that moves numbers, from a finished demo:

    python -c "from mltbench.reports.results import reference; reference.record('mltbench-results')"
"""

import json
from pathlib import Path

import pandas as pd

from ...benchmark.training.metrics import SCORE_NAMES
from ...files import replacing
from .runs import load_runs

FILE = Path(__file__).with_name("reference.csv")
MADE_WITH = ("device_name", "torch")
COLUMNS = ("experiment_id", "title", "seed", *SCORE_NAMES, *MADE_WITH)
DECIMALS = 4
# Half of the last digit that tables print.
NONE = 0.005


def reference_runs() -> pd.DataFrame:
    """One row per experiment of the reference run: `COLUMNS`, mAP on the test split in percent."""
    return pd.read_csv(FILE)


def agreement(runs: pd.DataFrame) -> str | None:
    """How far runs, as `load_runs` returns them, are from those of the reference run with the same ids, in sentences.

    What two means over n seeds differ by is unexpected from 2 s / sqrt(n) on, s the standard deviation of seeds, pooled
    over the reference run's methods. With other vector instructions of one processor (28 experiments), results differed
    by up to 1.03 points, .42 on average; s is .74. None without a finished run of these ids.
    """
    reference = reference_runs()
    finished = runs[runs.state == "finished"][["experiment_id", *SCORE_NAMES]]
    both = reference.merge(finished, on="experiment_id", suffixes=("", "_here"))
    if both.empty:
        return None
    apart = pd.DataFrame({name: both[f"{name}_here"] - both[name] for name in SCORE_NAMES})
    count, made = f"{len(both)} of {len(reference)} experiments", reference.iloc[0]
    place = f"{made.device_name}, torch {made.torch}"
    if float(apart.abs().to_numpy().max()) < NONE:
        return f"{count} agree with the reference run within 0.00 points ({place})."
    by_method = apart.total.groupby(both.title)
    means = by_method.mean()
    spread = float(reference.groupby("title").total.var().mean() ** 0.5)
    far = means[means.abs() > 2 * spread / by_method.size() ** 0.5]
    verb = "agree with the reference run within" if far.empty else "differ from the reference run by up to"
    text = (
        f"{count} {verb} {apart.total.abs().max():.2f} points of total mAP, means over their seeds "
        f"{'within' if far.empty else 'by'} {means.abs().max():.2f} ({place}). Another processor or library rounds "
        f"other last digits, which training amplifies; another seed changes a result by {spread:.2f} (standard "
        "deviation)."
    )
    if far.empty:
        return text
    named = ", ".join(f"{title} by {value:+.2f}" for title, value in far.items())
    return f"{text} Unexpected, since other seeds rarely change so much: {named}. Was a library or the code changed?"


def record(out: Path | str) -> None:
    """Write the finished runs under a results root as the reference run."""
    runs = load_runs(out)
    runs = runs[runs.state == "finished"].sort_values(["title", "seed"])
    made_with = pd.DataFrame([json.loads(text) for text in runs.provenance], index=runs.index)
    table = pd.concat([runs, made_with[list(MADE_WITH)]], axis=1)[list(COLUMNS)].round(DECIMALS)
    with replacing(FILE) as file:
        file.write(table.to_csv(index=False, lineterminator="\n").encode())
