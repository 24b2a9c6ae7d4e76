"""The one trainer: every method, every dataset, CPU or GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import InputError
from ..experiments.experiment import Experiment
from ..experiments.network import build_network
from ..experiments.recipe import Augmentation
from ..experiments.streams import as_tensors, numpy_stream, stream_seed, torch_stream
from .augmentation import (
    DRAWS_PER_IMAGE,
    Normalisation,
    Prepared,
    augment_prepared,
    parameters_from_draws,
    prepare,
    whole_images,
)
from .device_data import DeviceData
from .devices import CUDA_MATMUL_PRECISION
from .execution import DivergedError, Execution
from .graphed_step import GraphedStep
from .metrics import Scores, score
from .optimisation import FlatSGD, LossMeter, learning_rate
from .score_matrix import gather_scores

if TYPE_CHECKING:
    from ...datasets.dataset import Dataset
    from .shared_trunk import SharedTrunk

EVALUATION_BATCH = 256
# Images whose scores are brought to the host together.
EVALUATED_AT_ONCE = 8 * EVALUATION_BATCH
# Batches whose augmentation is worked out at once; one at a time this took 1.6 % of a step on Digits-MLT.
PREPARED_AT_ONCE = 32
# What a checkpoint keeps of an epoch on its way; the rest is drawn again.
KEPT_OF_COURSE = ("epoch", "first", "seen", "done")


@dataclass(kw_only=True)
class EpochCourse:
    """An epoch on its way.

    Attributes:
        epoch: epochs done before it.
        indices: of its images, in order, on the host.
        on_device: the same on the device.
        first: steps done before it.
        meter: of its losses.
        before: states of sampler and augmentation before it was drawn.
        seen: images taken so far.
        done: steps taken so far.
    """

    epoch: int
    indices: Tensor
    on_device: Tensor
    first: int
    before: Mapping[str, Any]
    meter: LossMeter = field(default_factory=LossMeter)
    seen: int = 0
    done: int = 0


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
        shared: SharedTrunk | None = None,
    ) -> None:
        self.training: dict[str, Any] = dict(experiment.training)
        self.dataset, self.execution = dataset, execution
        self.device = torch.device(execution.device)
        if self.device.type == "cuda":
            torch.set_float32_matmul_precision(CUDA_MATMUL_PRECISION)
        method, seed = experiment.method, experiment.seed
        self.augmentation = Augmentation(**self.training["augmentation"])
        self.normalisation = Normalisation.of(experiment.input_format, self.device)
        self.shared = shared
        split = dataset.split("train")
        self.data = shared.open(split, self.device) if shared else DeviceData(split, self.device)
        self.drop_last = method.sampler.drop_last
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(seed, "loss"))
            self.loss = method.build_loss(dataset.statistics).to(self.device)
        self.network = build_network(experiment, dataset.statistics, word_vectors=word_vectors, weights=weights).to(
            self.device
        )
        self.parameters = self.network.trained_parameters()
        self.optimiser = FlatSGD(self.parameters, list(self.loss.parameters()), self.training)
        self.sampling = method.sampler.open(split.labels, numpy_stream(seed, "sampling"))
        self.crops = torch_stream(seed, "augmentation")
        self.dropout_seed = stream_seed(seed, "dropout")
        self.steps = 0
        self.course: EpochCourse | None = None
        self.graph: GraphedStep | None = None

    def train_epoch(self, epoch: int) -> tuple[float, int]:
        """Train one epoch, or the rest of it after `load_state`; return its mean loss and the images that it took.

        Args:
            epoch: epochs before it.

        Raises:
            DivergedError: at the end, if a loss was not finite.
        """
        course = self.begin_epoch(epoch)
        for _ in self.steps_of(course):
            pass
        return self.end_epoch(course)

    def begin_epoch(self, epoch: int) -> EpochCourse:
        """The epoch that is on its way after `load_state`, or a new one."""
        self.course = self.course or self._draw_epoch(epoch)
        return self.course

    def steps_of(self, course: EpochCourse) -> Iterator[None]:
        """Take the steps of an epoch that are left; pause after each, when `state` is whole."""
        for number, (batch, prepared) in enumerate(self.prepared_batches(course)):
            if number >= course.done:
                compute = partial(self.stem, course.on_device[batch], prepared)
                stem = self.shared.stem(self.steps, course.indices[batch], compute) if self.shared else compute()
                self.learn(course, batch, stem)
                course.done += 1
                yield

    def _draw_epoch(self, epoch: int) -> EpochCourse:
        """Draw what an epoch shows; how, `prepared_batches` draws."""
        before = self._streams()
        indices = torch.from_numpy(self.sampling.next_epoch())
        return EpochCourse(
            epoch=epoch,
            indices=indices,
            on_device=indices.to(self.device),
            first=self.steps,
            before=before,
        )

    def draw(self, images: int) -> Tensor:
        """Uniform numbers `(images, 16)` for the augmentation of the next images, on the device.

        In pieces or at once the generator gives the same numbers.
        """
        return torch.rand(images, DRAWS_PER_IMAGE, generator=self.crops).to(self.device, non_blocking=True)

    def prepared_batches(self, course: EpochCourse) -> Iterator[tuple[slice, Prepared]]:
        """The batches of an epoch with their augmentation, drawn and worked out for many of them at once.

        Numbers are drawn for every image of the epoch, also for a last batch that is left out.
        """
        length = len(course.indices)
        batches, at_once = self.batches(length), PREPARED_AT_ONCE * self.training["batch_size"]
        # Of an epoch without images `batches` says what is wrong.
        for start in range(0, max(length, 1), at_once):
            prepared = self.prepare(self.draw(min(at_once, length - start)))
            for batch in islice(batches, PREPARED_AT_ONCE):
                yield batch, prepared.of(slice(batch.start - start, batch.stop - start))

    def end_epoch(self, course: EpochCourse) -> tuple[float, int]:
        """Mean loss of an epoch and the images that it took.

        Raises:
            DivergedError: if a loss was not finite.
        """
        self.course = None
        mean, bad = course.meter.read()
        if bad is not None:
            start = bad * self.training["batch_size"]
            chosen = course.indices[start : start + self.training["batch_size"]].numpy()
            names = self.dataset.split("train").ids[chosen]
            raise DivergedError(
                f"the loss was not finite at step {course.first + bad} (epoch {course.epoch + 1}); its images: "
                f"{', '.join(names.tolist())}. Lower recipe.learning_rate, or look at these images",
                step=course.first + bad,
            )
        return mean, course.seen

    def state(self) -> dict[str, Any]:
        """Everything of this trainer that decides the coming steps, as tensors and plain values.

        Of an epoch on its way it holds the streams as they were before, from which the epoch is drawn again.
        """
        course = self.course
        return {
            "network": self.network.state_dict(),
            "loss": self.loss.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "steps": self.steps,
            "streams": course.before if course else self._streams(),
            "course": course
            and {
                **{name: getattr(course, name) for name in KEPT_OF_COURSE},
                "losses": course.meter.state(),
            },
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a kept state, in the middle of an epoch if need be."""
        self.network.load_state_dict(state["network"])
        self.loss.load_state_dict(state["loss"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.sampling.load_state(state["streams"]["sampling"])
        self.crops.set_state(state["streams"]["crops"])
        self.steps, self.graph = state["steps"], None
        if kept := state["course"]:
            self.course = self._draw_epoch(kept["epoch"])
            self.course.meter.load_state(kept["losses"], self.device)
            for name in KEPT_OF_COURSE:
                setattr(self.course, name, kept[name])

    def _streams(self) -> Mapping[str, Any]:
        return {"sampling": as_tensors(self.sampling.state()), "crops": self.crops.get_state()}

    def batches(self, length: int) -> Iterator[slice]:
        """Slices of one epoch; a last batch is left out if the sampler wants whole ones, or if it has one image."""
        size = self.training["batch_size"]
        for start in range(0, length, size):
            stop = min(start + size, length)
            if stop - start == size or (not self.drop_last and stop - start > 1):
                yield slice(start, stop)
        if length < 2 or (self.drop_last and length < size):
            raise InputError(f"an epoch of {length} draws holds no batch of {size}; lower recipe.batch_size")

    def prepare(self, draws: Tensor) -> Prepared:
        """Augmentation of images from their uniform numbers `(N, 16)`."""
        shape, size = self.data.shape, self.training["image_size"]
        parameters = parameters_from_draws(draws, self.augmentation)
        return prepare(parameters, self.augmentation, self.normalisation, shape=shape, size=size)

    def stem(self, indices: Tensor, prepared: Prepared) -> Tensor:
        """Gather and augment a batch, and take it through the frozen trunk: all that no method of a cohort changes."""
        pixels = augment_prepared(self.data.batch(indices), prepared, self.augmentation)
        with self.autocast():
            return self.network.frozen_part(pixels.contiguous(memory_format=torch.channels_last))

    def learn(self, course: EpochCourse, batch: slice, stem: Tensor) -> None:
        """Take one step on a batch of an epoch, from the trunk's feature map."""
        self.set_learning_rate(learning_rate(self.steps, course.epoch, self.training))
        course.meter.add(self._take_step(stem, course.on_device[batch]))
        course.seen += batch.stop - batch.start

    def _take_step(self, stem: Tensor, indices: Tensor) -> Tensor:
        """As `learn_step`; by a CUDA graph where the execution says so, but for a last batch that is no whole one."""
        graphed = self.execution.graphed and stem.is_cuda and len(indices) == self.training["batch_size"]
        if graphed and self.graph is None:
            self.graph = GraphedStep(self, stem, indices)
        return self.graph(stem, indices) if graphed and self.graph else self.learn_step(stem, indices)

    def train_step(self, indices: Tensor, draws: Tensor) -> Tensor:
        """Train on one batch; return its detached loss without waiting for the device."""
        return self.learn_step(self.stem(indices, self.prepare(draws)), indices)

    def learn_step(self, stem: Tensor, indices: Tensor) -> Tensor:
        """Train on the trunk's feature map of one batch; return the detached loss without waiting for the device."""
        with self.autocast():
            logits = self.network.learning_part(stem)
        loss: Tensor = self.loss(logits, self.data.targets(indices))
        self.optimiser.clear_gradients()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.clip_and_step()
        self.steps += 1
        return loss.detach()

    def evaluate(self, split: str, *, folder: Path | None = None) -> tuple[Scores, NDArray[np.float32]]:
        """Score a split with the network as it is; also return its raw logits `(N, C)`, see `gather_scores`.

        Args:
            split: its name.
            folder: for the file that the logits of a large split are mapped from.
        """
        scores = self.logits(split, folder=folder)
        return score(scores, self.dataset.split(split).labels, self.dataset.statistics), scores

    @torch.inference_mode()
    def logits(self, split: str, *, folder: Path | None = None) -> NDArray[np.float32]:
        """Raw logits `(N, C)` of a split with the network as it is."""
        self.network.eval()
        data = DeviceData(self.dataset.split(split), self.device)
        shape = len(data), self.dataset.statistics.num_classes
        scores = gather_scores(self._logits_in_pieces(data), shape, folder=folder)
        self.network.train()
        return scores

    def _logits_in_pieces(self, data: DeviceData) -> Iterator[NDArray[np.float32]]:
        """Those of several batches at a time: a device is waited for only then."""
        for start in range(0, len(data), EVALUATED_AT_ONCE):
            batches = torch.split(torch.arange(start, min(start + EVALUATED_AT_ONCE, len(data))), EVALUATION_BATCH)
            yield torch.cat([self._logits_of(data.batch(indices)) for indices in batches]).cpu().numpy()

    def _logits_of(self, images: Tensor) -> Tensor:
        pixels = whole_images(images, self.normalisation, size=self.training["image_size"])
        with self.autocast():
            logits: Tensor = self.network(pixels.contiguous(memory_format=torch.channels_last)).float()
        return logits

    def autocast(self) -> AbstractContextManager[Any]:
        """Mixed precision where the recipe says so."""
        if self.training["precision"] != "bfloat16":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def set_learning_rate(self, rate: float) -> None:
        """Set the optimiser's learning rate."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
