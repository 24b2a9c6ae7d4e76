"""The smoke test of a method passes what trains, and says what is wrong with what does not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mltbench.benchmark.experiments.recipe import RECIPES
from mltbench.benchmark.training.check import check_method, tiny_dataset, tiny_experiment
from mltbench.methods.catalogue import get_method
from torch import nn
from trainings import OwnLoss


class Constant(nn.Module):
    def forward(self, logits, labels):
        return torch.ones((), requires_grad=True) + 0 * logits.sum()


class Broken(nn.Module):
    def forward(self, logits, labels):
        raise ZeroDivisionError("of my own")


@pytest.mark.parametrize("name", ["erm", "db-focal", "ml-gcn"])
def test_a_method_of_the_catalogue_passes(name):
    assert check_method(get_method(name)) is None


@pytest.mark.parametrize(
    ("loss", "message"),
    [(Constant, r"no weight has a gradient \(mean loss 1\); does the loss"), (Broken, "ZeroDivisionError: of my own")],
)
def test_a_loss_that_learns_nothing_or_fails_is_named(loss, message):
    assert message.replace("\\", "") in check_method(replace(get_method("erm"), loss=OwnLoss(loss)))


def test_the_tiny_set_is_long_tailed_and_its_splits_differ():
    dataset = tiny_dataset()
    splits = [dataset.split(name) for name in ("train", "validation", "test")]
    for split, name in zip(splits, dataset.splits, strict=True):
        assert split.labels.sum(axis=0).tolist() == [11, 8, 6, 4, 3, 2]
        assert split.images.shape == (18, 48, 48, 3)
        assert split.ids.tolist() == [f"{name}-{i}" for i in range(18)]
    assert len({split.labels.tobytes() for split in splits}) == len({split.images.tobytes() for split in splits}) == 3
    # As recorded: plans and frozen scores rest on it.
    assert [np.flatnonzero(split.labels[:, 5]).tolist() for split in splits] == [[6, 9], [9, 12], [8, 15]]


def test_its_experiment_is_one_epoch_of_the_digits_recipe_unless_it_is_asked_for_another():
    experiment = tiny_experiment(get_method("rs"), seed=4, learning_rate=0.3)
    expected = {"batch_size": 8, "learning_rate": 0.3, "schedule": {"epochs": 1, "decay_after": ()}}
    assert {name: experiment.training[name] for name in expected} == expected
    assert experiment.training["momentum"] == RECIPES["digits"].momentum
    assert (experiment.seed, experiment.dataset, experiment.backbone) == (4, "tiny", "digits-resnet")
