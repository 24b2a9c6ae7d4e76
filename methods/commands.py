"""`mltbench methods`."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def methods(
    name: Annotated[str | None, typer.Argument(help="Show one method with all its hyper-parameters.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Whose hyper-parameters of the paper to show.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the methods, with their parts, hyper-parameters and sources.

    \b
    Examples:
        mltbench methods
        mltbench methods db-focal --dataset coco-mlt
    """
    from rich.console import Console
    from rich.table import Table

    from ..datasets.errors import unknown_name
    from .catalogue import VALUES, get_method, list_methods

    if dataset is not None and dataset not in VALUES:
        raise unknown_name("dataset with hyper-parameters of its own", dataset, VALUES)
    names = [name] if name else [method.name for method in list_methods()]
    chosen = [get_method(item, dataset=dataset) for item in names]
    if as_json:
        rows = [
            {"name": m.name, "title": m.title, "summary": m.summary, "reference": m.reference, **m.as_json()}
            for m in chosen
        ]
        typer.echo(json.dumps(rows, indent=1))
        return
    console = Console()
    console = console if console.is_terminal else Console(width=140)
    table = Table(caption="hyper-parameters for " + (dataset or "voc-mlt (the paper's)"), caption_justify="left")
    for column in ("name", "what it is", "source", "sampler", "schedule", "hyper-parameters"):
        table.add_column(column, overflow="fold")
    for m in chosen:
        values = ", ".join(f"{key}={value}" for key, value in m.parameters.items())
        table.add_row(m.name, m.summary, m.reference, m.sampler.kind, m.schedule, values)
    console.print(table)
