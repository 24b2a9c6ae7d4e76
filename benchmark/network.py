"""The network that every method trains: frozen trunk, learning upper part, neck, head."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .backbones import get_backbone
from .initial_weights import RANDOM
from .streams import stream_seed
from .weight_files import put_in_place

if TYPE_CHECKING:
    from ..datasets.statistics import ClassStatistics
    from .experiment import Experiment


class Network(nn.Module):
    """Images `(N, 3, H, W)` to logits `(N, C)`.

    As published: trunk frozen; every BatchNorm of the backbone in evaluation mode throughout, its affine parameters
    learning in the upper part; neck of pooling, Linear, BatchNorm1d and Dropout without activation.
    """

    def __init__(self, trunk: nn.Module, upper: nn.Module, neck: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.trunk, self.upper, self.neck, self.head = trunk, upper, neck, head
        self.trunk.requires_grad_(False)

    def train(self, mode: bool = True) -> Network:
        """Set training mode for neck and head; the backbone's BatchNorm stays as it is."""
        super().train(mode)
        self.trunk.eval()
        self.upper.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Logits of normalised images."""
        with torch.no_grad():
            stem = self.trunk(images)
        features = self.upper(stem).mean(dim=(2, 3))
        logits: Tensor = self.head(self.neck(features))
        return logits

    def trained_parameters(self) -> list[nn.Parameter]:
        """The parameters that learn."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


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
