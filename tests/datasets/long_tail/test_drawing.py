"""Drawn splits: whole groups, classes near the wanted counts, and the rows that the plain algorithm chooses."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mltbench.datasets.long_tail.drawing import choose_like
from mltbench.errors import InputError
from numpy.random import RandomState

steady = settings(derandomize=True, deadline=None, max_examples=60)


def random_labels(images, classes, seed):
    """Long-tailed labels, none too rare to be there."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((images, classes)) < 0.6 / np.arange(1, classes + 1)).astype(np.uint8)
    labels[np.arange(classes), np.arange(classes)] = 1
    return labels


def random_groups(images, groups, seed):
    return [f"patient {i}" for i in np.random.default_rng(seed).integers(0, groups, images)]


def by_whole_matrices(pool, model, size, seed):
    """The exchanges as they are described, each cost computed anew from all labels."""
    wanted = (2 * model.sum(0, dtype=int) * size + len(model)) // (2 * len(model))
    wanted = np.minimum(wanted, pool.sum(0))
    weights = 1_000_000 // (wanted + 1)

    def cost(chosen):
        return (weights * (pool[chosen].sum(0, dtype=int) - wanted) ** 2).sum()

    chosen = np.zeros(len(pool), bool)
    chosen[RandomState(seed).permutation(len(pool))[:size]] = True
    while not chosen.all():
        before, trials = cost(chosen), []
        for row in np.flatnonzero(chosen):
            chosen[row] = False
            trials.append((cost(chosen), row))
            chosen[row] = True
        dropped = min(trials)[1]
        chosen[dropped], trials = False, []
        for row in np.flatnonzero(~chosen):
            if row != dropped:
                chosen[row] = True
                trials.append((cost(chosen), row))
                chosen[row] = False
        after, added = min(trials)
        if after >= before:
            chosen[dropped] = True
            break
        chosen[added] = True
    return np.flatnonzero(chosen).tolist()


@pytest.mark.parametrize("seed", range(8))
def test_the_rows_are_those_of_the_exchanges_computed_from_all_labels(seed):
    pool, model = random_labels(50 + 5 * seed, 3 + seed, seed), random_labels(40, 3 + seed, 100 + seed)[::-1]
    size = 7 + 5 * seed
    assert choose_like(pool, model, size, seed=seed) == by_whole_matrices(pool, model, size, seed)


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


def test_more_rows_than_there_are_cannot_be_chosen():
    with pytest.raises(InputError, match="cannot choose 3 of 2 images"):
        choose_like(np.eye(2, dtype=np.uint8), np.eye(2, dtype=np.uint8), 3, seed=0)
