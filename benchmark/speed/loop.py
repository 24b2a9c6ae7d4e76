"""Images per second of our training beside those of the plain loop, measured in turns on one machine."""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from ...datasets.registry import load_dataset
from ..experiments.experiment import Experiment
from .harness import Place, Taken, Training, Variant, Workers, paper_cohort, rates_in_turns
from .plain_loop import write_images


def list_variants(cores: int, device: str, *, methods: int = 1) -> list[Variant]:
    """Variants for a machine: each loop with one thread and with all, alone and one run per core.

    The plain loop alone has 0, 1, 2, 4 ... loader workers. All threads need not beat one: on a busy machine each
    operation waits for the slowest of them. Ours also trains so many methods together, as `mltbench run` trains those
    that see the same images.

    >>> [variant.workers for variant in list_variants(6, "cpu") if variant.loop == "plain" and variant.threads == 1]
    [0, 1, 2, 4, 6, 0]
    """
    workers = sorted({0, cores, *(2**power for power in range(cores.bit_length()))})
    # Two runs at once on one H200 gave 3,310 images/s, where one gave 3,540.
    threads, runs = sorted({1, cores}), cores if device == "cpu" else 1
    plain = [Variant(name="", loop="plain", threads=each, workers=number) for number in workers for each in threads]
    ours = [Variant(name="", threads=each) for each in threads]
    ours += [Variant(name="", cohort=methods)] if methods > 1 else []
    if runs > 1:
        plain.append(replace(plain[0], runs=runs))
        ours += [replace(variant, runs=runs) for variant in ours if variant.threads == 1]
    return [replace(variant, name=_name(variant)) for variant in (*plain, *ours)]


def _name(variant: Variant) -> str:
    workers = f"plain loop, {variant.workers} loader worker{'s'[: variant.workers != 1]}"
    parts = [
        "mltbench" if variant.loop == "ours" else workers,
        f"{variant.threads} thread{'s'[: variant.threads != 1]}",
    ]
    parts += [f"{variant.cohort} methods in lock step"] if variant.cohort > 1 else []
    parts += [f"{variant.runs} runs at once"] if variant.runs > 1 else []
    return ", ".join(parts)


class _Trainings:
    """Variants that take turns in one process: one process each would not fit into memory at 224 pixels."""

    def __init__(self, experiment: Experiment, data_root: Path, variants: Sequence[Variant], place: Place) -> None:
        dataset = load_dataset(experiment.dataset, data_root=data_root)
        self.trainings = [Training(experiment, dataset, variant, place) for variant in variants]

    def train(self, number: int, seconds: float) -> Taken:
        return self.trainings[number].train(seconds)


def compare_loops(
    experiment: Experiment, place: Place, *, data_root: Path, cores: int, seconds: float, rounds: int
) -> list[dict[str, Any]]:
    """Measure all variants of an experiment on a registered dataset, plain loops first; see `compared`.

    There are at most so many threads, loader workers and runs as `cores`. `seconds` are timed per variant, over all
    rounds; each round takes a step at least.

    Raises:
        WorkerError: if a process of the benchmark failed.
    """
    variants = list_variants(cores, place.device, methods=len(paper_cohort(experiment, presets=experiment.dataset)))
    images = load_dataset(experiment.dataset, data_root=data_root).split("train").images
    alone = [variant for variant in variants if variant.runs == 1]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as processes:
        place = replace(place, presets=experiment.dataset, paths=write_images(images, Path(folder)))
        one = processes.enter_context(Workers(_Trainings, experiment, data_root, alone, place))
        timed = [partial(one.rate, number) for number in range(len(alone))]
        together = [variant for variant in variants if variant.runs > 1]
        for variant in together:
            several = Workers(_Trainings, experiment, data_root, [variant], place, number=variant.runs)
            timed.append(partial(processes.enter_context(several).rate, 0))
        rates = rates_in_turns(timed, rounds=rounds, seconds=seconds / rounds)
    found = dict(zip([*alone, *together], rates, strict=True))
    return compared({variant: found[variant] for variant in variants})


def compared(rates: Mapping[Variant, Sequence[float]]) -> list[dict[str, Any]]:
    """Medians of the rounds; ratios are taken within each round, to the plain loop that is fastest alone."""
    plain = [each for variant, each in rates.items() if variant.loop == "plain" and variant.runs == 1]
    best = max(plain, key=statistics.median)
    return [
        {
            **asdict(variant),
            "is_best_plain": each is best,
            "images_per_second": statistics.median(each),
            "lowest": min(each),
            "highest": max(each),
            "ratio_to_best_plain": statistics.median(own / other for own, other in zip(each, best, strict=True)),
            "rounds": each,
        }
        for variant, each in rates.items()
    ]
