"""`mltbench methods`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from .method import Method
    from .search_space import Range


def methods(
    name: Annotated[str | None, typer.Argument(help="Show one method with its parts and hyper-parameters.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Whose hyper-parameters of the paper to show.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the methods with their sources, or show one with its hyper-parameters and its search space.

    \b
    Examples:
        mltbench methods
        mltbench methods db-focal --dataset coco-mlt
    """
    from ..errors import unknown_name
    from ..terminal import console
    from .catalogue import VALUES, get_method, list_methods

    if dataset is not None and dataset not in VALUES:
        raise unknown_name("dataset with hyper-parameters of its own", dataset, VALUES)
    names = [name] if name else [method.name for method in list_methods()]
    chosen = [get_method(item, dataset=dataset) for item in names]
    if as_json:
        rows = [
            {"name": m.name, "title": m.title, "summary": m.summary, "reference": m.reference, **m.as_json()}
            | {"search_space": {name: searched.as_json() for name, searched in m.search_space.items()}}
            for m in chosen
        ]
        typer.echo(json.dumps(rows, indent=1))
        return
    console().print(_parameters(chosen[0], dataset) if name else _overview(chosen))


def _overview(chosen: Sequence[Method]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, caption="mltbench methods NAME shows hyper-parameters", caption_justify="left")
    table.add_column("name", no_wrap=True)
    for column in ("what it is", "equation or source", "sampler"):
        table.add_column(column, overflow="fold")
    for m in chosen:
        table.add_row(m.name, m.summary, m.reference, m.sampler.kind)
    return table


def _parameters(method: Method, dataset: str | None) -> Table:
    from rich import box
    from rich.table import Table

    from .catalogue import DEFAULT_VALUES
    from .method import PARTS

    title = f"{method.title}: {method.summary} ({method.reference})"
    caption = (
        f"values for {dataset or DEFAULT_VALUES}; change one with --override method.NAME=VALUE\n"
        "searched by mltbench study tune; (in brackets: not unless asked for with --parameter)"
    )
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", caption=caption, caption_justify="left")
    for column in ("part", "kind", "hyper-parameter", "value", "paper", "allowed", "searched"):
        table.add_column(column, overflow="fold")
    for slot in PARTS:
        part = getattr(method, slot)
        if part is None:
            continue
        ranges = getattr(part, "ranges", {})
        table.add_row(slot, part.kind, *[""] * 5)
        for name, value in method.parameters_of(slot).items():
            low, high = ranges.get(name, (None, None))
            searched = part.search_space.get(name)
            allowed = "" if low is None else f"{low:g} to {high:g}"
            table.add_row("", "", name, str(value), _paper_value(name, searched, dataset), allowed, _searched(searched))
    table.add_row("schedule", method.schedule, *[""] * 5)
    return table


def _paper_value(name: str, searched: Range | None, dataset: str | None) -> str:
    from .catalogue import DEFAULT_VALUES, VALUES

    if searched is None or searched.paper is None:
        return "-"
    return str(VALUES[dataset or DEFAULT_VALUES].get(name, searched.paper))


def _searched(searched: Range | None) -> str:
    if searched is None:
        return ""
    return searched.text if searched.tuned else f"({searched.text})"
