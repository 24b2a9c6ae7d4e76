"""The one trainer: every method, every dataset, CPU or GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..datasets.errors import InputError
from .augmentation import DRAWS_PER_IMAGE, augment, crop_and_resize, parameters_from_draws, whole_image
from .device_data import DeviceData
from .execution import DivergedError, Execution
from .experiment import Experiment
from .metrics import Scores, score
from .network import build_network
from .optimisation import LossMeter, learning_rate
from .recipes import Augmentation
from .streams import numpy_stream, stream_seed, torch_stream

if TYPE_CHECKING:
    from ..datasets.dataset import Dataset

EVALUATION_BATCH = 256


class Trainer:
    """Trains one experiment on one dataset.

    The dataset lies on the device as uint8; batches are gathered, augmented and normalised there. The host is asked
    once per epoch, for the mean loss.
    """

    def __init__(
        self,
        experiment: Experiment,
        dataset: Dataset,
        execution: Execution,
        *,
        word_vectors: NDArray[np.float32] | None = None,
        weights: Path | None = None,
    ) -> None:
        self.training: dict[str, Any] = dict(experiment.training)
        self.dataset, self.execution = dataset, execution
        self.device = torch.device(execution.device)
        method, seed = experiment.method, experiment.seed
        self.augmentation = Augmentation(**self.training["augmentation"])
        self.mean, self.deviation = (
            255 * torch.tensor(values, device=self.device)[:, None, None]
            for values in (experiment.input_format.mean, experiment.input_format.deviation)
        )
        self.data = DeviceData(dataset.split("train"), self.device)
        self.drop_last = method.sampler.drop_last
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(seed, "loss"))
            self.loss = method.build_loss(dataset.statistics).to(self.device)
        self.network = build_network(experiment, dataset.statistics, word_vectors=word_vectors, weights=weights).to(
            self.device
        )
        self.parameters = self.network.trained_parameters()
        self.optimiser = torch.optim.SGD(
            [*self.parameters, *self.loss.parameters()],
            lr=self.training["learning_rate"],
            momentum=self.training["momentum"],
            weight_decay=self.training["weight_decay"],
            foreach=True,
        )
        self.sampling = method.sampler.open(dataset.split("train").labels, numpy_stream(seed, "sampling"))
        self.crops = torch_stream(seed, "augmentation")
        self.dropout_seed = stream_seed(seed, "dropout")
        self.steps = 0

    def train_epoch(self, epoch: int) -> tuple[float, int]:
        """Train one epoch; return its mean loss and the images that it took."""
        indices = torch.from_numpy(self.sampling.next_epoch())
        draws = torch.rand(len(indices), DRAWS_PER_IMAGE, generator=self.crops)
        meter, seen, first_step = LossMeter(self.device), 0, self.steps
        on_device = indices.to(self.device), draws.to(self.device)
        for batch in self.batches(len(indices)):
            self.set_learning_rate(learning_rate(self.steps, epoch, self.training))
            meter.add(self.train_step(on_device[0][batch], on_device[1][batch]))
            seen += batch.stop - batch.start
        mean, bad = meter.read()
        if bad is not None:
            start = bad * self.training["batch_size"]
            names = self.dataset.split("train").ids[indices[start : start + self.training["batch_size"]].numpy()]
            raise DivergedError(
                f"the loss was not finite at step {first_step + bad} (epoch {epoch + 1}); its images: "
                f"{', '.join(names.tolist())}. Lower recipe.learning_rate, or look at these images"
            )
        return mean, seen

    def batches(self, length: int) -> Iterator[slice]:
        """Slices of one epoch; a last batch is left out if the sampler wants whole ones, or if it has one image."""
        size = self.training["batch_size"]
        for start in range(0, length, size):
            stop = min(start + size, length)
            if stop - start == size or (not self.drop_last and stop - start > 1):
                yield slice(start, stop)
        if length < 2 or (self.drop_last and length < size):
            raise InputError(f"an epoch of {length} draws holds no batch of {size}; lower recipe.batch_size")

    def train_step(self, indices: Tensor, draws: Tensor) -> Tensor:
        """Train on one batch; return its detached loss without waiting for the device."""
        parameters = parameters_from_draws(draws, self.augmentation)
        pixels = augment(self.data.batch(indices), parameters, self.augmentation, size=self.training["image_size"])
        with self.autocast():
            logits = self.network(self.normalise(pixels))
        loss: Tensor = self.loss(logits, self.data.labels[indices])
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters, self.training["clip_norm"], foreach=True)
        self.optimiser.step()
        self.steps += 1
        return loss.detach()

    @torch.inference_mode()
    def evaluate(self, split: str) -> tuple[Scores, NDArray[np.float32]]:
        """Score a split with the network as it is; also return its raw logits `(N, C)`."""
        self.network.eval()
        data = DeviceData(self.dataset.split(split), self.device)
        logits = []
        for start in range(0, len(data), EVALUATION_BATCH):
            indices = torch.arange(start, min(start + EVALUATION_BATCH, len(data)))
            pixels = data.batch(indices).permute(0, 3, 1, 2).float()
            pixels = crop_and_resize(pixels, whole_image(len(indices), self.device), size=self.training["image_size"])
            with self.autocast():
                logits.append(self.network(self.normalise(pixels)).float())
        self.network.train()
        scores = torch.cat(logits).cpu().numpy()
        return score(scores, self.dataset.split(split).labels, self.dataset.statistics), scores

    def normalise(self, pixels: Tensor) -> Tensor:
        """Grey levels `(N, 3, H, W)` to what the backbone expects, channels last."""
        return ((pixels - self.mean) / self.deviation).contiguous(memory_format=torch.channels_last)

    def autocast(self) -> torch.autocast:
        """Mixed precision where the recipe says so."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.training["precision"] == "bfloat16")

    def set_learning_rate(self, rate: float) -> None:
        """Set the optimiser's learning rate."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
