"""Ranks with ties inside noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..results.significance import paired_difference
from .submission import Submission


def ranks_within_noise(results: Mapping[str, Mapping[int, float]]) -> dict[str, int]:
    """Rank of each: one more than how many others are better beyond noise.

    Another is better beyond noise if the 95 % interval of the paired difference over shared seeds lies above zero. A
    single shared seed, or none, tells nothing of noise: such two are not told apart.

    Args:
        results: by name, mAP by seed.

    >>> ranks_within_noise({"a": {0: 70.0, 1: 71.0, 2: 72.0}, "b": {0: 60.0, 1: 61.0, 2: 62.5}, "c": {0: 71.0}})
    {'a': 1, 'b': 2, 'c': 1}
    """
    return {
        name: 1 + sum(_is_better(other, own) for other_name, other in results.items() if other_name != name)
        for name, own in results.items()
    }


def rank_submissions(submissions: Sequence[Submission]) -> dict[str, str]:
    """Rank of each submission among those of its board, by total mAP; `1=` where several share it."""
    boards: dict[tuple[str, ...], dict[str, Mapping[int, float]]] = {}
    for submission in submissions:
        boards.setdefault(submission.board, {})[submission.id] = submission.by_seed["total"]
    found: dict[str, str] = {}
    for results in boards.values():
        ranks = ranks_within_noise(results)
        found |= {n: f"{rank}{'=' if list(ranks.values()).count(rank) > 1 else ''}" for n, rank in ranks.items()}
    return found


def _is_better(other: Mapping[int, float], own: Mapping[int, float]) -> bool:
    shared = sorted(set(other) & set(own))
    if len(shared) < 2:
        return False
    return paired_difference([other[seed] for seed in shared], [own[seed] for seed in shared]).low > 0
