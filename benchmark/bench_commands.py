"""`mltbench bench loop`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .commands import DataRoot

if TYPE_CHECKING:
    from rich.table import Table

    from .loop_benchmark import LoopComparison

bench = typer.Typer(no_args_is_help=True, help="Benchmarks of this suite's own speed.")


@bench.command()
def loop(
    dataset: Annotated[str, typer.Option(help="The dataset to train on.")] = "digits-mlt",
    method: Annotated[str, typer.Option(help="The method to train.")] = "erm",
    seconds: Annotated[float, typer.Option(min=0.1, help="Time measured per variant.")] = 6.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write this JSON file.")] = None,
    data_root: DataRoot = None,
) -> None:
    """Compare our trainer with the loop that people write: same network, batch, images and augmentation.

    The plain loop decodes PNG files with PIL, transforms image by image with torchvision, and reads the loss each step;
    it is measured with 0, 1, 2, 4 ... loader workers. The ratio is to the fastest plain loop that runs alone; it holds
    where the speeds themselves move with the load.

    \b
    Example:
        mltbench bench loop --seconds 6 --json loop.json
    """
    from ..datasets.errors import InputError
    from ..datasets.registry import load_dataset, resolve_data_root
    from .devices import resolve_device, usable_cores
    from .loop_benchmark import compare_loops
    from .plan import build_plan
    from .progress import working
    from .provenance import code_version, machine
    from .terminal import console

    if json_file and not json_file.resolve().parent.is_dir():
        raise InputError(f"--json {json_file}: there is no folder {json_file.parent}; make it, or choose another file")
    root, chosen, cores = resolve_data_root(data_root), resolve_device(device), usable_cores()
    plan = build_plan(load_dataset(dataset, data_root=root), [method], seeds=[0], device_type=chosen.partition(":")[0])
    experiment = plan.experiments[0].experiment
    with working(console(), "measuring all variants in turns"):
        comparison = compare_loops(experiment, data_root=root, device=chosen, cores=cores, seconds=seconds)
    training = experiment.training
    setting = (
        f"batch {training['batch_size']}, {training['image_size']} x {training['image_size']}, {training['precision']}"
    )
    here = {**machine(chosen, cores), **code_version()}
    console().print(_table(comparison, title=f"{method} on {dataset}: {setting}"))
    console().print(_machine_line(here), highlight=False, soft_wrap=True)
    if json_file:
        content = {"machine": here, "experiment": json.loads(experiment.to_json()), "variants": comparison.as_json()}
        json_file.write_text(json.dumps(content, indent=1))


def _table(comparison: LoopComparison, *, title: str) -> Table:
    from rich.table import Table

    caption = f"ratio to: {comparison.best_plain.variant.name}; median of rounds"
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    table.add_column("variant", overflow="fold")
    for column in ("images/s", "lowest to highest", "ratio"):
        table.add_column(column, justify="right")
    for measurement in comparison.measurements:
        table.add_row(
            measurement.variant.name,
            f"{measurement.images_per_second:,.0f}",
            f"{min(measurement.rates):,.0f} to {max(measurement.rates):,.0f}",
            f"{comparison.ratio(measurement):.2f}",
        )
    return table


def _machine_line(here: Mapping[str, str]) -> str:
    return (
        f"machine: {here['system']}, {here['device_name']}, device {here['device']}, {here['threads']} cores, "
        f"Python {here['python']}, torch {here['torch']}"
    )
