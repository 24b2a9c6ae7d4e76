"""A training without folder or journal: one learner with a feed of its own."""

import random
from dataclasses import dataclass, replace
from typing import Any

import torch
from mltbench.benchmark.experiments.recipe import Schedule
from mltbench.benchmark.training.check import tiny_dataset, tiny_experiment
from mltbench.benchmark.training.execution import Execution
from mltbench.benchmark.training.feed import Feed
from mltbench.benchmark.training.learner import Learner
from mltbench.datasets.word_vectors import hashed_word_vectors
from mltbench.methods.catalogue import get_method
from torch import nn


class Training:
    """Trains one experiment epoch by epoch."""

    def __init__(self, experiment, dataset, execution=None, **more):
        self.experiment, self.dataset = experiment, dataset
        self.learner = Learner(experiment, dataset, execution or Execution(), **more)
        self.feed = Feed(experiment, dataset, self.learner.network, self.learner.device)
        self.network = self.learner.network

    def epoch(self, number=0):
        """Train one epoch; return its mean loss and the images that it took."""
        self.feed.begin_epoch(number)
        for batch in self.feed.batches():
            self.learner.learn(batch)
        loss = self.learner.end_epoch(self.feed)
        self.feed.end_epoch()
        return loss, self.feed.images

    def all_epochs(self):
        """Train to the end; return the mean loss of each epoch."""
        return [self.epoch(number)[0] for number in range(self.learner.training["schedule"]["epochs"])]

    def step(self, indices, draws, epoch=0):
        """Take a step on images by their indices, augmented by these uniform numbers; return the loss."""
        features, place = self.feed.features(indices, self.feed.prepare(draws)), self.learner.place(epoch, indices)
        return self.learner.step(features, self.feed.data.targets(indices), *place)


@dataclass(frozen=True)
class OwnLoss:
    """A part that builds any module as a loss."""

    make: Any
    kind = "own"
    parameters = {}  # noqa: RUF012

    def build(self, statistics):
        return self.make()


class Counts(nn.Module):
    """A loss that counts its calls in Python."""

    calls = 0

    def forward(self, logits, labels):
        self.calls += 1
        return self.calls * nn.functional.binary_cross_entropy_with_logits(logits, labels)


class Remembers(nn.Module):
    """A loss that keeps what it remembers in a dictionary."""

    def __init__(self):
        super().__init__()
        self.state = {"calls": 0, "last": None}

    def forward(self, logits, labels):
        self.state["calls"] += 1
        return self.state["calls"] * nn.functional.binary_cross_entropy_with_logits(logits, labels)


class Draws(nn.Module):
    """A loss that draws numbers on the host."""

    def forward(self, logits, labels):
        return (1 + random.random()) * nn.functional.binary_cross_entropy_with_logits(logits, labels)


class Replaces(nn.Module):
    """A loss that puts another tensor into the place of its buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, logits, labels):
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels)
        self.mean = 0.9 * self.mean + 0.1 * loss.detach()
        return loss * (1 + self.mean)


def settled(module):
    """BatchNorm as after a training: all of its four parts matter."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.1, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.1, 0.1)
    return module.eval()


def make_training(
    name="erm", *, epochs=2, decay_after=(), seed=0, loss=None, backbone="digits-resnet", execution=None,
    parameters=None, **recipe,
):  # fmt: skip
    """A training on the tiny set of 18 images, with batches of 6; `parameters` are the method's own where not given."""
    dataset, schedule = tiny_dataset(), Schedule(epochs=epochs, decay_after=decay_after)
    method = get_method(name).with_parameters(**parameters or {})
    if loss:
        method = replace(method, loss=loss, weights=None, adjustment=None, focal=None)
    settings = {"plain": schedule, "resampled": schedule, "batch_size": 6, "neck_width": 8, **recipe}
    experiment = replace(tiny_experiment(method, seed=seed, **settings), backbone=backbone, weights_digest="random")
    vectors = hashed_word_vectors(dataset.classes).vectors if method.head.needs_word_vectors else None
    return Training(experiment, dataset, execution, word_vectors=vectors)
