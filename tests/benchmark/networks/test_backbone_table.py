"""The table of backbones beside torchvision's own: names, digests, pixels, widths, and where the frozen part ends."""

import json

import pytest
import torch
import torchvision
from mltbench.benchmark.networks.backbones import BACKBONES, IMAGENET, InputFormat, get_backbone
from mltbench.errors import InputError
from torch import nn

FROM_TORCHVISION = [name for name, backbone in BACKBONES.items() if backbone.own is None]


@pytest.mark.parametrize("name", FROM_TORCHVISION)
def test_a_backbone_is_torchvisions_and_its_trunk_ends_before_the_third_halving(name):
    weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    backbone, transforms = get_backbone(name), weights.transforms()
    assert weights.url.endswith(f"/{backbone.weights}")
    assert (list(backbone.input.mean), list(backbone.input.deviation)) == (transforms.mean, transforms.std)
    assert (backbone.input.padding, backbone.for_photographs) == ("symmetric", True)
    with torch.device("meta"):
        trunk, upper = backbone.build()
        model = torchvision.models.get_model(name, weights=None)
        features = trunk.eval()(torch.empty(1, 3, 64, 64))
        last = upper.eval()(features)
    ours = {**trunk.state_dict(), **upper.state_dict()}
    theirs = {key: value for key, value in model.state_dict().items() if not key.startswith(("fc.", "classifier."))}
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}
    assert not set(trunk.state_dict()) & set(upper.state_dict())
    assert features.shape[2:] == (16, 16)
    first = next(module for module in upper.modules() if isinstance(module, nn.Conv2d) and max(module.stride) > 1)
    assert first.stride == (2, 2)
    assert last.shape == (1, backbone.width, 2, 2)


def test_the_small_backbone_is_the_suites_own():
    small = get_backbone("digits-resnet")
    assert small.input == InputFormat(mean=(0.45,) * 3, deviation=(0.225,) * 3, padding="symmetric")
    assert (small.width, small.weights, small.for_photographs) == (64, "digits_resnet.npz", False)
    assert len(FROM_TORCHVISION) == len(BACKBONES) - 1 == 10
    with pytest.raises(InputError, match="unknown backbone 'resnet5'"):
        get_backbone("resnet5")


def test_an_input_format_is_plain_json():
    pixels = InputFormat(mean=(0.1, 0.2, 0.3), deviation=(0.4, 0.5, 0.6), padding="same")
    data = {"mean": [0.1, 0.2, 0.3], "deviation": [0.4, 0.5, 0.6], "padding": "same"}
    assert pixels.as_json() == data
    assert InputFormat.from_json(json.loads(json.dumps(data))) == pixels
    assert InputFormat(mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225), padding="symmetric") == IMAGENET
