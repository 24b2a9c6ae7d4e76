"""What a cohort is shown, from its seed: which images in which order, cropped where, with which labels."""

import io
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from mltbench.benchmark.experiments.recipe import Augmentation
from mltbench.benchmark.networks.backbones import InputFormat
from mltbench.benchmark.training.augmentation import augment, parameters_from_draws
from mltbench.benchmark.training.check import tiny_experiment
from mltbench.benchmark.training.execution import Execution
from mltbench.datasets.dataset import Dataset, Split
from mltbench.methods.catalogue import get_method
from trainings import Training

# The first eight bytes of the SHA-256 of "3/sampling" and "3/augmentation", halved.
SAMPLING_OF_3, AUGMENTATION_OF_3 = 2015280284985760992, 2317018383905308170
SIZES = {"train": 13, "validation": 7, "test": 5}


def wide_dataset():
    """Splits of different sizes, of images of 10 x 14 pixels."""
    draws, splits = np.random.default_rng(0), {}
    for name, size in SIZES.items():
        labels = np.zeros((size, 6), np.uint8)
        labels[np.arange(size), np.arange(size) % 6] = 1
        labels[:4, 0] = 1
        images = draws.integers(0, 256, (size, 10, 14, 3)).astype(np.uint8)
        splits[name] = Split(images=images, labels=labels, ids=np.array([f"{name}-{i}" for i in range(size)]))
    return Dataset.in_memory("wide", [f"class {i}" for i in range(6)], splits)


def training_of(name="erm", *, seed=3, **recipe):
    settings = {"batch_size": 5, "image_size": 12, "neck_width": 8, "dropout": 0.0, **recipe}
    experiment = tiny_experiment(get_method(name), seed=seed, **settings)
    pixels = InputFormat(mean=(0.5, 0.4, 0.3), deviation=(0.2, 0.25, 0.5))
    experiment = replace(experiment, weights_digest="random", input_format=pixels)
    return Training(experiment, wide_dataset(), Execution())


def shown_in(training, epochs):
    """What the trunk was given, and the batches."""
    shown, trunk = [], training.network.folded_trunk()
    training.network.folded_trunk = lambda: lambda pixels: shown.append(pixels.clone()) or trunk(pixels)
    batches = []
    for epoch in range(epochs):
        training.feed.begin_epoch(epoch)
        batches += training.feed.batches()
        training.feed.end_epoch()
    return shown, batches


@pytest.mark.parametrize("name", ["erm", "rs"])
@pytest.mark.parametrize("changes", [{}, {"saturation": 0, "hue": 0}])
def test_an_epoch_shows_the_images_that_its_seed_draws_each_with_its_own_crop_and_labels(name, changes):
    augmentation = replace(Augmentation(), smallest_crop=0.4, **changes)
    training = training_of(name, augmentation=augmentation)
    split = training.dataset.split("train")
    shown, batches = shown_in(training, 2)
    orders = get_method(name).sampler.open(split.labels, np.random.Generator(np.random.PCG64(SAMPLING_OF_3)))
    parts = [slice(0, 5), slice(5, 10), slice(10, 13)] if name == "erm" else [slice(0, 5)]
    draws, expected = torch.Generator().manual_seed(AUGMENTATION_OF_3), []
    for epoch in range(2):
        order = orders.next_epoch()
        numbers = torch.rand(len(order), 16, generator=draws)
        grey = augment(
            torch.from_numpy(split.images[order]), parameters_from_draws(numbers, augmentation), augmentation, size=12
        )
        # Of the 9 images of a re-sampled epoch whole batches alone.
        expected += [(epoch, order[part], grey[part]) for part in parts]
    assert len(batches) == len(shown) == len(expected)
    for batch, pixels, (epoch, images, grey) in zip(batches, shown, expected, strict=True):
        assert (batch.epoch, len(batch)) == (epoch, len(images))
        assert torch.equal(batch.targets, torch.from_numpy(split.labels[images]).float())
        mean, deviation = (torch.tensor(values)[:, None, None] for values in ((0.5, 0.4, 0.3), (0.2, 0.25, 0.5)))
        torch.testing.assert_close(pixels, (grey / 255 - mean) / deviation, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(batch.features, training.network.trunk(pixels), rtol=1e-4, atol=1e-4)
        assert not batch.features.requires_grad


def states_of(training):
    """What a checkpoint would hold, read as it is read."""
    buffer = io.BytesIO()
    torch.save({**training.learner.state(), **training.feed.state()}, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def learnt(training, first=0):
    """Train to the end of the third epoch; what each epoch gave, what was learnt, and the states of every place."""
    saved, epochs, learner, feed = {}, [], training.learner, training.feed
    for epoch in range(first, 3):
        feed.begin_epoch(epoch)
        saved[epoch, 0] = states_of(training)
        for number, batch in enumerate(feed.batches(), 1):
            learner.learn(batch)
            saved[epoch, number] = states_of(training)
        epochs.append((learner.end_epoch(feed), feed.images, feed.epoch, feed.crops.get_state().tolist()))
        feed.end_epoch()
        saved[epoch, "end"] = states_of(training)
    kept = (learner.network, learner.loss)
    tensors = [*(value for part in kept for value in part.state_dict().values()), learner.optimiser.momentum[0]]
    return epochs, [learner.steps, learner.optimiser.learning_rate, *(value.tolist() for value in tensors)], saved


RESUMED = {"warmup_iterations": 5, "learning_rate": 0.05, "batch_size": 3}


@cache
def uninterrupted(name):
    return learnt(training_of(name, **RESUMED))


@pytest.mark.parametrize("name", ["erm", "rs", "eql-v2", "map-surrogate"])
@pytest.mark.parametrize("place", [(0, 1), (1, 0), (1, 1), (1, 3), (1, "end")])
def test_training_goes_on_from_any_place_with_the_same_bits(name, place):
    epochs, expected, states = uninterrupted(name)
    # Wherever the other has been before, with another seed.
    resumed = training_of(name, seed=4, **RESUMED)
    resumed.epoch()
    resumed.learner.graphs.by_size = resumed.feed.graphs.by_size = {3: "of other weights"}
    resumed.learner.load_state(states[place])
    resumed.feed.load_state(states[place])
    assert resumed.learner.graphs.by_size == resumed.feed.graphs.by_size == {}
    first = place[0] + (place[1] == "end")
    assert learnt(resumed, first)[:2] == (epochs[first:], expected)


@pytest.mark.parametrize(("course", "kept"), [({"losses": (2.0, 4.0)}, 2), (None, 0)])
def test_losses_of_a_checkpoint_of_version_0_1_0_lie_beside_the_place(course, kept):
    learner = training_of().learner
    states = learner.state()
    del states["losses"]
    course = course and {"losses": [torch.tensor(loss) for loss in course["losses"]]}
    learner.load_state({**states, "course": course})
    assert [loss.item() for loss in learner.meter.state()] == [2.0, 4.0][:kept]


def test_names_are_those_of_the_images_of_a_batch():
    training = training_of()
    training.feed.begin_epoch(0)
    order = training.feed.order.tolist()
    assert sorted(order) == list(range(13))
    assert training.feed.image_names(0) == [f"train-{i}" for i in order[:5]]
    assert training.feed.image_names(2) == [f"train-{i}" for i in order[10:]]
