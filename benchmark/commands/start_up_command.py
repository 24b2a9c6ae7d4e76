"""`mltbench bench start-up`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ...datasets.commands.preparing import DataRoot
from .bench import DatasetName, JsonFile, MethodName, plain_table, require_folder, tell_machine


def start_up(
    dataset: DatasetName = "digits-mlt",
    method: MethodName = "erm",
    repeats: Annotated[int, typer.Option(min=1, help="Starts of each kind.")] = 5,
    json_file: JsonFile = None,
    data_root: DataRoot = None,
) -> None:
    """Measure how long `mltbench run` takes to its first training step on the CPU.

    With one worker and with one per core; in a new results folder and in an existing one. Each start is a process of
    its own, killed when its first checkpoint is written, which is asked for after every step.

    \b
    Example:
        mltbench bench start-up --json start-up.json
    """
    from ...datasets.registry import prepare, resolve_data_root
    from ...terminal import console
    from ..runs.provenance import code_version, machine
    from ..speed.start_up_benchmark import MARKS, measure_start_ups
    from ..training.devices import usable_cores
    from .progress import working

    require_folder(json_file)
    root = resolve_data_root(data_root)
    with working(console(), f"starting `mltbench run --dataset {dataset} --method {method}` again and again"):
        prepare(dataset, root)
        found = measure_start_ups(dataset, method, data_root=root, workers=usable_cores(), repeats=repeats)
    rows = [
        (
            f"{start.workers}, {start.folder}",
            *(f"{seconds:.2f}" for seconds in start.medians),
            f"{min(row[-1] for row in start.seconds):.2f} to {max(row[-1] for row in start.seconds):.2f}",
        )
        for start in found
    ]
    columns = ("workers, results folder", *(f"{mark}, s" for mark in MARKS), "lowest to highest")
    caption = f"medians of {repeats}"
    console().print(plain_table(f"{method} on {dataset}: from the command to its first step", columns, rows, caption))
    content = {"marks": list(MARKS), "starts": [{**asdict(start), "medians": start.medians} for start in found]}
    tell_machine({**machine("cpu", usable_cores()), **code_version()}, content, json_file)
