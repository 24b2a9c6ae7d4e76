"""The training loop that people write, as a yardstick: DataLoader, PIL, per-image transforms, `.item()` each step.

It does the work of `Feed` and `Learner`: same images in the same order, same network, loss, optimiser and precision.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ...datasets.dataset import Dataset as LongTailedDataset
from ...methods.context import Context
from ...methods.samplers import EpochStream
from ..experiments.experiment import Experiment
from ..experiments.network import build_network
from ..experiments.recipe import Augmentation
from ..experiments.streams import numpy_stream
from ..networks.backbones import InputFormat
from ..training.optimisation import learning_rate

Transform = Callable[[Any], Tensor]

# Shorter side, in pixels, from which a dataset's images are taken for photographs.
PHOTOGRAPH_SIDE = 128


def shift_brightness(image: Tensor, spread: float) -> Tensor:
    """Add one number of -spread..spread to an image `(3, H, W)`; not clipped."""
    return image + torch.empty(()).uniform_(-spread, spread)


def scale_contrast(image: Tensor, spread: float) -> Tensor:
    """Multiply an image `(3, H, W)` with one number of 1 - spread..1 + spread; not clipped."""
    return image * torch.empty(()).uniform_(1 - spread, 1 + spread)


def crop_and_resize(image: Tensor, smallest: float, size: int) -> Tensor:
    """Cut a random crop out of an image `(3, H, W)` and resize it to `(3, size, size)`, bilinear, not antialiased.

    Height and width are drawn independently, from the share `smallest` to 1; not an area and a ratio.
    """
    from torchvision.transforms import v2

    rows, columns = image.shape[-2:]
    shares = torch.empty(2).uniform_(smallest, 1).tolist()
    height, width = max(round(rows * shares[0]), 1), max(round(columns * shares[1]), 1)
    top, left = int(torch.randint(rows - height + 1, ())), int(torch.randint(columns - width + 1, ()))
    cropped: Tensor = v2.functional.resized_crop(image, top, left, height, width, [size, size], antialias=False)
    return cropped


def plain_transform(augmentation: Augmentation, pixels: InputFormat, *, size: int) -> Transform:
    """Make the per-image transform of a training image: PIL RGB to normalised `(3, size, size)` float32.

    Steps and ranges are the experiment's; saturation and hue are torchvision's own, which clip to 0..1.
    """
    # Commands that estimate and never run this loop do without torchvision, which takes as long to import as torch.
    from torchvision.transforms import v2

    colours = {
        partial(shift_brightness, spread=augmentation.brightness / 255): augmentation.brightness,
        partial(scale_contrast, spread=augmentation.contrast): augmentation.contrast,
        v2.ColorJitter(saturation=augmentation.saturation): augmentation.saturation,
        v2.ColorJitter(hue=augmentation.hue / 360): augmentation.hue,
        v2.RandomChannelPermutation(): augmentation.channel_permutation,
    }
    steps = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
    steps += [v2.RandomApply([step], p=0.5) for step, wanted in colours.items() if wanted]
    steps.append(partial(crop_and_resize, smallest=augmentation.smallest_crop, size=size))
    steps += [v2.RandomHorizontalFlip(p=0.5)] if augmentation.flip else []
    return cast(Transform, v2.Compose([*steps, v2.Normalize(list(pixels.mean), list(pixels.deviation))]))


def write_images(images: NDArray[np.uint8], folder: Path) -> tuple[Path, ...]:
    """Write images `(N, H, W, 3)` in their order; return their paths.

    Small scenes become PNG files, photographs JPEG files, as people have them on disk (and quicker to read).
    """
    ending = ".jpg" if min(images.shape[1:3]) >= PHOTOGRAPH_SIDE else ".png"
    paths = tuple(folder / f"{number:06d}{ending}" for number in range(len(images)))
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path, quality=90)
    return paths


class ImageFiles(Dataset[tuple[Tensor, Tensor, int]]):
    """Image files with labels `(N, C)`; each image is decoded and transformed when asked for, with its row."""

    def __init__(self, paths: Sequence[Path], labels: NDArray[np.uint8], transform: Transform) -> None:
        self.paths, self.transform = paths, transform
        # A copy: labels may lie in a file that is mapped read-only.
        self.labels = torch.from_numpy(labels.view(np.int8).astype(np.float32))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        with Image.open(self.paths[index]) as file:
            image = file.convert("RGB")
        return self.transform(image), self.labels[index], index


class EpochIndices(Sampler[int]):
    """The indices of a method's sampler, one epoch per pass."""

    def __init__(self, stream: EpochStream) -> None:
        self.stream = stream

    def __iter__(self) -> Iterator[int]:
        return iter(self.stream.next_epoch().tolist())


class PlainLoop:
    """Trains an experiment as people do, from image files of the training split that `write_images` wrote.

    The DataLoader has so many `workers`; 0 loads in this process.
    """

    def __init__(
        self,
        experiment: Experiment,
        dataset: LongTailedDataset,
        paths: Sequence[Path],
        *,
        device: str,
        workers: int = 0,
        word_vectors: NDArray[np.float32] | None = None,
        weights: Path | None = None,
    ) -> None:
        self.training, self.device, self.images = dict(experiment.training), torch.device(device), len(paths)
        method, labels, size = experiment.method, dataset.split("train").labels, self.training["batch_size"]
        augmentation = Augmentation(**self.training["augmentation"])
        transform = plain_transform(augmentation, experiment.input_format, size=self.training["image_size"])
        length = method.sampler.epoch_length(labels)
        self.loader = DataLoader(
            ImageFiles(paths, labels, transform),
            batch_size=size,
            sampler=EpochIndices(method.sampler.open(labels, numpy_stream(experiment.seed, "sampling"))),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.device.type == "cuda",
            drop_last=method.sampler.drop_last or length % size == 1,
        )
        network = build_network(experiment, dataset.statistics, word_vectors=word_vectors, weights=weights)
        self.network = network.to(self.device)
        self.loss = method.build_loss(dataset.statistics, counted=True).to(self.device)
        self.optimiser = torch.optim.SGD(
            [*self.network.trained_parameters(), *self.loss.parameters()],
            lr=self.training["learning_rate"],
            momentum=self.training["momentum"],
            weight_decay=self.training["weight_decay"],
        )
        self.losses: list[float] = []

    def train_epoch(self, epoch: int) -> Iterator[int]:
        """Train one epoch; yield the number of images of each step when it is done."""
        for images, labels, rows in self.loader:
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(len(self.losses), epoch, self.training)
            epochs, step = self.training["schedule"]["epochs"], len(self.losses)
            rows = rows.to(self.device)
            context = Context(epoch=epoch, epochs=epochs, step=step, indices=rows, images=self.images)
            self.losses.append(self.train_step(images, labels, context))
            yield len(images)

    def train_step(self, images: Tensor, labels: Tensor, context: Context) -> float:
        """Train on one batch of normalised images `(N, 3, H, W)` and labels `(N, C)`; return its loss."""
        images = images.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        labels = labels.to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.training["precision"] == "bfloat16"):
            logits = self.network(images)
        beside = (context,) if getattr(self.loss, "takes_context", False) else ()
        loss: Tensor = self.loss(logits, labels, *beside)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.trained_parameters(), self.training["clip_norm"])
        self.optimiser.step()
        return loss.item()
