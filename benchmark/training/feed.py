"""What a cohort is trained on: batches of trunk features and targets, the same for each of its experiments."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ...datasets.dataset import Dataset, Split
from ...errors import InputError
from ..experiments.experiment import Experiment
from ..experiments.recipe import Augmentation
from ..experiments.streams import as_arrays, as_tensors, numpy_stream, torch_stream
from ..networks.backbones import get_backbone
from ..networks.network import Network
from .augmentation import DRAWS_PER_IMAGE, Normalisation, Prepared, augment_prepared, parameters_from_draws, prepare
from .devices import autocast
from .graph import Graphs

# Batches whose augmentation is worked out at once; one at a time this took 1.6 % of a step on Digits-MLT.
PREPARED_AT_ONCE = 32
# Share of a GPU's free memory that images may take; the rest is for activations.
RESIDENT_SHARE = 0.6


class DeviceData:
    """Images and labels of a split, indexed in batches without a host copy where they fit the device.

    Attributes:
        images: `(N, H, W, 3)` uint8, on the device when they fit, else where they were (possibly memory-mapped).
        labels: `(N, C)` int8 on the device: 0, 1, and -1 for unknown.
    """

    def __init__(self, split: Split, device: torch.device) -> None:
        with warnings.catch_warnings():
            # A read-only memory map is fine here: these tensors are only ever read.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            images, labels = torch.from_numpy(split.images), torch.from_numpy(split.labels)
        self.device = device
        fits = device.type != "cuda" or images.numel() < RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
        self.images = images.to(device) if fits else images
        # As int8, 255 is -1.
        self.labels = labels.view(torch.int8).to(device)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of every image."""
        return self.images.shape[1], self.images.shape[2]

    def batch(self, indices: Tensor) -> Tensor:
        """Images `(n, H, W, 3)` on the device; `indices` may be on the device or on the host."""
        # `index_select` copies whole rows: 34 us for 32 images of 48 x 48 where `images[indices]` takes 220.
        chosen = self.images.index_select(0, indices.to(self.images.device))
        return chosen.to(self.device, non_blocking=True)

    def targets(self, indices: Tensor) -> Tensor:
        """Labels `(n, C)` in float32 on the device; `indices` on the device."""
        return self.labels.index_select(0, indices).float()


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """What every experiment of a cohort learns from in one step; all on the device."""

    epoch: int  # epochs before this one
    features: Tensor  # the trunk's feature map of the augmented images, without a gradient
    targets: Tensor  # `(n, C)` float32 of 0 and 1, -1 where unknown
    indices: Tensor  # `(n,)` rows of the images in the training split

    def __len__(self) -> int:
        return len(self.targets)


