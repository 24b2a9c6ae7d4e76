"""What a table shows, in sentences."""

from collections.abc import Sequence

from ...benchmark.training.metrics import SCORE_NAMES
from ..results.rows import LEAST_SEEDS
from .result_table import DECIMALS, ResultTable, Row

NAMED_AT_MOST = 6


def summarise(table: ResultTable) -> list[dict[str, str]]:
    """The best of every group that was measured, and how the others compare with it.

    Each has its `group`, `what` it is ("best", or "highest" where rows do not share enough seeds to compete), the
    `number` as tables print it, the labels of the `best` rows, and a sentence on the `rest`.
    """
    summaries = []
    for group in SCORE_NAMES:
        measured = [(row, mean) for row in table.measured if (mean := row.cells[group].mean) is not None]
        if best := table.best(group):
            what, rest = "best", _others([row for row, _ in measured], group)
        elif measured:
            best = (max(measured, key=lambda pair: pair[1])[0],)
            what, rest = "highest", f"No row is the best: that takes {LEAST_SEEDS} seeds that rows share."
        else:
            continue
        number = best[0].cells[group].text
        names = listed([row.short for row in best])
        summaries.append({"group": group, "what": what, "number": number, "best": names, "rest": rest})
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


def _others(rows: Sequence[Row], group: str) -> str:
    """How all but the best, which are behind nobody, compare with it."""
    cells = {row.short: row.cells[group] for row in rows}
    noise = [f"{name} ({c.behind.mean:.{DECIMALS}f})" for name, c in cells.items() if c.is_noise and c.behind]
    distances = sorted(c.behind.mean for c in cells.values() if c.competes and c.behind and not c.is_noise)
    unknown = sum(not cell.competes for cell in cells.values())
    sentences = []
    if noise:
        sentences.append(f"Not told apart from it: {_named(noise)}.")
    elif distances:
        sentences.append("Every other row is told apart from it.")
    if distances:
        span = " to ".join(dict.fromkeys(f"{value:.{DECIMALS}f}" for value in (distances[0], distances[-1])))
        sentences.append(f"{number_of(len(distances), 'method')} behind by {span}.")
    if unknown:
        sentences.append(f"{number_of(unknown, 'method')} cannot compete: too few shared seeds.")
    return " ".join(sentences)


def _named(labels: Sequence[str]) -> str:
    if len(labels) <= NAMED_AT_MOST:
        return listed(labels)
    return f"{', '.join(labels[:NAMED_AT_MOST])} and {len(labels) - NAMED_AT_MOST} more"
