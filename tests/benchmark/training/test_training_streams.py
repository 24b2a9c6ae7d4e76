import hashlib

import pytest
import torch
from mltbench.benchmark.experiments.streams import numpy_stream, stream_seed, torch_stream
from mltbench.benchmark.networks.residual_network import digits_resnet
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


# The first eight bytes of the SHA-256 of "3/loss", "3/initialisation" and "3/dropout", halved.
LOSS_OF_3, INITIALISATION_OF_3, DROPOUT_OF_3 = 5976414151274551640, 3287730455942688536, 3368041049139274535


def test_weights_of_network_and_loss_are_drawn_from_their_own_streams_of_the_seed():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    learner = make_training("erm", seed=3, loss=OwnLoss(LearnedLoss)).learner
    assert torch.equal(torch.get_rng_state(), state)
    assert learner.dropout_seed == DROPOUT_OF_3
    torch.manual_seed(LOSS_OF_3)
    assert same(learner.loss.state_dict(), LearnedLoss().state_dict())
    torch.manual_seed(INITIALISATION_OF_3)
    trunk, upper = digits_resnet()
    nn.Linear(64, 8)
    neck = nn.init.kaiming_normal_(torch.empty(8, 64), mode="fan_out")
    head = nn.init.normal_(nn.Linear(8, 6).weight, std=0.01)
    network = learner.network
    assert same(network.trunk.state_dict(), trunk.state_dict())
    assert same(network.upper.state_dict(), upper.state_dict())
    assert torch.equal(network.neck[0].weight, neck)
    assert torch.equal(network.head.weight, head)
    assert not network.neck[0].bias.any()
    assert not network.head.bias.any()


def test_dropout_draws_from_its_own_stream_of_the_seed():
    """Half of the neck's outputs are dropped by the first numbers that the generator gives."""
    learner = make_training(seed=3, neck_width=256).learner
    with GeneratorTurns(learner.device) as turns:
        turns.begin(learner, learner.dropout_seed)
        with turns.of(learner):
            kept = learner.network.neck[2](torch.ones(6, 256)) != 0
    torch.manual_seed(DROPOUT_OF_3)
    assert torch.equal(kept, nn.functional.dropout(torch.ones(6, 256), 0.5) != 0)
    assert 600 < kept.sum() < 936


def test_streams_are_named_by_seed_and_purpose():
    names = ("sampling", "augmentation", "initialisation", "dropout")
    seeds = {stream_seed(seed, name) for seed in range(50) for name in names}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)
    digest = hashlib.sha256(b"7/sampling").digest()
    assert stream_seed(7, "sampling") == int.from_bytes(digest[:8], "big") // 2 == 1260773175821635534
    assert numpy_stream(7, "sampling").integers(1000, size=4).tolist() == [902, 212, 142, 844]
    assert torch.randint(1000, (4,), generator=torch_stream(7, "augmentation")).tolist() == [743, 372, 331, 351]
