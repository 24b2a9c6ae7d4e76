"""Backbones: what turns images into feature maps, which part of it stays frozen, and which input it expects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from ...errors import require_known
from .residual_network import digits_resnet


@dataclass(frozen=True, kw_only=True)
class InputFormat:
    """What a network's weights were trained to see; it belongs to the weights and decides numbers.

    Attributes:
        padding: of layers with a stride: `symmetric` as torchvision's, or `same` as TensorFlow's, where the odd pixel
            goes to the bottom and to the right.
    """

    mean: tuple[float, float, float]  # per channel, of pixels in 0..1
    deviation: tuple[float, float, float]  # per channel; the network's input is (pixel - mean) / deviation
    padding: Literal["symmetric", "same"] = "symmetric"

    def as_json(self) -> dict[str, Any]:
        """Plain JSON, which `from_json` reads."""
        return {"mean": list(self.mean), "deviation": list(self.deviation), "padding": self.padding}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> InputFormat:
        """Rebuild a format from `as_json`."""
        return cls(mean=tuple(data["mean"]), deviation=tuple(data["deviation"]), padding=data["padding"])


IMAGENET = InputFormat(mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225))


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A feature extractor by name.

    Attributes:
        trunk: modules of torchvision's network that stay frozen: all that come before the third halving of the
            image's side, which in the published code are the first layers and layer1.
        upper: modules of torchvision's network that learn, with their BatchNorm kept in evaluation mode.
        own: makes trunk and upper part of a network that is not torchvision's; None for torchvision's.
        weights: its published weights: a file of this folder, or one that torchvision downloads (`NAME-DIGEST.pth`,
            DIGEST being the first 8 digits of its SHA-256).
    """

    name: str
    width: int  # channels of its feature map
    trunk: tuple[str, ...] = ()
    upper: tuple[str, ...] = ()
    own: Callable[[], tuple[nn.Module, nn.Module]] | None = None
    input: InputFormat = IMAGENET  # what its published weights expect
    weights: str

    @property
    def for_photographs(self) -> bool:
        """Whether it is one of torchvision's, which are large enough that compiling them pays on a GPU."""
        return self.own is None

    def build(self) -> tuple[nn.Module, nn.Module]:
        """Make trunk and upper part with random weights from torch's global generator.

        Parts of torchvision's networks keep its names, such as `layer1.0.conv1` or `features.3.conv.0.0`; the
        classifier is left out.
        """
        if self.own is not None:
            return self.own()
        # Importing torchvision takes as long as importing torch; workers on the small network do without.
        import torchvision

        model = torchvision.models.get_model(self.name, weights=None)
        return _part(model, self.trunk), _part(model, self.upper)


def _part(model: nn.Module, paths: Sequence[str]) -> nn.Sequential:
    part = nn.Sequential()
    for path in paths:
        *owners, name = path.split(".")
        inner: nn.Module = part
        for owner in owners:
            if not hasattr(inner, owner):
                inner.add_module(owner, nn.Sequential())
            inner = inner.get_submodule(owner)
        inner.add_module(name, model.get_submodule(path))
    return part


def _resnet(name: str, weights: str, *, width: int = 2048) -> Backbone:
    trunk = ("conv1", "bn1", "relu", "maxpool", "layer1")
    return Backbone(name=name, width=width, trunk=trunk, upper=("layer2", "layer3", "layer4"), weights=weights)


def _features(name: str, weights: str, *, width: int, frozen: int, blocks: int) -> Backbone:
    paths = tuple(f"features.{i}" for i in range(blocks))
    return Backbone(name=name, width=width, trunk=paths[:frozen], upper=paths[frozen:], weights=weights)


# Weights are torchvision's IMAGENET1K_V1; a test compares the names with torchvision's own.
BACKBONES = {
    backbone.name: backbone
    for backbone in (
        Backbone(
            name="digits-resnet",
            width=64,
            own=digits_resnet,
            input=InputFormat(mean=(0.45, 0.45, 0.45), deviation=(0.225, 0.225, 0.225)),
            weights="digits_resnet.npz",
        ),
        _resnet("resnet18", "resnet18-f37072fd.pth", width=512),
        _resnet("resnet34", "resnet34-b627a593.pth", width=512),
        _resnet("resnet50", "resnet50-0676ba61.pth"),
        _resnet("resnet101", "resnet101-63fe2227.pth"),
        _resnet("resnet152", "resnet152-394f9c45.pth"),
        _resnet("resnext50_32x4d", "resnext50_32x4d-7cdf4587.pth"),
        _resnet("wide_resnet50_2", "wide_resnet50_2-95faca4d.pth"),
        _features("mobilenet_v2", "mobilenet_v2-b0353104.pth", width=1280, frozen=4, blocks=19),
        _features("mobilenet_v3_large", "mobilenet_v3_large-8738ca79.pth", width=960, frozen=4, blocks=17),
        _features("efficientnet_b0", "efficientnet_b0_rwightman-7f5810bc.pth", width=1280, frozen=3, blocks=9),
    )
}


def get_backbone(name: str) -> Backbone:
    """Return a backbone by name.

    Raises:
        InputError: if there is none.
    """
    require_known("backbone", name, BACKBONES)
    return BACKBONES[name]
