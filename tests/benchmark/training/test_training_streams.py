import hashlib

import pytest
import torch
from mltbench.benchmark.experiments.streams import numpy_stream, stream_seed, torch_stream
from mltbench.benchmark.training.generators import GeneratorTurns
from torch import nn
from trainings import OwnLoss, make_training


def trained(*arguments, evaluate=False, **named):
    """Initial weights, everything that the network was shown in training, final weights, and test scores."""
    training = make_training(*arguments, **named)
    network, learner = training.network, training.learner
    initial = {name: value.clone() for name, value in network.state_dict().items()}
    shown, trunk = [], network.folded_trunk()

    def record(images):
        if network.neck.training:
            shown.append(images.clone())
        return trunk(images)

    network.folded_trunk = lambda: record
    with GeneratorTurns(learner.device) as turns:
        turns.begin(learner, learner.dropout_seed)
        for epoch in range(2):
            with turns.of(learner):
                training.epoch(epoch)
                if evaluate:
                    learner.evaluate("validation")
    return initial, shown, network.state_dict(), learner.evaluate("test")


def same(first, second):
    """Whether two sequences or mappings of tensors are equal to the bit."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


class RandomLoss(nn.Module):
    """Draws a number at every step, as a user-defined loss may."""

    def forward(self, logits, labels):
        return nn.functional.binary_cross_entropy_with_logits(logits, labels) * torch.rand(())


class LearnedLoss(nn.Module):
    """Has weights of its own, drawn when it is built."""

    def __init__(self):
        super().__init__()
        self.mixing = nn.Linear(6, 6)

    def forward(self, logits, labels):
        return nn.functional.binary_cross_entropy_with_logits(self.mixing(logits), labels)


@pytest.mark.parametrize("name", ["db-focal", "ml-gcn"])
def test_the_same_experiment_twice_gives_the_same_bits(name):
    torch.manual_seed(1)
    first = trained(name)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = trained(name)
    assert same(first[0], second[0])
    assert same(first[2], second[2])
    assert first[3][0].per_class.tolist() == second[3][0].per_class.tolist()
    assert (first[3][1] == second[3][1]).all()
    assert torch.equal(torch.get_rng_state(), state), "training moved the caller's random numbers"


@pytest.mark.parametrize(("name", "other"), [("erm", "focal"), ("rs", "db-focal"), ("erm", "cb-focal")])
def test_methods_with_one_sampler_see_the_same(name, other):
    first, second = trained(name), trained(other)
    assert same(first[0], second[0])
    assert same(first[1], second[1])
    assert len(first[1]) >= 4
    assert not same(first[2], second[2])


def test_another_head_changes_nothing_else():
    first, second = trained("erm"), trained("ml-gcn")
    assert same(first[1], second[1])
    assert same(*({n: v for n, v in side[0].items() if not n.startswith("head.")} for side in (first, second)))


def test_another_seed_sees_other_images_and_starts_elsewhere():
    first, second = trained(), trained(seed=1)
    assert not any(torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))
    assert not torch.equal(first[0]["head.weight"], second[0]["head.weight"])


@pytest.mark.parametrize(
    "change",
    [{"dropout": 0.0}, {"learning_rate": 0.01}, {"evaluate": True}, {"loss": OwnLoss(RandomLoss)}],
    ids=["dropout", "learning rate", "evaluation", "a loss that draws"],
)
def test_what_is_shown_depends_on_nothing_else(change):
    first, second = trained(), trained(**change)
    assert same(first[0], second[0])
    assert same(first[1], second[1])
    unchanged = same(first[2], second[2])
    assert unchanged == ("evaluate" in change)


def test_a_loss_with_weights_of_its_own_starts_from_the_seed():
    losses = []
    for state in (1, 2):
        torch.manual_seed(state)
        losses.append(make_training(loss=OwnLoss(LearnedLoss)).learner.loss)
    assert same(losses[0].state_dict(), losses[1].state_dict())


def test_streams_are_named_by_seed_and_purpose():
    names = ("sampling", "augmentation", "initialisation", "dropout")
    seeds = {stream_seed(seed, name) for seed in range(50) for name in names}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)
    digest = hashlib.sha256(b"7/sampling").digest()
    assert stream_seed(7, "sampling") == int.from_bytes(digest[:8], "big") // 2
    assert numpy_stream(7, "sampling").random(3).tolist() == numpy_stream(7, "sampling").random(3).tolist()
    assert torch.equal(*(torch.rand(3, generator=torch_stream(7, "augmentation")) for _ in range(2)))
