"""Drawn splits: whole groups, classes near the wanted counts, and the rows that the plain algorithm chooses."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mltbench.datasets.long_tail import drawing
from mltbench.datasets.long_tail.drawing import choose_like
from mltbench.errors import InputError
from numpy.random import RandomState

steady = settings(derandomize=True, deadline=None, max_examples=30)


def random_labels(images, classes, seed):
    """Long-tailed labels, none too rare to be there."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((images, classes)) < 0.6 / np.arange(1, classes + 1)).astype(np.uint8)
    labels[np.arange(classes), np.arange(classes)] = 1
    return labels


def random_groups(images, groups, seed):
    return [f"patient {i}" for i in np.random.default_rng(seed).integers(0, groups, images)]


def by_whole_matrices(pool, model, size, *, seed, most, groups=None):
    """The draw as it is described, each cost computed anew from the labels of all that is chosen."""
    names = list(range(len(pool))) if groups is None else groups
    units = [[row for row, name in enumerate(names) if name == unit] for unit in dict.fromkeys(names)]
    single = all(len(rows) == 1 for rows in units)
    content = np.array([[*pool[rows].sum(0, dtype=int), len(rows)] for rows in units])
    wanted = np.array([np.floor(n * size / len(model) + 0.5) for n in model.sum(0, dtype=int)], dtype=int)
    wanted = np.array([*np.minimum(wanted, most), size])
    weights = 1_000_000 // (wanted + 1)
    weights[-1] = 1_000_000 * pool.shape[1] // (size + 1)
    limits = np.array([*most, size])

    def cost(chosen, parts=slice(None)):
        return int((weights * (content[sorted(chosen)].sum(0) - wanted) ** 2)[parts].sum())

    def additions(chosen):
        fitting = [u for u in range(len(units)) if (content[[*chosen, u]].sum(0) <= limits).all() and u not in chosen]
        return sorted((cost(chosen | {u}), u) for u in fitting)

    random_state, draws = RandomState(seed), []
    for _ in range(1 if single else 8):
        chosen = set()
        for unit in random_state.permutation(len(units)).tolist():
            if (content[[*chosen, unit]].sum(0) <= limits).all():
                chosen.add(unit)
        while len(chosen) < len(units):
            before, possible = cost(chosen), additions(chosen)
            if possible and (single or possible[0][0] < before):
                chosen.add(possible[0][1])
                continue
            # What is dropped is what the classes miss least: one single image, or the best of 32 groups.
            dropped = sorted(chosen, key=lambda u: (cost(chosen - {u}, slice(-1)), u))[: 1 if single else 32]
            exchanges = [(additions(chosen - {unit})[0], unit) for unit in dropped]
            if not exchanges or min(exchanges, key=lambda one: one[0][0])[0][0] >= before:
                break
            (_, added), unit = min(exchanges, key=lambda one: one[0][0])
            chosen = chosen - {unit} | {added}
        draws.append((cost(chosen), sorted(row for unit in chosen for row in units[unit])))
    return min(draws, key=lambda one: one[0])[1]


