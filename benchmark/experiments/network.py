"""The network of an experiment, with its initial weights."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...datasets.long_tail.statistics import ClassStatistics
from ..networks.backbones import get_backbone
from ..networks.initial_weights import RANDOM
from ..networks.network import Network
from ..networks.same_padding import use_same_padding
from ..networks.weight_files import load_weights
from .experiment import Experiment
from .streams import stream_seed


def build_network(
    experiment: Experiment,
    statistics: ClassStatistics,
    *,
    word_vectors: NDArray[np.float32] | None = None,
    weights: Path | None = None,
) -> Network:
    """Build the network of an experiment; all its random weights come from the stream `initialisation` of its seed.

    Statistics are those of the training split, word vectors `(C, D)` for heads that need them, and the file of the
    backbone's initial weights as `find_weights` found it.
    """
    backbone, width = get_backbone(experiment.backbone), experiment.training["neck_width"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(experiment.seed, "initialisation"))
        trunk, upper = backbone.build()
        if experiment.weights_digest != RANDOM:
            load_weights(backbone, trunk, upper, weights)
        linear = nn.Linear(backbone.width, width)
        nn.init.kaiming_normal_(linear.weight, mode="fan_out")
        nn.init.zeros_(linear.bias)
        neck = nn.Sequential(linear, nn.BatchNorm1d(width), nn.Dropout(experiment.training["dropout"]))
        network = Network(trunk, upper, neck, experiment.method.head.build(width, statistics, word_vectors))
    if experiment.input_format.padding == "same":
        use_same_padding(network.trunk)
        use_same_padding(network.upper)
    network.to(memory_format=torch.channels_last)
    return network.train()
