"""What a table shows, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..results.results import GROUPS
from .rows import DECIMALS, ResultTable, Row

NAMED_AT_MOST = 6


@dataclass(frozen=True, kw_only=True)
class GroupSummary:
    """The best of one group, and who is as good as far as the seeds can tell.

    Attributes:
        group: `total`, `head`, `medium` or `tail`.
        number: best mean with its spread, as tables print it.
        best: labels of the best rows.
        rest: a sentence or two on the others.
    """

    group: str
    number: str
    best: str
    rest: str


def summarise(table: ResultTable) -> list[GroupSummary]:
    """The best of every group that was measured, and how the others stand against it."""
    summaries = []
    for group in GROUPS:
        best = table.best(group)
        if best:
            others = [row for row in table.measured if not row.cells[group].best and row.cells[group].mean is not None]
            summaries.append(
                GroupSummary(
                    group=group,
                    number=best[0].cells[group].text,
                    best=join_words([row.short for row in best]),
                    rest=_others(others, group),
                )
            )
    return summaries


def seeds_in_words(table: ResultTable) -> str:
    """How many methods and seeds the table holds, and what is missing."""
    rows = table.measured
    if not rows:
        return "Nothing was measured yet."
    numbers = sorted({len(row.seeds) for row in rows})
    seeds = f"{numbers[0]} to {numbers[-1]} seeds each" if len(numbers) > 1 else number_of(numbers[0], "seed") + " each"
    lacking = [row.short for row in rows if row.missing]
    missing = f" Seeds are missing of {_named(lacking)}." if lacking else ""
    failed = sum(row.failed for row in table.rows)
    return f"{number_of(len(rows), 'method')}, {seeds}.{missing}" + (
        f" {number_of(failed, 'run')} failed." if failed else ""
    )


def join_words(words: Sequence[str]) -> str:
    """Words as a sentence lists them.

    >>> join_words(["a", "b", "c"])
    'a, b and c'
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _others(others: Sequence[Row], group: str) -> str:
    noise = [row.short for row in others if row.cells[group].within_noise]
    apart = [row for row in others if (d := row.cells[group].behind) and d.n > 1 and d.low > 0]
    unknown = len(others) - len(noise) - len(apart)
    sentences = []
    if noise:
        sentences.append(f"Within noise of it: {_named(noise)}.")
    elif apart:
        sentences.append("No other method is within noise of it.")
    if apart:
        distances = sorted(behind.mean for row in apart if (behind := row.cells[group].behind))
        span = " to ".join(dict.fromkeys(f"{value:.{DECIMALS}f}" for value in (distances[0], distances[-1])))
        sentences.append(f"{number_of(len(apart), 'method')} behind by {span}.")
    if unknown:
        sentences.append(f"{number_of(unknown, 'method')} cannot be compared: too few shared seeds.")
    return " ".join(sentences)


def _named(labels: Sequence[str]) -> str:
    if len(labels) <= NAMED_AT_MOST:
        return join_words(labels)
    return f"{', '.join(labels[:NAMED_AT_MOST])} and {len(labels) - NAMED_AT_MOST} more"


def number_of(number: int, what: str) -> str:
    """A number with its noun.

    >>> number_of(2, "run")
    '2 runs'
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
