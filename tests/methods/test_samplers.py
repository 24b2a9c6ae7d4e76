import numpy as np
import pytest
from mltbench.datasets.long_tail.statistics import ClassStatistics
from mltbench.methods.samplers import ClassAware, InstanceBalanced, PositivesAndNegatives


def single_label_matrix(*sizes):
    """Return labels of one class per image, so that a drawn image shows which visit it belongs to."""
    return np.repeat(np.eye(len(sizes), dtype=np.uint8), sizes, axis=0)


def draw(labels, epochs, *, sampler=None):
    stream = (sampler or ClassAware()).open(labels, np.random.default_rng(0))
    return [stream.next_epoch() for _ in range(epochs)]


@pytest.mark.parametrize(("facts", "length"), [("voc_facts", 3875), ("coco_facts", 22560)])
def test_epochs_of_the_published_sets_have_their_length(facts, length, request):
    labels = request.getfixturevalue(facts)["train_labels"]
    assert ClassAware().epoch_length(labels) == length
    assert InstanceBalanced().epoch_length(labels) == len(labels)
    (epoch,) = draw(labels, 1)
    assert epoch.shape == (length,)
    assert epoch.dtype == np.int64


def test_epoch_length_is_cut_to_a_whole_number():
    labels = single_label_matrix(9, 1, 1)
    # int(n_max C / 4) = int(9 * 3 / 4).
    assert ClassAware().epoch_length(labels) == 6
    assert ClassAware(epoch_fraction=1).epoch_length(labels) == 27
    # Sums of bytes would wrap at 256.
    assert ClassAware().epoch_length(np.ones((1000, 4), dtype=np.uint8)) == 1000


def test_images_of_which_a_class_is_unknown_are_not_drawn_for_it():
    labels = np.full((12, 2), 255, dtype=np.uint8)
    labels[:8, 0], labels[8:11, 1] = 1, 1
    assert ClassAware(epoch_fraction=1).epoch_length(labels) == 16
    drawn = np.concatenate(draw(labels, 40, sampler=ClassAware(images_per_visit=1)))
    assert set(drawn.tolist()) == set(range(11))
    assert (drawn < 8).mean() == 0.5


@pytest.mark.parametrize("images", [1, 3])
def test_each_visit_takes_its_images_and_each_class_is_visited_before_any_is_again(images):
    # An epoch is 9 draws; a cycle of the 4 classes therefore continues in the next epoch.
    labels, sampler = single_label_matrix(9, 6, 4, 2), ClassAware(images_per_visit=images)
    visits = labels.argmax(axis=1)[np.concatenate(draw(labels, 40, sampler=sampler))].reshape(-1, images)
    assert (visits == visits[:, :1]).all()
    cycles = visits[:, 0].reshape(-1, 4)
    assert (np.sort(cycles, axis=1) == np.arange(4)).all()
    assert len({tuple(cycle) for cycle in cycles.tolist()}) > 5


