"""The network's parts on pictures of a few pixels: the small backbone, SAME padding, folding, what is remembered."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from mltbench.benchmark.experiments.network import build_network
from mltbench.benchmark.networks.backbones import get_backbone
from mltbench.benchmark.networks.network import Network, fold_normalisation
from mltbench.benchmark.networks.residual_network import ResidualBlock, digits_resnet
from mltbench.benchmark.networks.same_padding import SameConv2d, SameMaxPool2d, pad_same, use_same_padding
from mltbench.benchmark.networks.weight_files import load_weights
from mltbench.benchmark.training.check import tiny_dataset, tiny_experiment
from mltbench.methods.catalogue import get_method
from torch import nn
from trainings import settled


def row(values):
    """A picture of one channel and one row."""
    return torch.tensor(values, dtype=torch.float32)[None, None, None]


def kernel(layer, values):
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(values, dtype=torch.float32).reshape(layer.weight.shape))
    return layer


def constant(norm, *, mean, variance, weight, bias):
    """BatchNorm of one channel with these numbers, in evaluation mode."""
    for tensor, value in ((norm.running_mean, mean), (norm.running_var, variance), (norm.weight, weight)):
        tensor.data.fill_(value)
    norm.bias.data.fill_(bias)
    return norm.eval()


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "before", "after"),
    # TensorFlow's documentation of SAME: the odd pixel goes to the end.
    [
        *((224, 3, 2, 0, 1), (225, 3, 2, 1, 1), (7, 2, 2, 0, 1), (8, 2, 2, 0, 0), (224, 7, 2, 2, 3), (14, 1, 2, 0, 0)),
        *((7, 3, 3, 1, 1), (9, 3, 3, 0, 0), (5, 5, 4, 2, 2), (6, 4, 1, 1, 2), (9, 1, 3, 0, 0)),
    ],
)
def test_same_padding_is_tensorflows_along_each_side(length, kernel, stride, before, after):
    padded = pad_same(torch.ones(1, 1, length, 5), (kernel, 1), (stride, 1), value=7.0)[0, 0]
    assert padded[:, 0].tolist() == [7.0] * before + [1.0] * length + [7.0] * after
    assert padded.shape[1] == 5
    padded = pad_same(torch.ones(1, 1, 5, length), (1, kernel), (1, stride), value=7.0)[0, 0]
    assert padded[0].tolist() == [7.0] * before + [1.0] * length + [7.0] * after


def test_same_layers_of_a_row_are_those_computed_by_hand():
    # Six pixels need one more, at the end; nothing is less than all of these, not even 0.
    pool = nn.Sequential(nn.MaxPool2d((1, 3), stride=(1, 2), padding=(0, 1)))
    use_same_padding(pool)
    assert pool(row([-9, -5, -7, -3, -8, -6])).flatten().tolist() == [-5, -3, -6]
    square = nn.Sequential(nn.MaxPool2d(3, stride=2, padding=1))
    use_same_padding(square)
    picture = -torch.arange(1.0, 17).reshape(1, 1, 4, 4)
    assert square(picture).flatten().tolist() == [-1, -3, -9, -11]
    convolution = nn.Conv2d(1, 1, (1, 3), stride=(1, 2), padding=(0, 1), bias=False)
    convolution = nn.Sequential(kernel(convolution, [1, 10, 100]))
    images = row([1, 2, 3, 4, 5, 6])
    assert convolution(images).flatten().tolist() == [210, 432, 654]
    use_same_padding(convolution)
    assert convolution(images).flatten().tolist() == [321, 543, 65]


def test_only_layers_with_a_stride_pad_as_same_and_keep_all_that_they_are():
    inner = nn.Sequential(
        nn.Conv2d(4, 4, 3, stride=(1, 2), padding=1, groups=2), nn.MaxPool2d(2, stride=1), nn.MaxPool2d(3)
    )
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 2, stride=2, bias=False), inner)
    names, before = list(network.state_dict()), dict(network.named_parameters())
    use_same_padding(network)
    kinds = [type(layer) for layer in (*network[:2], *inner)]
    assert kinds == [nn.Conv2d, SameConv2d, SameConv2d, nn.MaxPool2d, SameMaxPool2d]
    assert list(network.state_dict()) == names
    assert all(value is before[name] for name, value in network.named_parameters())
    grouped = inner[0]
    images = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    padded = F.pad(images, (0, 1, 1, 1))
    expected = F.conv2d(padded, grouped.weight, grouped.bias, (1, 2), groups=2)
    torch.testing.assert_close(grouped(images), expected)
    assert network(torch.zeros(1, 3, 16, 12)).shape[2:] == (math.ceil(7 / 3), math.ceil(2 / 3))


@pytest.mark.parametrize("stride", [1, 2])
def test_a_residual_block_of_one_row_is_computed_by_hand(stride):
    block = ResidualBlock(1, 1, stride=stride).eval()
    kernel(block.first, [0, 0, 0, 1, 2, -1, 0, 0, 0])
    kernel(block.second, [0, 0, 0, 0, 1, 1, 0, 0, 0])
    kernel(block.shortcut, [-3])
    # (x - 1) / 2 x 4 + 1; x + 2; x / 2.
    constant(block.first_norm, mean=1.0, variance=4 - 1e-5, weight=4.0, bias=1.0)
    constant(block.second_norm, mean=0.0, variance=1 - 1e-5, weight=1.0, bias=2.0)
    constant(block.shortcut_norm, mean=0.0, variance=4 - 1e-5, weight=1.0, bias=0.0)
    # Convolved 2x + left - right: -1, 5, 9, -2; normalised: -3, 9, 17, -5; and 0 for less.
    images = row([1, 3, 2, -2])
    by_hand = {
        # 9 + 2 - 1.5, 26 + 2 - 4.5, 17 + 2 - 3, 0 + 2 + 3
        1: [9.5, 23.5, 16.0, 5.0],
        # Of every second one, 0 and 17: 17 + 2 - 1.5, 17 + 2 - 3
        2: [17.5, 16.0],
    }
    assert block(images.clone()).flatten().tolist() == pytest.approx(by_hand[stride], abs=1e-4)
    block.shortcut_norm.bias.data.fill_(-16)
    assert block(images).flatten().tolist() == pytest.approx([max(x - 16, 0) for x in by_hand[stride]], abs=1e-4)


def test_the_small_backbone_has_its_size_and_with_its_weights_its_features():
    trunk, upper = digits_resnet()
    assert sum(p.numel() for part in (trunk, upper) for p in part.parameters()) == 119_344
    backbone = get_backbone("digits-resnet")
    load_weights(backbone, trunk, upper, None)
    ramps = torch.stack(
        [
            torch.linspace(-2, 2, 48)[None].expand(48, 48),
            torch.linspace(2, -1, 48)[:, None].expand(48, 48),
            torch.zeros(48, 48),
        ]
    )[None]
    with torch.no_grad():
        features = upper.eval()(trunk.eval()(ramps))
    assert features.shape == (1, 64, 6, 6)
    # As recorded on an AMD EPYC.
    assert features[0, :5].mean(dim=(1, 2)).tolist() == pytest.approx(
        [1.2540, 0.0567, 2.0986, 3.9274, 0.7332], abs=1e-3
    )
    assert [features[0, 3, 0, 5].item(), features[0, 33, 5, 0].item()] == pytest.approx([4.3023, 3.9733], abs=1e-3)


def test_folding_keeps_a_layer_without_norm_a_norm_without_convolution_and_how_a_layer_pads():
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(4, 5, 3, 2, 1), nn.BatchNorm2d(5))
    module = settled(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4), block))
    use_same_padding(module)
    folded = fold_normalisation(module)
    kinds = [nn.Conv2d, nn.ReLU, nn.BatchNorm2d, SameConv2d, nn.Identity]
    assert [type(layer) for layer in (*folded[:3], *folded[3])] == kinds
    assert not any(p.requires_grad for p in folded.parameters())
    assert all(p.requires_grad for p in module.parameters())
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(folded(images), module(images), rtol=1e-4, atol=1e-5)
    convolution, norm = block
    assert folded[3][0].weight.is_contiguous(memory_format=torch.channels_last)
    # Each by its own norm's numbers.
    factor = norm.weight / (norm.running_var + 1e-5).sqrt()
    torch.testing.assert_close(
        folded[3][0].weight, convolution.weight * factor[:, None, None, None], check_stride=False
    )
    # In training a norm would take the batch's own numbers.
    assert not fold_normalisation(module.train()).training


def small(seed=0):
    """A network of few channels whose parts all matter."""
    torch.manual_seed(seed)
    trunk = settled(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()))
    upper = settled(nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)))
    neck = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(0.5))
    return Network(trunk, upper, neck, nn.Linear(5, 2))


IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def by_parts(network, images):
    """Logits without folding, pooled by hand."""
    features = network.upper(network.trunk(images))
    return network.head(network.neck(features.flatten(2).mean(2)))


def test_logits_are_those_of_the_parts_and_only_what_comes_after_the_trunk_learns():
    network = small().train()
    modes = {name: part.training for name, part in network.named_modules() if name}
    assert modes == {name: name.startswith(("neck", "head")) for name in modes}
    learning = {name for name, p in network.named_parameters() if p.requires_grad}
    assert learning == {name for name, _ in network.named_parameters() if not name.startswith("trunk.")}
    assert [p.numel() for p in network.trained_parameters()] == [216, 6, 6, 6, 30, 5, 5, 5, 10, 2]
    features = network.frozen_part(IMAGES.clone().requires_grad_())
    assert not features.requires_grad
    network.eval()
    assert not any(part.training for part in network.modules())
    torch.testing.assert_close(network(IMAGES), by_parts(network, IMAGES), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network.learning_part(features), network(IMAGES))
    assert network.train() is network
    assert network.training


def test_the_folded_trunk_is_made_once_and_anew_for_other_weights_and_types():
    network, other = small().eval(), small(1).eval()
    before = network(IMAGES)
    assert network.folded_trunk() is network.folded_trunk()
    network.load_state_dict(other.state_dict())
    torch.testing.assert_close(network(IMAGES), by_parts(other, IMAGES), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(network(IMAGES), before, rtol=1e-2)
    # A part of a whole network, as a checkpoint of it is loaded.
    whole = nn.ModuleDict({"network": network})
    whole.load_state_dict({f"network.{name}": value for name, value in small().state_dict().items()})
    torch.testing.assert_close(network(IMAGES), before, rtol=1e-4, atol=1e-5)
    network.double()
    assert network(IMAGES.double()).dtype == torch.float64
    torch.testing.assert_close(network(IMAGES.double()).float(), before, rtol=1e-4, atol=1e-5)
    assert not any("folded" in name for name in network.state_dict())


@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_a_network_that_is_built_lies_channels_last_and_begins_in_training(padding):
    experiment = tiny_experiment(get_method("erm"), image_size=16, neck_width=8)
    experiment = replace(experiment, input_format=replace(experiment.input_format, padding=padding))
    network = build_network(experiment, tiny_dataset().statistics)
    filters = [p for p in network.parameters() if p.ndim == 4 and p.shape[2] > 1]
    assert len(filters) == 7
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in filters)
    assert network.neck.training
    assert not network.upper.training
    same = [isinstance(layer, SameConv2d) for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert sum(same) == {"symmetric": 0, "same": 5}[padding]
