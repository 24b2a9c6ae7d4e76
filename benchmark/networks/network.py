"""The network that every method trains: frozen trunk, learning upper part, neck, head."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


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
        self._folded: tuple[nn.Module, torch.device, torch.dtype] | None = None
        self.register_load_state_dict_post_hook(_forget_folded_trunk)  # type: ignore[no-untyped-call]

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
        features: Tensor = self.folded_trunk()(images)
        return features

    def folded_trunk(self) -> nn.Module:
        """The trunk as `frozen_part` uses it, folded by the first use."""
        weight = next(self.trunk.parameters())
        if self._folded is None or self._folded[1:] != (weight.device, weight.dtype):
            self._folded = (fold_normalisation(self.trunk), weight.device, weight.dtype)
        return self._folded[0]

    def learning_part(self, features: Tensor) -> Tensor:
        """Logits from the trunk's feature map."""
        logits: Tensor = self.head(self.neck(self.upper(features).mean(dim=(2, 3))))
        return logits

    def trained_parameters(self) -> list[nn.Parameter]:
        """The parameters that learn."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


def _forget_folded_trunk(network: Network, _: object) -> None:
    network._folded = None


def fold_normalisation(module: nn.Module) -> nn.Module:
    """Copy a module in evaluation mode with each BatchNorm folded into the convolution that is registered before it."""
    folded = copy.deepcopy(module).eval()
    layers = [(owner, name, layer) for owner in folded.modules() for name, layer in owner.named_children()]
    leaves = {id(layer): (owner, name) for owner, name, layer in layers}
    for convolution, norm in pairwise(list(folded.modules())):
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            # Into the layer itself, which may pad in its own way.
            fused = fuse_conv_bn_eval(convolution, norm)
            convolution.weight, convolution.bias = fused.weight, fused.bias
            owner, name = leaves[id(norm)]
            setattr(owner, name, nn.Identity())
    folded.requires_grad_(False)
    return folded.to(memory_format=torch.channels_last)
