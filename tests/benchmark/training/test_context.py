"""What a loss is told beside logits and labels: where in training each batch stands, and which images it holds."""

import mltbench
import numpy as np
import pytest
import torch
from mltbench.benchmark.experiments.recipe import Schedule
from mltbench.benchmark.speed.plain_loop import PlainLoop, write_images
from mltbench.benchmark.training.check import check_method, tiny_dataset, tiny_experiment
from mltbench.datasets.dataset import Dataset
from mltbench.methods.catalogue import get_method
from torch import nn
from trainings import Training

# The first eight bytes of the SHA-256 of "3/sampling", halved.
SAMPLING_OF_3 = 2015280284985760992
EPOCHS = Schedule(epochs=3, decay_after=())
# Batches of 7 of 18 images; of 16 draws of classes and of 18 of either kind whole ones alone.
SIZES = {"erm": [7, 7, 4], "rs": [7, 7], "map-surrogate": [7, 7]}


class Asks(nn.Module):
    """A loss that keeps what it is given."""

    takes_context = True

    def __init__(self, statistics):
        super().__init__()
        self.given = []

    def forward(self, logits, labels, *more):
        self.given.append((labels.clone(), *more))
        return nn.functional.binary_cross_entropy_with_logits(logits, labels)


class AsksNothing(Asks):
    takes_context = False


class SaysNothing(nn.Module):
    """A loss as they all were, that can be called in one way alone."""

    def __init__(self, statistics):
        super().__init__()

    def forward(self, logits, labels):
        return nn.functional.binary_cross_entropy_with_logits(logits, labels)


@pytest.fixture
def experiment_of(own_registrations):
    """Make an experiment with a loss of one's own, trained like another method."""

    def experiment_of(loss, like):
        mltbench.register_loss("own", like=like)(loss)
        settings = {"plain": EPOCHS, "resampled": EPOCHS, "batch_size": 7, "image_size": 16, "neck_width": 8}
        return tiny_experiment(get_method("own"), seed=3, **settings)

    return experiment_of


def orders(like):
    """The images of each batch of three epochs, by epoch, drawn by the method's sampler alone."""
    draws = np.random.Generator(np.random.PCG64(SAMPLING_OF_3))
    stream = get_method(like).sampler.open(tiny_dataset().split("train").labels, draws)
    for epoch in range(3):
        batches = np.split(stream.next_epoch(), np.cumsum(SIZES[like]))
        yield from ((epoch, rows.tolist()) for rows in batches[: len(SIZES[like])])


def plainly(given):
    """What a loss was given as (epoch, rows) of each batch, each checked in all else."""
    labels = torch.from_numpy(tiny_dataset().split("train").labels).float()
    for step, (targets, context) in enumerate(given):
        assert (int(context.step), context.epochs, context.images) == (step, 3, 18)
        assert torch.equal(targets, labels[context.indices])
    return [(int(context.epoch), context.indices.tolist()) for _, context in given]


@pytest.mark.parametrize("like", SIZES)
def test_a_loss_that_asks_is_told_epoch_step_and_images_of_each_batch(like, experiment_of, monkeypatch):
    training = Training(experiment_of(Asks, like), tiny_dataset())
    # Which may be a file: nothing reads it in each step.
    monkeypatch.setattr(Dataset, "labels", None)
    training.all_epochs()
    assert plainly(training.learner.loss.given) == list(orders(like))
    # As on a GPU, where a graph reads them anew at each step.
    for _, context in training.learner.loss.given:
        assert {place.shape for place in (context.epoch, context.step)} == {()}
        assert {place.dtype for place in (context.epoch, context.step, context.indices)} == {torch.int64}


def test_it_is_told_the_same_when_training_goes_on_in_the_middle_of_an_epoch(experiment_of):
    experiment = experiment_of(Asks, "erm")
    first, second = (Training(experiment, tiny_dataset()) for _ in range(2))
    first.epoch()
    first.feed.begin_epoch(1)
    first.learner.learn(next(first.feed.batches()))
    second.learner.load_state(first.learner.state())
    second.feed.load_state(first.feed.state())
    for epoch in (1, 2):
        second.epoch(epoch)
    assert plainly(first.learner.loss.given + second.learner.loss.given) == list(orders("erm"))


@pytest.mark.parametrize("like", SIZES)
def test_the_plain_loop_tells_it_the_same(like, experiment_of, tmp_path):
    paths = write_images(tiny_dataset().split("train").images, tmp_path)
    plain = PlainLoop(experiment_of(Asks, like), tiny_dataset(), paths, device="cpu")
    for epoch in range(3):
        list(plain.train_epoch(epoch))
    assert plainly(plain.loss.given) == list(orders(like))


@pytest.mark.parametrize("loss", [AsksNothing, SaysNothing])
def test_a_loss_that_does_not_ask_is_given_logits_and_labels_alone(loss, experiment_of, tmp_path):
    experiment = experiment_of(loss, "erm")
    training = Training(experiment, tiny_dataset())
    training.epoch()
    plain = PlainLoop(
        experiment, tiny_dataset(), write_images(tiny_dataset().split("train").images, tmp_path), device="cpu"
    )
    list(plain.train_epoch(0))
    if loss is AsksNothing:
        assert {len(given) for loop in (training.learner, plain) for given in loop.loss.given} == {1}
    assert check_method(get_method("own")) is None