class Feed:
    """Draws epochs and yields their batches: sampled, augmented and normalised on the device, then through the trunk.

    Everything here is the same for experiments that agree in sampler, seed, recipe, backbone and weights.
    `experiment` is any of the cohort, the frozen trunk of `network` makes the features.
    """

    def __init__(self, experiment: Experiment, dataset: Dataset, network: Network, device: torch.device) -> None:
        self.training, self.device, self.network = experiment.training, device, network
        self.for_photographs = get_backbone(experiment.backbone).for_photographs
        self.augmentation = Augmentation(**self.training["augmentation"])
        self.normalisation = Normalisation.of(experiment.input_format, device)
        self.split = dataset.split("train")
        self.data = DeviceData(self.split, device)
        sampler = experiment.method.sampler
        self.drop_last = sampler.drop_last
        self.sampling = sampler.open(self.split.labels, numpy_stream(experiment.seed, "sampling"))
        self.crops = torch_stream(experiment.seed, "augmentation")
        self.graphs = Graphs()
        self.order: Tensor | None = None
        self.epoch = self.batches_done = self.images = 0

    def begin_epoch(self, epoch: int) -> None:
        """Draw the images of the epoch after so many, unless `load_state` has resumed in the middle of it."""
        if self.order is None:
            self._draw_epoch(epoch)

    def end_epoch(self) -> None:
        """Leave the epoch: the next one is drawn from here."""
        self.order = None

    def batches(self) -> Iterator[Batch]:
        """Yield the batches of the epoch that are left; `state` belongs to the time after the last one given.

        Raises:
            InputError: if the epoch is too short for a batch.
        """
        assert self.order is not None
        # Where the images are, for indices that lie on the device would make the host wait for it.
        order, on_device = (self.order.to(data.device) for data in (self.data.images, self.data.labels))
        for number, (batch, prepared) in enumerate(self.prepared_batches()):
            if number >= self.batches_done:
                indices = on_device[batch]
                targets = self.data.targets(indices)
                self.batches_done, self.images = number + 1, self.images + len(targets)
                # Held by nobody here: two feature maps at once would be memory for nothing.
                yield Batch(
                    epoch=self.epoch,
                    features=self.features(order[batch], prepared),
                    targets=targets,
                    indices=indices,
                )

    def prepared_batches(self) -> Iterator[tuple[slice, Prepared]]:
        """Every batch of the epoch with its augmentation, drawn and worked out for many batches at once.

        Numbers are drawn for every image of the epoch, also for a last batch that is left out; in pieces or at once
        the generator gives the same numbers.
        """
        assert self.order is not None
        length = len(self.order)
        batches, at_once = self.slices(length), PREPARED_AT_ONCE * self.training["batch_size"]
        # Of an epoch without images `slices` says what is wrong.
        for start in range(0, max(length, 1), at_once):
            draws = torch.rand(min(at_once, length - start), DRAWS_PER_IMAGE, generator=self.crops)
            prepared = self.prepare(draws.to(self.device, non_blocking=True))
            for batch in islice(batches, PREPARED_AT_ONCE):
                yield batch, prepared.of(slice(batch.start - start, batch.stop - start))

    def slices(self, length: int) -> Iterator[slice]:
        """Slices of one epoch; a last batch is left out if the sampler wants whole ones, or if it has one image.

        Raises:
            InputError: if there is none.
        """
        size = self.training["batch_size"]
        for start in range(0, length, size):
            stop = min(start + size, length)
            if stop - start == size or (not self.drop_last and stop - start > 1):
                yield slice(start, stop)
        if length < 2 or (self.drop_last and length < size):
            raise InputError(f"an epoch of {length} draws holds no batch of {size}; lower recipe.batch_size")

    def prepare(self, draws: Tensor) -> Prepared:
        """Augmentation of images from their uniform numbers `(N, 16)`."""
        parameters = parameters_from_draws(draws, self.augmentation)
        shape, size = self.data.shape, self.training["image_size"]
        return prepare(parameters, self.augmentation, self.normalisation, shape=shape, size=size)

    def features(self, indices: Tensor, prepared: Prepared) -> Tensor:
        """The trunk's feature map of images that are gathered and augmented; on CUDA the next call overwrites it.

        `indices` lie where the images do.
        """
        images = self.data.batch(indices)
        features = self.graphs(self._functions, (images, *prepared.tensors))
        return self._features(self.network.folded_trunk(), images, prepared) if features is None else features

    def _functions(self, size: int) -> list[Callable[..., Tensor]]:
        trunk = self.network.folded_trunk()

        def features(images: Tensor, *tensors: Tensor) -> Tensor:
            return self._features(trunk, images, Prepared.from_tensors(*tensors))

        def fused(*inputs: Tensor) -> Tensor:
            return torch.compile(features, dynamic=False)(*inputs)

        return [fused, features] if self.for_photographs and size == self.training["batch_size"] else [features]

    @torch.no_grad()
    def _features(self, trunk: nn.Module, images: Tensor, prepared: Prepared) -> Tensor:
        pixels = augment_prepared(images, prepared, self.augmentation)
        with autocast(self.training["precision"], self.device):
            features: Tensor = trunk(pixels.contiguous(memory_format=torch.channels_last))
        return features

    def image_names(self, step: int) -> list[str]:
        """Names of the images of the epoch's batch of that number."""
        assert self.order is not None
        start, size = step * self.training["batch_size"], self.training["batch_size"]
        names: list[str] = self.split.ids[self.order[start : start + size].numpy()].tolist()
        return names

    def state(self) -> dict[str, Any]:
        """Return where the feed is: of an epoch under way the streams before it, from which it is drawn again."""
        if self.order is None:
            return {"streams": self._streams(), "course": None}
        place = {"epoch": self.epoch, "done": self.batches_done, "seen": self.images}
        return {"streams": self._before, "course": place}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state, in the middle of an epoch if need be."""
        self.sampling.load_state(as_arrays(state["streams"]["sampling"]))
        self.crops.set_state(state["streams"]["crops"])
        self.order, self.graphs = None, Graphs()
        if place := state["course"]:
            self._draw_epoch(place["epoch"])
            self.batches_done, self.images = place["done"], place["seen"]

    def _draw_epoch(self, epoch: int) -> None:
        self._before = self._streams()
        self.order = torch.from_numpy(self.sampling.next_epoch())
        self.epoch, self.batches_done, self.images = epoch, 0, 0

    def _streams(self) -> Mapping[str, Any]:
        return {"sampling": as_tensors(self.sampling.state()), "crops": self.crops.get_state()}
