"""Images per second of our trainer beside those of the plain loop, measured in turns on one machine.

Every variant is measured once per round, in an order that turns around each time. Ratios are taken within each round,
and the median of the rounds counts: what else the machine does meanwhile hits all variants alike.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ...datasets.registry import load_dataset
from ..experiments.experiment import Experiment
from ..training.lock_step import paper_cohort
from .plain_loop import write_images
from .timed_loops import WARM_UP, Alone, Task, Together, Variant

ROUNDS = 5
# Runs that share one GPU; each holds a context of some hundred MiB there.
LARGEST_CUDA_RUNS = 4


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Speed of one variant.

    Attributes:
        variant: what was measured.
        rates: images per second of each round, of all its runs together.
    """

    variant: Variant
    rates: tuple[float, ...]

    @property
    def images_per_second(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.rates)


@dataclass(frozen=True, kw_only=True)
class LoopComparison:
    """Speeds of all variants on one machine.

    Attributes:
        measurements: one per variant, plain loops first.
    """

    measurements: tuple[Measurement, ...]

    @property
    def best_plain(self) -> Measurement:
        """The fastest plain loop that runs alone: the best of all numbers of loader workers and threads."""
        plain = [m for m in self.measurements if m.variant.loop == "plain" and m.variant.runs == 1]
        return max(plain, key=lambda measurement: measurement.images_per_second)

    def ratio(self, measurement: Measurement) -> float:
        """Speed over that of `best_plain`, as the median of the rounds."""
        pairs = zip(measurement.rates, self.best_plain.rates, strict=True)
        return statistics.median(own / plain for own, plain in pairs)

    def as_json(self) -> list[Mapping[str, Any]]:
        """Return one entry per variant: what it is, its speed, its ratio, its rounds."""
        return [
            {
                "name": measurement.variant.name,
                **asdict(measurement.variant),
                "images_per_second": measurement.images_per_second,
                "ratio_to_best_plain": self.ratio(measurement),
                "rounds": measurement.rates,
            }
            for measurement in self.measurements
        ]


def list_variants(cores: int, device: str, *, methods: int = 1) -> tuple[Variant, ...]:
    """Variants for a machine: each loop with one thread and with all, alone and one run per core.

    The plain loop alone has 0, 1, 2, 4 ... loader workers. All threads need not beat one: on a busy machine each
    operation waits for the slowest of them. Our trainer also trains so many methods in lock step, as `mltbench run`
    trains those that see the same images.

    >>> [variant.workers for variant in list_variants(6, "cpu") if variant.loop == "plain" and variant.threads == 1]
    [0, 1, 2, 4, 6, 0]
    """
    workers = sorted({0, cores, *(2**power for power in range(cores.bit_length()))})
    threads = sorted({1, cores})
    plain = [Variant(loop="plain", threads=each, workers=number) for number in workers for each in threads]
    ours = [Variant(loop="ours", threads=each) for each in threads]
    runs = cores if device == "cpu" else min(cores, LARGEST_CUDA_RUNS)
    if methods > 1:
        ours.append(Variant(loop="ours", threads=1, cohort=methods))
    if runs > 1:
        plain.append(Variant(loop="plain", threads=1, runs=runs))
        ours += [replace(variant, runs=runs) for variant in ours if variant.threads == 1]
    return (*plain, *ours)


def compare_loops(
    experiment: Experiment,
    *,
    data_root: Path,
    device: str,
    cores: int,
    seconds: float,
    rounds: int = ROUNDS,
    weights: Path | None = None,
) -> LoopComparison:
    """Measure all variants on an experiment; nothing of what they learn is kept.

    Args:
        experiment: what is trained; its dataset must be a registered one.
        data_root: where datasets are kept.
        device: `cpu`, `cuda` or `cuda:N`.
        cores: most threads, loader workers and runs.
        seconds: timed per variant, over all rounds; each round takes a step at least.
        rounds: how often each variant is measured.
        weights: file of the backbone's initial weights, or None.

    Raises:
        RuntimeError: if a process of the benchmark died.
    """
    methods = len(paper_cohort(experiment, presets=experiment.dataset))
    variants, threads = list_variants(cores, device, methods=methods), torch.get_num_threads()
    split = load_dataset(experiment.dataset, data_root=data_root).split("train")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as open_ones:
        open_ones.callback(torch.set_num_threads, threads)
        paths = write_images(split, Path(folder))
        text = experiment.to_json()
        task = Task(experiment_json=text, data_root=data_root, device=device, paths=paths, weights=weights)
        stands: list[Alone | Together] = []
        for variant in variants:
            stands.append(Alone(task, variant) if variant.runs == 1 else Together(task, variant))
            open_ones.callback(stands[-1].close)
        rates = _rounds(stands, rounds, seconds / rounds)
    pairs = zip(variants, rates, strict=True)
    return LoopComparison(measurements=tuple(Measurement(variant=v, rates=tuple(r)) for v, r in pairs))


def _rounds(stands: Sequence[Alone | Together], rounds: int, seconds: float) -> list[list[float]]:
    """Rates of each stand, one per round; a short first round, in which everything starts, does not count."""
    rates: list[list[float]] = [[] for _ in stands]
    for number in range(rounds + 1):
        forth = list(enumerate(stands))
        for i, stand in reversed(forth) if number % 2 else forth:
            rates[i].append(stand.rate(seconds if number else WARM_UP * seconds))
    return [one[1:] for one in rates]