@pytest.mark.parametrize("seed", range(8))
def test_the_rows_are_those_of_the_exchanges_computed_from_all_labels(seed):
    pool, model = random_labels(50 + 5 * seed, 3 + seed, seed), random_labels(40, 3 + seed, 100 + seed)[::-1]
    size, counts = 7 + 5 * seed, pool.sum(0, dtype=int)
    assert choose_like(pool, model, size, seed=seed) == by_whole_matrices(pool, model, size, seed=seed, most=counts)
    # No class gives more than a fifth.
    limited = by_whole_matrices(pool, model, size, seed=seed, most=counts // 5)
    assert choose_like(pool, model, size, seed=seed, largest_share=0.2) == limited
    # Nobody wants the last class, and every image has a label: some are added though that makes the classes worse.
    pool[~pool.any(axis=1), 0], model[:, -1] = 1, 0
    unwanted = by_whole_matrices(pool, model, size, seed=seed, most=pool.sum(0, dtype=int) // 2)
    assert choose_like(pool, model, size, seed=seed, largest_share=0.5) == unwanted
    # Nor has the pool a class that the model has.
    pool[:, -1], model[:, -1] = 0, 1
    absent = by_whole_matrices(pool, model, size, seed=seed, most=pool.sum(0, dtype=int))
    assert choose_like(pool, model, size, seed=seed) == absent


@pytest.mark.parametrize("seed", range(8))
def test_whole_groups_are_those_of_the_exchanges_computed_from_all_labels(seed):
    pool, model = random_labels(60, 4, seed), random_labels(40, 4, 100 + seed)[::-1]
    groups, size = random_groups(60, 12 + 2 * seed, seed), 20 + seed
    for share, most in ((1.0, pool.sum(0, dtype=int)), (0.4, pool.sum(0, dtype=int) * 2 // 5)):
        expected = by_whole_matrices(pool, model, size, seed=seed, most=most, groups=groups)
        assert choose_like(pool, model, size, seed=seed, largest_share=share, groups=groups) == expected


@st.composite
def pools(draw):
    labels = random_labels(draw(st.integers(6, 60)), draw(st.integers(2, 6)), draw(st.integers(0, 999)))
    groups = random_groups(len(labels), draw(st.integers(1, 30)), draw(st.integers(0, 999)))
    return labels, groups, draw(st.sampled_from([0.15, 0.3, 0.5, 0.9])), draw(st.integers(0, 99))


@steady
@given(pools())
def test_groups_are_taken_whole_and_no_class_gives_more_than_its_share(given):
    labels, groups, share, seed = given
    size = max(1, round(share * len(labels)))
    rows = choose_like(labels, labels, size, seed=seed, largest_share=share, groups=groups)
    assert rows == sorted(set(rows))
    taken = {groups[row] for row in rows}
    assert [row for row, group in enumerate(groups) if group in taken] == rows
    assert len(rows) <= size
    assert (labels[rows].sum(0) <= share * labels.sum(0) + 1e-9).all()
    assert rows == choose_like(labels, labels, size, seed=seed, largest_share=share, groups=groups)


def deviation(labels, rows, size):
    """What a draw makes small: relative squared deviations of the classes; the number of images counts like all."""
    wanted = np.floor(labels.sum(0) * size / len(labels) + 0.5)
    of_size = labels.shape[1] * (len(rows) - size) ** 2 / (size + 1)
    return ((labels[rows].sum(0) - wanted) ** 2 / (wanted + 1)).sum() + of_size


def test_of_few_groups_the_draw_is_near_the_best_of_all_subsets():
    ranks = []
    for seed in range(12):
        labels, groups = random_labels(60, 4, seed), random_groups(60, 11, seed)
        of_group = [[row for row, group in enumerate(groups) if group == name] for name in sorted(set(groups))]
        subsets = itertools.chain.from_iterable(itertools.combinations(of_group, k) for k in range(1, 8))
        possible = [[*itertools.chain.from_iterable(subset)] for subset in subsets]
        costs = sorted(deviation(labels, rows, 20) for rows in possible if len(rows) <= 20)
        own = deviation(labels, choose_like(labels, labels, 20, seed=seed, groups=groups), 20)
        ranks.append(np.searchsorted(costs, own - 1e-3) / len(costs))
    assert max(ranks) < 0.01
    assert np.median(ranks) == 0


@pytest.mark.parametrize(("images", "groups"), [(2000, 300), (2000, 40)])
def test_classes_are_nearer_to_the_wanted_counts_than_in_the_best_of_many_random_draws(images, groups):
    labels, named = random_labels(images, 10, 1), random_groups(images, groups, 2)
    size = images * 3 // 10
    rows = choose_like(labels, labels, size, seed=0, groups=named)
    assert 0.98 * size <= len(rows) <= size
    best, of_group = np.inf, [[row for row, group in enumerate(named) if group == name] for name in sorted(set(named))]
    for seed in range(100):
        found = []
        for i in RandomState(seed).permutation(len(of_group)):
            found += of_group[i] if len(found) + len(of_group[i]) <= size else []
        best = min(best, deviation(labels, found, size))
    assert deviation(labels, rows, size) < best / 4


def test_groups_of_one_image_are_as_no_groups():
    labels = random_labels(300, 8, 3)
    alone = [f"image {i}" for i in RandomState(0).permutation(300)]
    plain = choose_like(labels, labels, 60, seed=4, largest_share=0.2)
    assert choose_like(labels, labels, 60, seed=4, largest_share=0.2, groups=alone) == plain


def test_a_huge_group_stays_out_and_the_others_fill_the_split():
    labels = random_labels(400, 6, 5)
    groups = ["huge" if row < 220 else f"small {row // 3}" for row in range(400)]
    rows = choose_like(labels, labels, 120, seed=0, groups=groups)
    assert min(rows) >= 220
    assert len(rows) >= 118
    assert choose_like(labels, labels, 120, seed=0, groups=["one"] * 400) == []


def test_shares_are_exact_and_unknown_cells_do_not_count():
    labels = np.ones((100, 1), np.uint8)
    assert len(choose_like(labels, labels, 50, seed=0, largest_share=0.29)) == 29
    labels = random_labels(200, 5, 6)
    unknown = labels.copy()
    unknown[(labels == 0) & (np.random.default_rng(0).random(labels.shape) < 0.3)] = 255
    assert choose_like(unknown, unknown, 50, seed=1) == choose_like(labels, labels, 50, seed=1)


@pytest.mark.parametrize(("images", "starts"), [(1, 1), (2, 8)])
def test_of_few_groups_eight_samples_are_tried_of_single_images_and_of_many_groups_one(images, starts, monkeypatch):
    permuted = []

    class Counting(RandomState):
        def permutation(self, units):
            permuted.append(units)
            return super().permutation(units)

    monkeypatch.setattr(drawing, "RandomState", Counting)
    monkeypatch.setattr(drawing, "FEW", 10)
    for units, expected in ((10, starts), (11, 1)):
        labels = np.repeat(np.eye(units, 3, dtype=np.uint8), images, axis=0)
        choose_like(labels, labels, 6, seed=0, groups=[str(i // images) for i in range(len(labels))])
        assert permuted == [units] * expected
        permuted.clear()
    # Other numbers draw other rows from the same seed.
    monkeypatch.undo()
    assert (drawing.CANDIDATES, drawing.STARTS, drawing.FEW) == (32, 8, 2000)


def test_of_equal_draws_the_first_is_kept():
    labels = np.ones((20, 1), np.uint8)
    for seed in range(5):
        first = RandomState(seed).permutation(10)[:2]
        rows = choose_like(labels, labels, 4, seed=seed, groups=[str(i // 2) for i in range(20)])
        assert rows == sorted([*(2 * first), *(2 * first + 1)])


@pytest.mark.parametrize("size", [0, 3])
def test_no_rows_and_more_than_there_are_cannot_be_chosen(size):
    pool = np.eye(2, dtype=np.uint8)
    with pytest.raises(InputError, match=f"cannot choose {size} of 2 images"):
        choose_like(pool, pool, size, seed=0)
    assert choose_like(pool, pool, 2, seed=0) == [0, 1]
