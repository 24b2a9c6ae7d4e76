"""Drawing a split whose classes are as frequent as another's, image by image or by whole groups of images."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from ...errors import InputError

IMPOSSIBLE = np.iinfo(np.int64).max
# Of groups, which differ in size, so many are tried as the one to drop, and few groups from so many samples: of 30
# groups of 100 images, 900 wanted, the counts of 8 classes then differ by up to 21, where one of each left up to 88.
CANDIDATES, STARTS, FEW = 32, 8, 2000


def choose_like(
    pool: NDArray[np.uint8 | np.bool_],
    model: NDArray[np.uint8 | np.bool_],
    size: int,
    *,
    seed: int,
    largest_share: float = 1.0,
    groups: Sequence[str] | None = None,
) -> list[int]:
    """Choose `size` rows of a pool whose class frequencies are near those of a model: a validation like the test split.

    Starts from a random sample and exchanges one row at a time, the best to add for the best to drop, while that moves
    the class counts closer to the model's. In integers from a frozen random stream: the same rows on every machine.

    Args:
        pool: `(N, C)` of labels, the rows to choose from; cells that are 1 count.
        model: `(M, C)` of labels, whose distribution is wanted.
        size: how many rows; fewer come back where `largest_share` or `groups` allow no more, none if they allow none.
        seed: of the sample that it starts from.
        largest_share: of a class's rows in the pool that may be taken, rounded down.
        groups: group of each row; the rows of a group are taken together or not at all. None takes single rows.

    Raises `InputError` if the pool has fewer rows.
    """
    if not 0 < size <= len(pool):
        raise InputError(f"cannot choose {size} of {len(pool)} images; take a share between 0 and 1, or add images")
    numbers: dict[str, int] = {}
    found = [numbers.setdefault(group, len(numbers)) for group in groups] if groups is not None else range(len(pool))
    unit_of = np.array(found)
    rows, classes = np.nonzero(pool == 1)
    share = Fraction(str(largest_share))  # .29 of 100 are 29, which floats miss
    most = np.array([int(share * n) for n in np.bincount(classes, minlength=pool.shape[1]).tolist()])
    counts = (model == 1).sum(axis=0)
    wanted = np.minimum((2 * counts * size + len(model)) // (2 * len(model)), most)  # rounded shares
    draw, generator = _Draw(unit_of, rows, classes, size=size, wanted=wanted, most=most), RandomState(seed)
    best, least = draw.chosen, IMPOSSIBLE
    for _ in range(STARTS if not draw.single and len(draw.images) <= FEW else 1):
        draw.start(generator.permutation(len(draw.images)).tolist())
        draw.improve()
        if (cost := draw.cost) < least:
            best, least = draw.chosen, cost
    return [int(row) for row in np.flatnonzero(best[unit_of])]


class _Draw:
    """Units (single images, or groups of them) of which some are chosen, and what each exchange would cost.

    The cost is the squared deviation of the class counts from the wanted ones, and of the number of images.
    """

    def __init__(
        self,
        unit_of: NDArray[np.int64],  # (N,) unit of each image
        rows: NDArray[np.int64],  # image and class of each label
        classes: NDArray[np.int64],
        *,
        size: int,
        wanted: NDArray[np.int64],  # (C,) images of each class
        most: NDArray[np.int64],
    ) -> None:
        self.size, self.wanted, self.most = size, wanted, most
        self.images = np.bincount(unit_of)  # (U,)
        units, num_classes = len(self.images), len(wanted)
        self.single = bool((self.images == 1).all())
        # How many images of each class a unit has, by class and by unit: most have none.
        keys, amounts = np.unique(classes * units + unit_of[rows], return_counts=True)
        of_class, members = np.divmod(keys, units)
        ends = np.searchsorted(of_class, np.arange(num_classes + 1)).tolist()
        self.in_class = [(members[a:b], amounts[a:b]) for a, b in pairwise(ends)]
        self.in_unit: list[list[tuple[int, int]]] = [[] for _ in range(units)]
        for c, unit, n in zip(of_class.tolist(), members.tolist(), amounts.tolist(), strict=True):
            self.in_unit[unit].append((c, n))
        # Relative deviations count, so that rare classes are met as well as frequent ones; the number of images counts
        # as much as all classes together.
        self.weights = 1_000_000 // (wanted + 1)
        self.weight_of_size = 1_000_000 * num_classes // (size + 1)
        self.chosen = np.zeros(units, dtype=bool)

    @property
    def cost(self) -> int:
        """What is made small."""
        return int((self.weights * (self.have - self.wanted) ** 2).sum()) + self.weight_of_size * self.left**2

    def start(self, order: Sequence[int]) -> None:
        """Choose units in this order, as far as they fit."""
        self.chosen, self.left = np.zeros(len(self.images), dtype=bool), self.size
        have, most, images = [0] * len(self.most), self.most.tolist(), self.images.tolist()
        for unit in order:
            if not self.left:
                break
            if images[unit] <= self.left and all(have[c] + n <= most[c] for c, n in self.in_unit[unit]):
                self.chosen[unit] = True
                self.left -= images[unit]
                for c, n in self.in_unit[unit]:
                    have[c] += n
        self.have = np.array(have)
        # Of each unit: what dropping it would change, the part of it that adding has too, and of how many classes it
        # has more images than may be added.
        self.dropping, self.squares, self.blocking = (np.zeros(len(self.images), dtype=np.int64) for _ in range(3))
        for c, (members, amounts) in enumerate(self.in_class):
            self.dropping[members] += self.weights[c] * amounts * (amounts - 2 * (self.have[c] - self.wanted[c]))
            self.squares[members] += self.weights[c] * amounts**2
            self.blocking[members] += amounts > self.most[c] - self.have[c]

    def improve(self) -> None:
        """Add and exchange units while that lowers the cost; add single images in any case while some are wanted."""
        while not self.chosen.all():
            cost, added = self._best_addition()
            if cost < 0 or (self.single and cost < IMPOSSIBLE):
                self._change(added)
                continue
            best, exchange = 0, (0, 0)
            inside = np.flatnonzero(self.chosen)
            order = self.dropping[inside].argsort(kind="stable")[: 1 if self.single else CANDIDATES]
            for dropped in inside[order].tolist():
                of_dropping = int(self.dropping[dropped] + self._of_size(-self.images[dropped]))
                self._change(dropped)
                cost, added = self._best_addition()
                self._change(dropped)
                if of_dropping + cost < best:
                    best, exchange = of_dropping + cost, (dropped, added)
            if not best:
                return
            for unit in exchange:
                self._change(unit)

    def _best_addition(self) -> tuple[int, int]:
        """What the best unit to add would change, `IMPOSSIBLE` if none can be added, and which it is."""
        cost = 2 * self.squares - self.dropping + self._of_size(self.images)
        cost[self.chosen | (self.blocking > 0) | (self.images > self.left)] = IMPOSSIBLE
        unit = int(cost.argmin())
        return int(cost[unit]), unit

    def _of_size(self, more: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.weight_of_size * more * (more - 2 * self.left)

    def _change(self, unit: int) -> None:
        """Drop a unit that is chosen, choose one that is not."""
        sign = -1 if self.chosen[unit] else 1
        self.chosen[unit] = sign > 0
        self.left -= sign * int(self.images[unit])
        for c, n in self.in_unit[unit]:
            members, amounts = self.in_class[c]
            before = self.most[c] - self.have[c]
            after = before - sign * n
            self.have[c] += sign * n
            self.dropping[members] -= 2 * self.weights[c] * sign * n * amounts
            self.blocking[members] += (amounts > after).astype(np.int64) - (amounts > before)
