from dataclasses import replace

import numpy as np
import pytest
import torch
from mltbench.benchmark.experiments.network import build_network
from mltbench.benchmark.networks.same_padding import SameConv2d
from mltbench.benchmark.training.check import tiny_dataset, tiny_experiment
from mltbench.methods.catalogue import get_method
from torch import nn

STATISTICS = tiny_dataset().statistics


def built(method="erm", *, seed=0, digest="random", weights=None, vectors=None, padding="symmetric", **settings):
    experiment = tiny_experiment(get_method(method), seed=seed, **settings)
    pixels = replace(experiment.input_format, padding=padding)
    experiment = replace(experiment, weights_digest=digest or experiment.weights_digest, input_format=pixels)
    return build_network(experiment, STATISTICS, word_vectors=vectors, weights=weights)


def first_numbers(network):
    """Two weights of each part: trunk, upper, neck, head."""
    layers = network.trunk[0][0], network.upper[0].first, network.neck[0], network.head
    return [number for layer in layers for number in layer.weight.flatten()[:2].tolist()]


# Recorded: every network that was ever trained began with these.
RANDOM = {
    0: [-0.06493905, -0.13201965, -0.04227626, 0.04813455, -0.02067608, 0.02730462, -0.00037839, -0.00295117],
    1: [-0.09296659, 0.12016116, -0.04558912, -0.04180936, -0.02186956, -0.16825791, -0.01032185, 0.00770726],
}
# The backbone's own, as they lie in its file, with the neck and the head of the seed.
PUBLISHED = [-0.04696655, -0.02639771, -0.46777344, -0.17541504, *RANDOM[0][4:]]


@pytest.mark.parametrize("outside", [1, 2])
def test_the_first_weights_follow_from_the_seed_alone(outside):
    torch.manual_seed(outside)
    before = torch.get_rng_state()
    found = {seed: first_numbers(built(seed=seed)) for seed in RANDOM}
    assert torch.equal(torch.get_rng_state(), before)
    assert found == {seed: pytest.approx(numbers, abs=1e-7) for seed, numbers in RANDOM.items()}


def test_published_weights_take_the_place_of_the_random_ones_in_the_backbone_alone():
    assert first_numbers(built(digest=None)) == pytest.approx(PUBLISHED, abs=1e-7)


def test_weights_come_from_the_file_that_was_found(tmp_path):
    """A file of the digits network, with the names of its parts as a finished run has them."""
    other = built(seed=5)
    torch.save(other.state_dict(), tmp_path / "weights.pt")
    network = built(digest="ab" * 32, weights=tmp_path / "weights.pt")
    assert first_numbers(network)[:4] == first_numbers(other)[:4]
    assert first_numbers(network)[4:] == pytest.approx(RANDOM[0][4:], abs=1e-7)


def test_the_neck_is_that_of_the_paper():
    """Linear with He's initialisation by its outputs, no bias at first, BatchNorm, and dropout behind it."""
    network = built(neck_width=256, dropout=0.25)
    linear, norm, dropout = network.neck
    assert (type(linear), type(norm), type(dropout)) == (nn.Linear, nn.BatchNorm1d, nn.Dropout)
    assert (linear.in_features, linear.out_features, norm.num_features, dropout.p) == (64, 256, 256, 0.25)
    assert linear.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.02)
    assert linear.weight.mean().item() == pytest.approx(0, abs=0.005)
    assert linear.bias.tolist() == [0] * 256
    assert (network.head.in_features, network.head.out_features) == (256, 6)


def test_what_it_is_trained_with_is_in_training_mode_and_lies_channels_last():
    network = built()
    modes = [network.training, network.neck.training, network.head.training]
    assert [*modes, network.trunk.training, network.upper.training] == [True, True, True, False, False]
    kernels = [
        layer.weight for layer in network.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size > (1, 1)
    ]
    assert len(kernels) == 7
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in kernels)
    assert not any(weight.is_contiguous() for weight in kernels)


@pytest.mark.parametrize(("padding", "trunk", "upper"), [("same", 3, 2), ("symmetric", 0, 0)])
def test_the_input_format_decides_how_every_layer_with_a_stride_pads(padding, trunk, upper):
    network = built(padding=padding)
    found = [
        [layer for layer in part.modules() if isinstance(layer, SameConv2d)] for part in (network.trunk, network.upper)
    ]
    assert [len(layers) for layers in found] == [trunk, upper]
    assert first_numbers(network) == pytest.approx(RANDOM[0], abs=1e-7)


def test_a_head_is_given_the_word_vectors():
    vectors = [np.random.default_rng(seed).normal(size=(6, 5)).astype(np.float32) for seed in (0, 0, 1)]
    first, same, other = (built("ml-gcn", vectors=these, neck_width=8).head.state_dict() for these in vectors)
    assert torch.equal(first["propagated"], same["propagated"])
    assert first["propagated"].shape == (6, 5)
    assert not torch.equal(first["propagated"], other["propagated"])
