"""`mltbench bench loop` and `mltbench bench breakdown`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.table import Table

from ...datasets.commands.options import AtLeastOne, DataOptions
from ...datasets.dataset import Dataset
from ...datasets.registry import load_dataset
from ...datasets.word_vectors import hashed_word_vectors
from ...errors import InputError
from ...terminal import console, print_line
from ..experiments.plan import Plan, build_plan
from ..networks.initial_weights import find_weights
from ..runs.provenance import code_version, machine
from ..speed.loop_benchmark import LoopComparison, compare_loops
from ..speed.step_breakdown import break_down
from ..training.devices import usable_cores
from ..training.execution import Execution
from ..training.trainer import Trainer
from .options import DeviceOptions, SettingOptions, ThreadOptions

JsonFile = Annotated[Path | None, Parameter(name="--json", help="Also write this JSON file.")]


def loop(
    *,
    dataset: str = "digits-mlt",
    method: str = "erm",
    setting: SettingOptions = SettingOptions(),
    seconds: Annotated[float, Parameter(validator=Number(gte=0.1))] = 6.0,
    rounds: Annotated[int, AtLeastOne] = 5,
    device: DeviceOptions = DeviceOptions(),
    json_file: JsonFile = None,
    data: DataOptions = DataOptions(),
) -> None:
    """Compare our trainer with the loop that people write: same network, batch, images and augmentation.

    The plain loop decodes PNG files (JPEG files of photographs) with PIL, transforms image by image with torchvision,
    and reads the loss each step; it is measured with 0, 1, 2, 4 ... loader workers. Our trainer is measured with one
    method, and with all methods of the paper that see the same images, in lock step, as `mltbench run` trains them: an
    image counts once for each. The ratio is to the fastest plain loop that runs alone; it holds where the speeds
    themselves move with the load.

    For example:

        mltbench bench loop --seconds 6 --json loop.json
        mltbench bench loop --dataset photos --backbone mobilenet_v2 --weights mobilenet_v2_imagenet.pt --seconds 60

    Args:
        dataset: The dataset to train on.
        method: The method to train.
        seconds: Time measured per variant.
        rounds: Measurements of each variant, in turns; the median counts.
    """
    require_folder(json_file)
    chosen, cores = device.chosen, usable_cores()
    _, plan = _small_plan(dataset, method, setting, device, data)
    experiment = plan.experiments[0].experiment
    with console().status("measuring all variants in turns"):
        comparison = compare_loops(
            experiment,
            data_root=data.root,
            device=chosen,
            cores=cores,
            seconds=seconds,
            rounds=rounds,
            weights=find_weights(experiment.backbone, experiment.weights_digest, setting.weights, data.root),
        )
    training = experiment.training
    size = (
        f"batch {training['batch_size']}, {training['image_size']} x {training['image_size']}, {training['precision']}"
    )
    here = {**machine(chosen, cores), **code_version()}
    console().print(_table(comparison, title=f"{method} on {dataset}: {size}"))
    content = {"experiment": json.loads(experiment.to_json()), "variants": comparison.as_json()}
    tell_machine(here, content, json_file)


def breakdown(
    *,
    dataset: str = "digits-mlt",
    method: str = "db-focal",
    setting: SettingOptions = SettingOptions(),
    steps: Annotated[int, AtLeastOne] = 60,
    device: ThreadOptions = ThreadOptions(),
    json_file: JsonFile = None,
    data: DataOptions = DataOptions(),
) -> None:
    """Show where the time of a training goes, as shares of the step.

    Metrics (validation and test split once) and tracking (journal and upload to MLflow) are those of a whole run,
    spread over its steps.

    For example:

        mltbench bench breakdown --method db-focal --json breakdown.json
        mltbench bench breakdown --dataset photos --backbone mobilenet_v2 --weights random --steps 5

    Args:
        dataset: The dataset to train on.
        method: The method to train.
        steps: Steps measured, after as many as warm up.
    """
    require_folder(json_file)
    chosen, threads = device.chosen, device.threads
    opened, plan = _small_plan(dataset, method, setting, device, data)
    experiment = plan.experiments[0].experiment
    needed = experiment.method.head.needs_word_vectors
    before = torch.get_num_threads()
    with console().status("taking steps"):
        torch.set_num_threads(threads)
        trainer = Trainer(
            experiment,
            opened,
            Execution(device=chosen, threads=threads),
            word_vectors=hashed_word_vectors(opened.classes).vectors if needed else None,
            weights=find_weights(experiment.backbone, experiment.weights_digest, setting.weights, data.root),
        )
        found = break_down(plan, trainer, steps=steps)
        torch.set_num_threads(before)
    rows = [(part, f"{found.parts[part]:.3f}", f"{100 * found.share(part):.1f} %") for part in found.parts]
    total = sum(found.parts.values())
    rows.append(("whole", f"{total:.3f}", f"{1000 * found.batch / total:,.0f} images/s"))
    title = f"{method} on {dataset}, {experiment.backbone}: one step of {found.batch} images ({found.steps:,} in a run)"
    console().print(plain_table(title, ("part", "ms", "share"), rows))
    content = {"experiment": json.loads(experiment.to_json()), "milliseconds": dict(found.parts), "batch": found.batch}
    tell_machine({**machine(chosen, threads), **code_version()}, {**content, "steps": found.steps}, json_file)


def _small_plan(
    dataset: str, method: str, setting: SettingOptions, device: DeviceOptions, data: DataOptions
) -> tuple[Dataset, Plan]:
    opened = load_dataset(dataset, data_root=data.root)
    plan = build_plan(
        opened,
        [method],
        seeds=[0],
        recipe=setting.recipe,
        backbone=setting.backbone_choice,
        overrides=setting.override,
        device_type=device.kind,
    )
    return opened, plan


def require_folder(json_file: Path | None) -> None:
    """Check, before anything is measured, that a JSON file can be written.

    Raises:
        InputError: if it has no folder.
    """
    if json_file and not json_file.resolve().parent.is_dir():
        raise InputError(f"--json {json_file}: there is no folder {json_file.parent}; make it, or choose another file")


def tell_machine(here: Mapping[str, str], content: Mapping[str, Any], json_file: Path | None) -> None:
    """Print on which machine something was measured; write it with the measurements, where asked."""
    print_line(_machine_line(here))
    if json_file:
        json_file.write_text(json.dumps({"machine": here, **content}, indent=1))


def plain_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str | None = None) -> Table:
    """A table whose first column is words and the others numbers."""
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _table(comparison: LoopComparison, *, title: str) -> Table:
    rows = [
        (
            measurement.variant.name,
            f"{measurement.images_per_second:,.0f}",
            f"{min(measurement.rates):,.0f} to {max(measurement.rates):,.0f}",
            f"{comparison.ratio(measurement):.2f}",
        )
        for measurement in comparison.measurements
    ]
    caption = f"ratio to: {comparison.best_plain.variant.name}; median of rounds"
    return plain_table(title, ("variant", "images/s", "lowest to highest", "ratio"), rows, caption)


def _machine_line(here: Mapping[str, str]) -> str:
    used = f"{here['threads']} core{'s'[: here['threads'] != '1']} used"
    return (
        f"machine: {here['system']}, {here['device_name']}, device {here['device']}, {used}, "
        f"Python {here['python']}, torch {here['torch']}"
    )
