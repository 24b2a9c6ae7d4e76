"""What the members of a cohort have in common: the images on the device, and the trunk's last feature map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .device_data import DeviceData

if TYPE_CHECKING:
    from ...datasets.dataset import Split


@dataclass(frozen=True, eq=False)
class _Kept:
    step: int
    indices: Tensor
    stem: Tensor
    version: int


class SharedTrunk:
    """One augmentation and one pass through the frozen trunk per batch, for trainers whose next step is the same.

    Args:
        members: trainers that share it.
    """

    def __init__(self, members: int) -> None:
        self.members = members
        self._data: DeviceData | None = None
        self._kept: _Kept | None = None

    def open(self, split: Split, device: torch.device) -> DeviceData:
        """The training split on the device, laid there once."""
        if self._data is None:
            self._data = DeviceData(split, device)
        return self._data

    def stem(self, step: int, indices: Tensor, compute: Callable[[], Tensor]) -> Tensor:
        """The trunk's feature map of a batch: kept from another trainer, or computed and kept.

        Args:
            step: steps that the trainer has done.
            indices: of the batch's images, on the host.
            compute: gives the feature map.
        """
        kept = self._kept
        # The version tells of layers that wrote into the feature map, as a backbone of somebody's own may.
        if (
            kept is None
            or kept.step != step
            or kept.stem._version != kept.version
            or not torch.equal(kept.indices, indices)
        ):
            # The old one is let go first: two at once would be memory for nothing.
            self._kept = kept = None
            stem = compute()
            self._kept = kept = _Kept(step, indices, stem, stem._version)
        return kept.stem