def test_each_image_of_a_class_comes_before_any_does_again():
    sizes = (9, 6, 4, 2)
    labels = single_label_matrix(*sizes)
    drawn = np.concatenate(draw(labels, 60))
    owner = labels.argmax(axis=1)
    for c, size in enumerate(sizes):
        images = drawn[owner[drawn] == c]
        rounds = images[: len(images) // size * size].reshape(-1, size)
        assert len(rounds) > 10
        assert (np.sort(rounds, axis=1) == np.flatnonzero(owner == c)).all()
        assert len({tuple(order) for order in rounds.tolist()}) > 1


def test_the_last_visit_is_cut_to_the_epoch():
    labels = single_label_matrix(10, 6, 4, 2)
    owner = labels.argmax(axis=1)
    for epoch in draw(labels, 6):
        visited = owner[epoch]
        assert len(visited) == 10
        assert [len(set(visited[i : i + 3])) for i in (0, 3, 6, 9)] == [1, 1, 1, 1]


def test_class_frequencies_are_those_of_eq_1():
    generator = np.random.default_rng(5)
    # The largest class has 24 images, so an epoch, int(24 * 5 / 4) = 30 draws, is two cycles of 5 visits of 3 images.
    labels = (generator.random((30, 5)) < [0, 0.5, 0.3, 0.2, 0.1]).astype(np.uint8)
    labels[:24, 0] = 1
    labels[24:, 4] = 1
    epochs = 400
    drawn = np.concatenate(draw(labels, epochs))
    assert len(drawn) == epochs * 30
    statistics = ClassStatistics.from_labels(labels)
    # Every class fills a fifth of the draws by whole cycles of its images and a started one: of its draws no class
    # label can be off by more than the images of one cycle.
    tolerance = float(np.mean(statistics.counts / (len(drawn) / 5)))
    assert tolerance < 0.01
    assert np.ptp(statistics.expected_frequencies) > 0.3
    np.testing.assert_allclose(labels[drawn].mean(axis=0), statistics.expected_frequencies, rtol=0, atol=tolerance)


def test_instance_balanced_epochs_are_permutations():
    epochs = draw(single_label_matrix(20, 5), 4, sampler=InstanceBalanced())
    assert all(sorted(epoch.tolist()) == list(range(25)) for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 4
    assert ClassAware.drop_last
    assert PositivesAndNegatives.drop_last
    assert not InstanceBalanced.drop_last


def plain_draws(labels, images, length, epochs, generator, sides=(1,)):
    """Epochs of a cycle of classes and a cycle of images for each side of each class, as they are described."""
    classes, drawn = [], []
    cells = [(c, side) for c in range(labels.shape[1]) for side in sides]
    members = {(c, side): np.flatnonzero(labels[:, c] == side).astype(np.int32) for c, side in cells}
    queues = {cell: [] for cell in cells}
    order = np.arange(labels.shape[1])
    for _ in range(epochs):
        epoch = []
        while len(epoch) < length:
            if not classes:
                generator.shuffle(order)
                classes = order.tolist()
            c = classes.pop(0)
            for side in sides:
                for _ in range(images if len(members[c, side]) else 0):
                    if len(epoch) == length:
                        break
                    if not queues[c, side]:
                        generator.shuffle(members[c, side])
                        queues[c, side] = members[c, side].tolist()
                    epoch.append(queues[c, side].pop(0))
        drawn.append(epoch)
    return drawn


@pytest.mark.parametrize(("images", "fraction", "length"), [(3, 0.25, 9), (1, 0.5, 18), (5, 1, 36)])
def test_draws_are_those_of_plain_cycles(images, fraction, length):
    labels = (np.random.default_rng(1).random((20, 4)) < [0.4, 0.3, 0.2, 0.1]).astype(np.uint8)
    labels[:9, 0], labels[9:, 0], labels[19] = 1, 0, [255, 1, 255, 1]
    sampler = ClassAware(images_per_visit=images, epoch_fraction=fraction)
    assert sampler.epoch_length(labels) == length
    expected = plain_draws(labels, images, length, 12, np.random.default_rng(0))
    assert [epoch.tolist() for epoch in draw(labels, 12, sampler=sampler)] == expected
    assert (InstanceBalanced().kind, sampler.kind) == ("instance-balanced", "class-aware")


def incomplete_matrix():
    """Twenty images of four classes: the first is in all of which it is known, and of two images it is not."""
    labels = (np.random.default_rng(1).random((20, 4)) < [1, 0.5, 0.3, 0.1]).astype(np.uint8)
    labels[3:5], labels[5, 1:], labels[6] = 255, 255, [1, 0, 0, 1]
    return labels


@pytest.mark.parametrize("images", [1, 2, 5])
def test_draws_of_both_sides_are_those_of_plain_cycles(images):
    labels, sampler = incomplete_matrix(), PositivesAndNegatives(images_per_side=images)
    assert sampler.epoch_length(labels) == 20
    expected = plain_draws(labels, images, 20, 12, np.random.default_rng(0), sides=(1, 0))
    drawn = draw(labels, 12, sampler=sampler)
    assert [epoch.tolist() for epoch in drawn] == expected
    assert {epoch.dtype for epoch in drawn} == {np.dtype(np.int64)}
    # Of images 3 and 4 nothing is known.
    assert set(np.concatenate(drawn).tolist()) == set(range(20)) - {3, 4}


@pytest.mark.parametrize("images", [1, 2, 4])
def test_as_many_images_with_a_class_are_drawn_as_without_it_until_every_class_was_visited(images):
    # 32 images in 4 classes, and an epoch is whole visits.
    labels, sampler = single_label_matrix(16, 8, 6, 2), PositivesAndNegatives(images_per_side=images)
    (stream,) = [np.concatenate(draw(labels, 60, sampler=sampler))]
    visits = stream.reshape(-1, 2, images)
    owners = labels.argmax(axis=1)[visits]
    visited = owners[:, 0, :1]
    assert (owners[:, 0] == visited).all()
    assert (owners[:, 1] != visited).all()
    assert (np.sort(visited.reshape(-1, 4), axis=1) == np.arange(4)).all()
    for c, size in enumerate((16, 8, 6, 2)):
        for side, number in ((0, size), (1, 32 - size)):
            images_of_side = visits[visited[:, 0] == c, side].reshape(-1)
            rounds = images_of_side[: len(images_of_side) // number * number].reshape(-1, number)
            assert len(rounds) > 3
            assert (np.sort(rounds, axis=1) == np.flatnonzero((labels[:, c] == 1) == (side == 0))).all()


def test_images_of_which_nothing_is_known_change_no_draw_of_both_sides():
    labels, sampler = incomplete_matrix(), PositivesAndNegatives()
    # A row more that nothing is known of changes the length of an epoch alone.
    longer = np.vstack([labels, np.full((1, 4), 255, dtype=np.uint8)])
    one, other = (np.concatenate(draw(some, 30, sampler=sampler)) for some in (labels, longer))
    # Visits that an epoch's end cuts are not resumed: up to there both are one sequence.
    assert one[:20].tolist() == other[:20].tolist()
    # Rows before all others move what is drawn by as many.
    moved = np.concatenate(draw(np.vstack([np.full((20, 4), 255, dtype=np.uint8), labels]), 1, sampler=sampler))
    assert moved[:20].tolist() == (one[:20] + 20).tolist()


def test_every_image_once_is_a_permutation_of_the_generator_that_was_given():
    generator = np.random.default_rng(0)
    for epoch in draw(single_label_matrix(20, 5), 3, sampler=InstanceBalanced()):
        assert epoch.tolist() == generator.permutation(25).tolist()


@pytest.mark.parametrize("sampler", [InstanceBalanced(), ClassAware(), PositivesAndNegatives()])
def test_a_stream_continues_from_its_state(sampler):
    labels = single_label_matrix(10, 6, 4, 2)
    stream, other = (sampler.open(labels, np.random.default_rng(seed)) for seed in (0, 1))
    stream.next_epoch()
    state = stream.state()
    expected = [stream.next_epoch().tolist() for _ in range(5)]
    # The state is a copy, whichever stream goes on, and however often it is loaded.
    for again in (other, stream, other):
        again.load_state(state)
        assert [again.next_epoch().tolist() for _ in range(5)] == expected
