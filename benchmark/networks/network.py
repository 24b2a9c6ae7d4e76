"""The network that every method trains: frozen trunk, learning upper part, neck, head."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..experiments.streams import stream_seed
from .backbones import get_backbone
from .initial_weights import RANDOM
from .weight_files import put_in_place

if TYPE_CHECKING:
    from ...datasets.long_tail.statistics import ClassStatistics
    from ..experiments.experiment import Experiment


class Network(nn.Module):
    """Images `(N, 3, H, W)` to logits `(N, C)`.

    As published: trunk frozen; every BatchNorm of the backbone in evaluation mode throughout, its affine parameters
    learning in the upper part; neck of pooling, Linear, BatchNorm1d and Dropout without activation.
    """

    def __init__(self, trunk: nn.Module, upper: nn.Module, neck: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.trunk, self.upper, self.neck, self.head = trunk, upper, neck, head
        self.trunk.requires_grad_(False)
        # In a tuple, so that its copy of the trunk's weights is no part of the state.
        self._folded: tuple[nn.Module] | None = None

    def train(self, mode: bool = True) -> Network:
        """Set training mode for neck and head; the backbone's BatchNorm stays as it is."""
        super().train(mode)
        self.trunk.eval()
        self.upper.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Logits of normalised images."""
        return self.learning_part(self.frozen_part(images))

    @torch.no_grad()
    def frozen_part(self, images: Tensor) -> Tensor:
        """Feature map of the trunk; never with a gradient.

        Its BatchNorm is folded into its convolutions, which it could not be in the upper part: there, where it learns,
        folding anew in each step gained nothing (11.8 ms either way, Digits-MLT).
        """
        if self._folded is None:
            self._folded = (fold_normalisation(self.trunk),)
        stem: Tensor = self._folded[0](images)
        return stem

    def learning_part(self, stem: Tensor) -> Tensor:
        """Logits from the trunk's feature map."""
        features = self.upper(stem).mean(dim=(2, 3))
        logits: Tensor = self.head(self.neck(features))
        return logits

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Network:
        self._folded = None
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def load_state_dict(self, *arguments: Any, **options: Any) -> Any:
        """Load weights; see `nn.Module.load_state_dict`."""
        self._folded = None
        return super().load_state_dict(*arguments, **options)

    def trained_parameters(self) -> list[nn.Parameter]:
        """The parameters that learn."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


def fold_normalisation(module: nn.Module) -> nn.Module:
    """Copy a module in evaluation mode with each BatchNorm folded into the convolution that is registered before it."""
    folded = copy.deepcopy(module).eval()
    layers = [(owner, name, layer) for owner in folded.modules() for name, layer in owner.named_children()]
    leaves = {id(layer): (owner, name) for owner, name, layer in layers}
    order = [layer for layer in folded.modules() if not list(layer.children())]
    for convolution, norm in pairwise(order):
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            # Into the layer itself, which may pad in its own way.
            fused = fuse_conv_bn_eval(convolution, norm)
            convolution.weight, convolution.bias = fused.weight, fused.bias
            owner, name = leaves[id(norm)]
            setattr(owner, name, nn.Identity())
    folded.requires_grad_(False)
    return folded.to(memory_format=torch.channels_last)


def build_network(
    experiment: Experiment,
    statistics: ClassStatistics,
    *,
    word_vectors: NDArray[np.float32] | None = None,
    weights: Path | None = None,
) -> Network:
    """Build the network of an experiment; all its random weights come from the stream `initialisation` of its seed.

    Args:
        experiment: names backbone and head.
        statistics: of the training split.
        word_vectors: `(C, D)`, for heads that need them.
        weights: file of the backbone's initial weights, as `find_weights` found it.
    """
    backbone, width = get_backbone(experiment.backbone), experiment.training["neck_width"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(experiment.seed, "initialisation"))
        trunk, upper = backbone.build()
        if experiment.weights_digest != RANDOM:
            put_in_place(backbone, trunk, upper, weights)
        neck = _neck(backbone.width, width, experiment.training["dropout"])
        network = Network(trunk, upper, neck, experiment.method.head.build(width, statistics, word_vectors))
    if experiment.input_format.padding == "same":
        from .torchvision_parts import use_same_padding

        use_same_padding(network.trunk)
        use_same_padding(network.upper)
    network.to(memory_format=torch.channels_last)
    return network.train()


def _neck(width: int, neck_width: int, dropout: float) -> nn.Sequential:
    linear = nn.Linear(width, neck_width)
    nn.init.kaiming_normal_(linear.weight, mode="fan_out")
    nn.init.zeros_(linear.bias)
    return nn.Sequential(linear, nn.BatchNorm1d(neck_width), nn.Dropout(dropout))
