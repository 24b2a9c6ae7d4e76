"""TensorFlow's SAME padding for torchvision's layers: the odd pixel goes to the bottom and to the right."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class SameConv2d(nn.Conv2d):
    """A convolution that pads as TensorFlow's SAME does."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Feature map `(N, in, H, W)` to `(N, out, ceil(H/stride), ceil(W/stride))`."""
        padded = pad_same(inputs, self.kernel_size, self.stride, value=0.0)
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class SameMaxPool2d(nn.MaxPool2d):
    """A maximum that pads as TensorFlow's SAME does."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Feature map `(N, C, H, W)` to `(N, C, ceil(H/stride), ceil(W/stride))`."""
        kernel, stride = _pair(self.kernel_size), _pair(self.stride)
        return F.max_pool2d(pad_same(inputs, kernel, stride, value=float("-inf")), kernel, stride)


def pad_same(inputs: Tensor, kernel: Sequence[int], stride: Sequence[int], *, value: float) -> Tensor:
    """Pad `(N, C, H, W)` so that ceil(H/stride) outputs fit: max((ceil(H/s) - 1) s + k - H, 0), half of it before."""
    amounts: list[int] = []
    for length, k, s in zip(inputs.shape[:1:-1], reversed(kernel), reversed(stride), strict=True):
        total = max((-(-length // s) - 1) * s + k - length, 0)
        amounts += [total // 2, total - total // 2]
    return F.pad(inputs, amounts, value=value)


def use_same_padding(module: nn.Module) -> None:
    """Let every layer with a stride in `module` pad as TensorFlow's SAME does; it stays the layer that it is."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d) and max(_pair(layer.stride)) > 1:
            layer.__class__ = SameConv2d if isinstance(layer, nn.Conv2d) else SameMaxPool2d


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else value
