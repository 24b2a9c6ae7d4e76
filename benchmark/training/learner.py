"""What one experiment of a cohort learns with: its network, loss and optimiser."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...datasets.dataset import Dataset
from ...errors import some_of
from ...methods.context import Context
from ..experiments.experiment import Experiment
from ..experiments.network import build_network
from ..experiments.streams import stream_seed
from ..networks.backbones import get_backbone
from .augmentation import Normalisation, whole_images
from .devices import autocast, set_up_cuda
from .evaluation import gather_scores, in_batches
from .execution import DivergedError, Execution
from .feed import Batch, DeviceData, Feed
from .graph import Graphs, fused, without_trace
from .metrics import Scores, score
from .optimisation import FlatSGD, LossMeter, learning_rate


class Learner:
    """Learns one experiment from the batches of a `Feed`; the host waits for the device once per epoch.

    Args:
        word_vectors: `(C, D)`, for heads that need them.
        weights: file of the backbone's initial weights, as `find_weights` found it.
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
        if self.device.type == "cuda":
            set_up_cuda()
        self.normalisation = Normalisation.of(experiment.input_format, self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(experiment.seed, "loss"))
            self.loss = experiment.method.build_loss(dataset.statistics, counted=True).to(self.device)
        self.takes_context = bool(getattr(self.loss, "takes_context", False))
        network = build_network(experiment, dataset.statistics, word_vectors=word_vectors, weights=weights)
        self.network = network.to(self.device)
        self.parameters = self.network.trained_parameters()
        self.optimiser = FlatSGD(self.parameters, list(self.loss.parameters()), self.training)
        self.dropout_seed = stream_seed(experiment.seed, "dropout")
        self.steps = 0
        self.meter = LossMeter()
        self.for_photographs = get_backbone(experiment.backbone).for_photographs
        self.graphs = Graphs()

    def learn(self, batch: Batch) -> None:
        """Take one step at the learning rate that the recipe has for it."""
        self.optimiser.learning_rate = learning_rate(self.steps, batch.epoch, self.training)
        inputs = (batch.features, batch.targets, *self.place(batch.epoch, batch.indices))
        loss = self.graphs(self._steps, inputs, self._without_trace)
        self.meter.add(self.step(*inputs) if loss is None else loss.clone())
        self.steps += 1

    def place(self, epoch: int, indices: Tensor) -> tuple[Tensor, ...]:
        """Rows, epoch and step for a loss that asks for them, all on the device, where a graph reads them."""
        if not self.takes_context:
            return ()
        return (indices, *(torch.full((), number, device=self.device) for number in (epoch, self.steps)))

    def _steps(self, size: int) -> list[Callable[..., Tensor]]:
        # For the smaller last batch everything would be compiled once more.
        fuses = self.for_photographs and size == self.training["batch_size"]
        return [self._fused_step, self.step] if fuses else [self.step]

    def _without_trace(self) -> AbstractContextManager[None]:
        state = [*self.network.state_dict().values(), *self.loss.state_dict().values()]
        return without_trace(self.optimiser, state, self.loss)

    def _fused_step(self, features: Tensor, targets: Tensor, *place: Tensor) -> Tensor:
        with fused(self.network.upper):
            return self.step(features, targets, *place)

    def loss_of(self, logits: Tensor, targets: Tensor, *place: Tensor) -> Tensor:
        """The loss of a batch; of `place` there are rows, epoch and step if the loss asks for its context."""
        context: tuple[Context, ...] = ()
        if place:
            indices, epoch, step = place
            epochs, images = self.training["schedule"]["epochs"], self.dataset.statistics.num_images
            context = (Context(epoch=epoch, epochs=epochs, step=step, indices=indices, images=images),)
        loss: Tensor = self.loss(logits, targets, *context)
        return loss

    def step(self, features: Tensor, targets: Tensor, *place: Tensor) -> Tensor:
        """Step from the trunk's features; return the detached loss without waiting for the device."""
        with autocast(self.training["precision"], self.device):
            logits = self.network.learning_part(features)
        loss = self.loss_of(logits, targets, *place)
        self.optimiser.clear_gradients()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.clip_and_step()
        return loss.detach()

    def end_epoch(self, feed: Feed) -> float:
        """Return the mean loss of the epoch; waits for the device.

        Raises:
            DivergedError: if a loss was not finite; the message names its step and images.
        """
        mean, bad = self.meter.read()
        self.meter = LossMeter()
        if bad is not None:
            step = self.steps - feed.batches_done + bad
            raise DivergedError(
                f"the loss was not finite at step {step} (epoch {feed.epoch + 1}); its images: "
                f"{some_of(feed.image_names(bad))}. Lower recipe.learning_rate, or look at these images",
                step=step,
            )
        return mean

    def evaluate(self, split: str, *, folder: Path | None = None) -> tuple[Scores, NDArray[np.float32]]:
        """Score a split with the network as it is; also return its raw logits `(N, C)`.

        The file that the logits of a large split are mapped from lies in `folder`, see `gather_scores`.
        """
        scores = self.logits(split, folder=folder)
        return score(scores, self.dataset.split(split).labels, self.dataset.statistics), scores

    @torch.inference_mode()
    def logits(self, split: str, *, folder: Path | None = None) -> NDArray[np.float32]:
        """Raw logits `(N, C)` of a split with the network as it is."""
        self.network.eval()
        data = DeviceData(self.dataset.split(split), self.device)
        pieces = in_batches(lambda indices: self._logits_of(data.batch(indices)), len(data))
        scores = gather_scores(pieces, (len(data), self.dataset.statistics.num_classes), folder=folder)
        self.network.train()
        return scores

    def _logits_of(self, images: Tensor) -> Tensor:
        pixels = whole_images(images, self.normalisation, size=self.training["image_size"])
        with autocast(self.training["precision"], self.device):
            logits: Tensor = self.network(pixels.contiguous(memory_format=torch.channels_last)).float()
        return logits

    def state(self) -> dict[str, Any]:
        """Everything of this learner that decides the coming steps, as tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "loss": self.loss.state_dict(),
            "optimiser": self.optimiser.state(),
            "steps": self.steps,
            "losses": self.meter.state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        self.network.load_state_dict(state["network"])
        self.loss.load_state_dict(state["loss"])
        self.optimiser.load_state(state["optimiser"])
        self.steps, self.graphs = state["steps"], Graphs()
        # A checkpoint of version 0.1.0 has the losses beside the place in the epoch.
        losses = state["losses"] if "losses" in state else (state["course"] or {"losses": ()})["losses"]
        self.meter.load_state(losses, self.device)
