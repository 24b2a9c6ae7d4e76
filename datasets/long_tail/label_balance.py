"""Choosing images whose label distribution is that of others: validation splits like the test split."""

from __future__ import annotations

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from ...errors import InputError


def choose_like(
    pool: NDArray[np.uint8], model: NDArray[np.uint8], size: int, *, seed: int, largest_share: float = 1.0
) -> list[int]:
    """Choose `size` rows of a pool whose class frequencies are near those of a model.

    Starts from a random sample and exchanges rows, the best to take for the best to give, while that brings the class
    counts nearer to the model's. In integers from a frozen random stream: the same rows on every machine.

    Args:
        pool: `(N, C)` of 0/1, the rows to choose from.
        model: `(M, C)` of 0/1, whose distribution is wanted.
        size: how many rows.
        seed: of the sample that it starts from.
        largest_share: of a class's rows in the pool that may be taken; 0.5 leaves at least half of every class.

    Returns:
        Row numbers, ascending.

    Raises:
        InputError: if the pool is too small.
    """
    if not 0 < size <= len(pool):
        raise InputError(f"cannot choose {size} of {len(pool)} images; take a share between 0 and 1, or add images")
    most = np.floor(pool.sum(axis=0, dtype=np.int64) * largest_share).astype(np.int64)
    wanted = np.minimum(_rounded_share(model, size), most)
    # Relative deviations count, so that rare classes are met as well as frequent ones.
    weights = 1_000_000 // (wanted + 1)
    rows = pool.astype(np.int64)
    chosen, have = _first_sample(rows, most, size, RandomState(seed))
    while (exchange := _best_exchange(rows, chosen, have, wanted, weights, most)) is not None:
        given, taken = exchange
        chosen[given], chosen[taken] = False, True
        have += rows[taken] - rows[given]
    return [int(i) for i in np.flatnonzero(chosen)]


def _rounded_share(model: NDArray[np.uint8], size: int) -> NDArray[np.int64]:
    counts = model.sum(axis=0, dtype=np.int64)
    return np.asarray((2 * counts * size + len(model)) // (2 * len(model)))


def _first_sample(
    rows: NDArray[np.int64], most: NDArray[np.int64], size: int, random: RandomState
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    chosen, have = np.zeros(len(rows), dtype=bool), np.zeros(rows.shape[1], dtype=np.int64)
    for i in random.permutation(len(rows)):
        if chosen.sum() == size:
            break
        if (have + rows[i] <= most).all():
            chosen[i] = True
            have += rows[i]
    if chosen.sum() < size:
        raise InputError(
            f"only {int(chosen.sum())} of {len(rows)} images can be set aside without emptying a class, {size} "
            "wanted; take a smaller share"
        )
    return chosen, have


def _best_exchange(
    rows: NDArray[np.int64],
    chosen: NDArray[np.bool_],
    have: NDArray[np.int64],
    wanted: NDArray[np.int64],
    weights: NDArray[np.int64],
    most: NDArray[np.int64],
) -> tuple[int, int] | None:
    """The rows to give and to take, or None where no such exchange brings the counts nearer."""
    inside, outside = np.flatnonzero(chosen), np.flatnonzero(~chosen)
    if not len(outside):
        return None
    # Squared deviation after giving row y: each of its classes changes by w (1 - 2 (have - wanted)).
    cost_of_giving = rows[inside] @ (weights * (1 - 2 * (have - wanted)))
    given = int(inside[cost_of_giving.argmin()])
    left = have - rows[given]
    cost_of_taking = rows[outside] @ (weights * (1 + 2 * (left - wanted)))
    full = (left >= most).astype(np.int64)
    cost_of_taking[rows[outside] @ full > 0] = np.iinfo(np.int64).max
    taken = int(outside[cost_of_taking.argmin()])
    best_taking = int(cost_of_taking.min())
    if best_taking == np.iinfo(np.int64).max or int(cost_of_giving.min()) + best_taking >= 0:
        return None
    return given, taken
