"""What a table shows, in sentences."""

from collections.abc import Sequence

from ...benchmark.training.metrics import SCORE_NAMES
from .result_table import DECIMALS, ResultTable, Row

NAMED_AT_MOST = 6


def summarise(table: ResultTable) -> list[dict[str, str]]:
    """The best of every group that was measured, and how the others compare with it.

    Each has its `group`, the `number` that is its best mean as tables print it, the labels of the `best` rows, and a
    sentence on the `rest`.
    """
    summaries = []
    for group in SCORE_NAMES:
        if best := table.best(group):
            others = [row for row in table.measured if not row.cells[group].best and row.cells[group].mean is not None]
            names, number = listed([row.short for row in best]), best[0].cells[group].text
            summaries.append({"group": group, "number": number, "best": names, "rest": _others(others, group)})
    return summaries


def describe_seeds(table: ResultTable) -> str:
    """How many methods and seeds the table holds, and what is missing."""
    rows = table.measured
    if not rows:
        return "Nothing was measured yet."
    numbers = sorted({len(row.seeds) for row in rows})
    seeds = f"{numbers[0]} to {numbers[-1]} seeds" if len(numbers) > 1 else number_of(numbers[0], "seed")
    sentences = [f"{number_of(len(rows), 'method')}, {seeds} each."]
    if lacking := [row.short for row in rows if row.missing]:
        sentences.append(f"Seeds are missing of {_named(lacking)}.")
    if failed := sum(row.failed for row in table.rows):
        sentences.append(f"{number_of(failed, 'run')} failed.")
    return " ".join(sentences)


def listed(names: Sequence[str]) -> str:
    """Names as a sentence lists them.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def number_of(number: int, what: str) -> str:
    """A number with its noun.

    >>> number_of(2, "run")
    '2 runs'
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _others(others: Sequence[Row], group: str) -> str:
    noise = [row.short for row in others if row.cells[group].within_noise]
    distances = sorted(d.mean for row in others if (d := row.cells[group].behind) and d.n > 1 and d.low > 0)
    unknown = len(others) - len(noise) - len(distances)
    sentences = []
    if noise:
        sentences.append(f"Within noise of it: {_named(noise)}.")
    elif distances:
        sentences.append("No other method is within noise of it.")
    if distances:
        span = " to ".join(dict.fromkeys(f"{value:.{DECIMALS}f}" for value in (distances[0], distances[-1])))
        sentences.append(f"{number_of(len(distances), 'method')} behind by {span}.")
    if unknown:
        sentences.append(f"{number_of(unknown, 'method')} cannot be compared: too few shared seeds.")
    return " ".join(sentences)


def _named(labels: Sequence[str]) -> str:
    if len(labels) <= NAMED_AT_MOST:
        return listed(labels)
    return f"{', '.join(labels[:NAMED_AT_MOST])} and {len(labels) - NAMED_AT_MOST} more"
