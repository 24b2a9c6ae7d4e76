from dataclasses import replace

import pytest
import torch
import torchvision
from mltbench.benchmark.experiments.network import build_network
from mltbench.benchmark.networks.backbones import get_backbone
from mltbench.benchmark.networks.same_padding import SameConv2d
from mltbench.benchmark.training.check import tiny_dataset, tiny_experiment
from mltbench.methods.catalogue import get_method
from torch import nn
from trainings import settled

SMALL = ["resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0"]


def random_model(name):
    """Torchvision's network in evaluation mode, with statistics of BatchNorm that are not those of a new one."""
    torch.manual_seed(0)
    return settled(torchvision.models.get_model(name, weights=None))


def network_with(name, model, **changes):
    """Our network with torchvision's weights in its backbone."""
    settings = {"backbone": name, "weights_digest": "random", **changes}
    experiment = replace(tiny_experiment(get_method("erm"), image_size=64), **settings)
    network = build_network(experiment, tiny_dataset().statistics)
    state = model.state_dict()
    for part in (network.trunk, network.upper):
        part.load_state_dict({key: state[key] for key in part.state_dict()})
    return network


def torchvision_features(model, images):
    """What torchvision's own classifier is given."""
    seen = []
    last = model.fc if hasattr(model, "fc") else model.classifier
    last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(images)
    return seen[0]


@pytest.mark.parametrize("name", SMALL)
def test_features_are_torchvisions(name):
    model = random_model(name)
    # In double precision, so that the order of sums (ours is channels last) does not show.
    network, images = network_with(name, model).double(), torch.randn(2, 3, 64, 64).double()
    model = model.double()
    with torch.no_grad():
        features = network.upper(network.trunk(images)).mean(dim=(2, 3))
        logits = network.eval()(images)
    expected = torchvision_features(model, images)
    assert features.shape == (2, get_backbone(name).width)
    torch.testing.assert_close(features, expected)
    torch.testing.assert_close(logits, network.head(network.neck(expected)))


def resnet50_as_published():
    """The published code's network in plain torchvision: stem and layer1 frozen, all BatchNorm in evaluation mode."""
    model = torchvision.models.resnet50(weights=None)
    model.fc = nn.Sequential(nn.Linear(2048, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 6))
    for part in (model.conv1, model.bn1, model.layer1):
        for parameter in part.parameters():
            parameter.requires_grad = False
    return model


def test_what_learns_is_what_learns_in_a_plain_resnet50():
    model = resnet50_as_published()
    experiment = tiny_experiment(get_method("erm"), image_size=64, neck_width=8)
    experiment = replace(experiment, backbone="resnet50", weights_digest="random")
    network = build_network(experiment, tiny_dataset().statistics)
    ours = {
        name.removeprefix("upper."): parameter.shape
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and name.startswith(("trunk.", "upper."))
    }
    learning = {name: p.shape for name, p in model.named_parameters() if p.requires_grad}
    assert ours == {name: shape for name, shape in learning.items() if not name.startswith("fc.")}
    assert sum(p.numel() for p in network.trained_parameters()) == sum(
        p.numel() for p in model.parameters() if p.requires_grad
    )
    # 23,508,032 parameters of ResNet-50 without its classifier; stem 9,408 + 128, layer1 215,808 (He et al. 2016).
    assert sum(shape.numel() for shape in ours.values()) == 23_508_032 - 9_408 - 128 - 215_808
    modes = {type(m) for part in (network.trunk, network.upper) for m in part.modules() if m.training}
    assert modes == set()
    assert network.neck.training


def test_padding_belongs_to_the_input_format():
    model, images = random_model("mobilenet_v2"), torch.randn(2, 3, 64, 64)
    symmetric = get_backbone("mobilenet_v2").input
    one, other = (
        network_with("mobilenet_v2", model, input_format=replace(symmetric, padding=padding)).eval()
        for padding in ("symmetric", "same")
    )
    assert one.state_dict().keys() == other.state_dict().keys()
    assert sum(isinstance(module, SameConv2d) for module in other.modules()) == 5
    with torch.no_grad():
        assert not torch.allclose(one.upper(one.trunk(images)), other.upper(other.trunk(images)), rtol=1e-2)
