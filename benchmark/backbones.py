"""Backbones: what turns images into feature maps, which part of it stays frozen, and which input it expects.

The registry loads without torch; a backbone's modules load when it is built.
"""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from ..datasets.errors import unknown_name

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A feature extractor by name.

    Attributes:
        name: public name.
        width: channels of its feature map.
        address: `module:function` in this room that makes (trunk, upper) with random weights. The trunk is frozen in
            training, as stem and layer1 are in the published code; the upper part learns, with its BatchNorm kept in
            evaluation mode.
        mean: per channel, of input in 0..1.
        deviation: per channel.
        weights: file of initial weights in this room, or None for random ones.
    """

    name: str
    width: int
    address: str
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    weights: str | None

    def build(self) -> tuple[nn.Module, nn.Module]:
        """Make trunk and upper part with random weights from torch's global generator."""
        module, _, function = self.address.partition(":")
        trunk, upper = getattr(importlib.import_module(f".{module}", __package__), function)()
        return trunk, upper


BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        Backbone(
            name="digits-resnet",
            width=64,
            address="residual_network:digits_resnet",
            mean=(0.45, 0.45, 0.45),
            deviation=(0.225, 0.225, 0.225),
            weights="digits_resnet.npz",
        ),
    )
}


def get_backbone(name: str) -> Backbone:
    """Return a backbone by name.

    Raises:
        InputError: if there is none.
    """
    if name not in BACKBONES:
        raise unknown_name("backbone", name, BACKBONES)
    return BACKBONES[name]


@cache
def weights_digest(name: str) -> str:
    """SHA-256 of the backbone's file of initial weights, or `random`."""
    file = get_backbone(name).weights
    return hashlib.sha256((files(__package__) / file).read_bytes()).hexdigest() if file else "random"


def load_initial_weights(backbone: Backbone, trunk: nn.Module, upper: nn.Module) -> None:
    """Put the backbone's initial weights in place."""
    if backbone.weights is None:
        return
    import torch
    from torch import nn

    with (files(__package__) / backbone.weights).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        state = {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in arrays.files}
    nn.ModuleDict({"trunk": trunk, "upper": upper}).load_state_dict(state)
