"""The rehearsal for a GPU: how fast it trains, and what the whole paper would take.

It trains on synthetic sets with the shapes of VOC-MLT and COCO-MLT, made in memory.
"""

import gc
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ...datasets.dataset import Dataset
from ...methods.catalogue import get_method
from ..experiments.experiment import Experiment
from ..experiments.recipe import PAPER
from ..networks.initial_weights import random_weights
from ..runs.outcome import peak_memory_mib
from ..training.devices import autocast, wait_for
from ..training.learner import Learner
from .harness import Place, Taken, Training, Variant, WorkerError, Workers, sampled
from .plain_loop import write_images
from .synthetic import DIFFERENT_IMAGES, Shape, synthetic_dataset

METHOD = "db-focal"
ROUNDS, WARM_UP_STEPS = 3, 3
# Seconds kept back at the end to stop what still runs, and to print.
LAST_SECONDS = 10.0

# The first is the one whose operations are counted. Eight methods of the paper are re-sampled, as DB-Focal is.
VARIANTS = (
    Variant(name="one method"),
    Variant(name="cohort of 8 methods", cohort=8),
    Variant(name="plain loop", loop="plain"),
)


# Class sizes and images: paper, Sec. 4.1. Training images: 6 methods for 80 epochs of N, 8 for 8 epochs of n_max C / 4.
VOC = Shape(
    name="voc", images=1142, classes=20, largest=775, smallest=4, test_images=4952, validation_images=2000,
    paper_images=6 * 80 * 1142 + 8 * 8 * 3875,
)  # fmt: skip
COCO = Shape(
    name="coco", images=1909, classes=80, largest=1128, smallest=6, test_images=5000, validation_images=5000,
    paper_images=6 * 80 * 1909 + 8 * 8 * 22560,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is rehearsed, by default the paper's; plain values, so that it can be sent to processes."""

    shapes: tuple[Shape, ...] = (VOC, COCO)
    backbone: str = "resnet50"
    image_size: int = 224
    batch_size: int = 32
    device: str
    threads: int = 1  # torch threads of each process
    workers: int = 0  # loader workers of the plain loop
    seconds: float = 3.0  # measured per variant and shape


def full_setting(device: str, cores: int) -> Setting:
    """The paper's: ResNet-50 at 224 pixels, batches of 32."""
    return Setting(device=device, threads=cores if device == "cpu" else 1, workers=min(cores, 16))


def small_setting(device: str) -> Setting:
    """The same code in a minute: ResNet-18 at 32 pixels."""
    voc = replace(VOC, images=60, classes=5, largest=40, validation_images=20, test_images=40, side=40)
    coco = replace(COCO, images=90, classes=8, largest=50, validation_images=20, test_images=40, side=40)
    return Setting(shapes=(voc, coco), backbone="resnet18", image_size=32, batch_size=8, device=device, seconds=0.3)


def rehearsed_experiment(setting: Setting, shape: Shape, dataset: Dataset) -> Experiment:
    """DB-Focal with the paper's recipe on a synthetic dataset, in bfloat16 on CUDA."""
    recipe = replace(PAPER, image_size=setting.image_size, batch_size=setting.batch_size)
    method, kind = get_method(METHOD, dataset=f"{shape.name}-mlt"), setting.device.partition(":")[0]
    return Experiment.of(dataset, method, recipe, random_weights(setting.backbone), device_type=kind)


class Rehearsed:
    """A variant in a process of its own, on one shape after the other."""

    def __init__(self, setting: Setting, variant: Variant) -> None:
        self.setting, self.variant, self.device = setting, variant, torch.device(setting.device)
        self.trainings, self.busy = list[Training](), list[float]()

    def open(self, shape: Shape) -> float:
        """Take the first steps on a shape; return their seconds, compilation and capture included."""
        self.trainings.clear()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        dataset, self.busy = synthetic_dataset(shape, image_size=self.setting.image_size), []
        experiment = rehearsed_experiment(self.setting, shape, dataset)
        place = Place(device=self.setting.device, presets=f"{shape.name}-mlt")
        started = time.perf_counter()
        if self.variant.loop == "plain":
            self.folder = tempfile.TemporaryDirectory()
            written = write_images(dataset.split("train").images[:DIFFERENT_IMAGES], Path(self.folder.name))
            place = replace(place, paths=(written * shape.images)[: shape.images])
        self.trainings.append(Training(experiment, dataset, self.variant, place))
        self.trainings[0].take(0, least=WARM_UP_STEPS)
        return time.perf_counter() - started

    def train(self, seconds: float) -> Taken:
        """Train for so many seconds; on a GPU, see twice a second how busy it is."""
        # Without pynvml, or a driver that knows, there are no values, and the measurement continues.
        with sampled(lambda: float(torch.cuda.utilization(self.device)), 0.5) as busy:
            taken = self.trainings[0].take(seconds)
        self.busy += busy
        return taken

    def report(self) -> dict[str, Any]:
        """Memory (reserved on the GPU, resident on the CPU), per cent of the time in which a GPU was busy, losses.

        Of the first variant also the seconds of scoring the validation and test split once, and the operations of a
        training step.
        """
        training, cuda = self.trainings[0], self.device.type == "cuda"
        peak = torch.cuda.max_memory_reserved(self.device) / 2**20 if cuda else peak_memory_mib(self.device)
        busy = statistics.fmean(self.busy) if self.busy else None
        found = {"peak_mib": peak or 0.0, "utilisation": busy, "finite": training.finite}
        if self.variant.name != VARIANTS[0].name:
            return {**found, "evaluation_seconds": None, "flop_per_image": None}
        learner, started = training.learners[0], time.perf_counter()
        for split in ("validation", "test"):
            learner.evaluate(split)
        seconds = time.perf_counter() - started
        return {**found, "evaluation_seconds": seconds, "flop_per_image": flop_per_image(learner)}


def flop_per_image(learner: Learner) -> float:
    """Operations of a training step, the frozen trunk's too, counted by torch in a step that is no graph."""
    size, batch = learner.training["image_size"], learner.training["batch_size"]
    pixels = torch.zeros(batch, 3, size, size, device=learner.device).to(memory_format=torch.channels_last)
    targets = torch.zeros(batch, learner.dataset.statistics.num_classes, device=learner.device)
    with FlopCounterMode(display=False) as counter:
        with autocast(learner.training["precision"], learner.device):
            features = learner.network.frozen_part(pixels)
        learner.step(features, targets)
    return float(counter.get_total_flops() / batch)


def rehearse(setting: Setting, *, minutes: float) -> Iterator[dict[str, Any]]:
    """Measure all variants, one after the other; one that fails is reported with its reason and the others continue.

    Nothing runs any more after so many minutes. Yields after the matrix product, and after each variant, all that was
    found so far, as plain JSON: the setting, the FLOP per second of the largest matrix product, and of each variant its
    speeds by shape, the seconds of both tables on both datasets at these speeds (evaluation included, without
    compilation and start), and the reason why a speed is missing.
    """
    deadline = time.monotonic() + 60 * minutes - min(LAST_SECONDS, 6 * minutes)
    found: list[dict[str, Any]] = []
    peak = matrix_peak(torch.device(setting.device))
    yield {"setting": asdict(setting), "peak_flop_per_second": peak, "variants": []}
    for listed in VARIANTS:
        variant = replace(listed, threads=setting.threads, workers=setting.workers if listed.loop == "plain" else 0)
        shapes = dict[str, Any]()
        reason = f"no time left of {minutes:g} minutes" if time.monotonic() >= deadline else None
        if reason is None:
            try:
                _measure(setting, variant, shapes, deadline)
            except WorkerError as error:
                reason = str(error)
        found.append({**asdict(variant), "reason": reason, "shapes": shapes})
        variants = with_whole_paper(setting, peak, found)
        yield {"setting": asdict(setting), "peak_flop_per_second": peak, "variants": variants}


def with_whole_paper(setting: Setting, peak: float, variants: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each variant its share of the peak, by shape, and the seconds that the paper would take with it."""
    first: dict[str, Any] = variants[0]["shapes"]
    for variant in variants:
        seconds = []
        for shape in setting.shapes:
            speed, counted = variant["shapes"].get(shape.name), first.get(shape.name)
            if speed:
                flop = counted["flop_per_image"] if counted else None
                speed["share_of_peak"] = speed["images_per_second"] * flop / peak if flop else None
            if speed and counted:
                evaluation = shape.runs * counted["evaluation_seconds"]
                seconds.append(shape.paper_images / speed["images_per_second"] + evaluation)
        variant["paper_seconds"] = sum(seconds) if len(seconds) == len(setting.shapes) else None
    return variants


def matrix_peak(device: torch.device) -> float:
    """FLOP per second of a square matrix product: 8192 in bfloat16 on CUDA, 1024 in float32 elsewhere; best of 5."""
    side, dtype, times = (8192, torch.bfloat16, 20) if device.type == "cuda" else (1024, torch.float32, 3)
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(6):
        wait_for(device)
        started = time.perf_counter()
        for _ in range(times):
            torch.mm(left, right)
        wait_for(device)
        seconds.append((time.perf_counter() - started) / times)
    return float(2 * side**3 / min(seconds[1:]))


def _measure(setting: Setting, variant: Variant, shapes: dict[str, Any], deadline: float) -> None:
    """Measure a variant in a process of its own, which ends at the deadline: a failed capture spoils a device."""
    with Workers(Rehearsed, setting, variant, deadline=deadline) as process:
        for shape in setting.shapes:
            (setup,) = process.call("open", shape)
            rates = [process.rate(setting.seconds / ROUNDS) for _ in range(ROUNDS)]
            (report,) = process.call("report")
            speed = {"rates": rates, "images_per_second": statistics.median(rates), "setup_seconds": setup}
            shapes[shape.name] = {**speed, **report}
