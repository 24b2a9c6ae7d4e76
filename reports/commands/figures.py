"""`mltbench figures list | draw`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...benchmark.commands.run import Out, TrackingUri
from ...datasets.commands.preparing import DataRoot

if TYPE_CHECKING:
    from ..figures.source import FigureSource

figures = typer.Typer(no_args_is_help=True, help="Figures: what there is, and how to draw them.")


@figures.command("list")
def list_all(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the figures with what they need: finished runs, trials of studies, labels, or nothing.

    \b
    Example:
        mltbench figures list
    """
    from rich.table import Table

    from ...terminal import console
    from ..figures.registry import list_figures

    entries = list_figures()
    if as_json:
        typer.echo(json.dumps([{"name": e.name, "title": e.title, "needs": e.part} for e in entries], indent=1))
        return
    table = Table()
    for column in ("name", "title", "needs"):
        table.add_column(column, overflow="fold")
    for entry in entries:
        table.add_row(entry.name, entry.title, "nothing" if entry.part == "equations" else entry.part)
    console().print(table)


@figures.command()
def draw(
    dataset: Annotated[str | None, typer.Argument(help="The dataset; with --labels, how to call it.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="A label matrix alone, .npz or CSV, instead of a registered dataset.")
    ] = None,
    figure: Annotated[list[str] | None, typer.Option(help="Only this figure; repeatable.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Runs of this recipe [default: the dataset's own].")] = None,
    to: Annotated[Path, typer.Option(help="Folder of the figures.")] = Path("figures"),
    out: Out = None,
    data_root: DataRoot = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Draw the figures of a dataset that have data: SVG, PDF and PNG, with the data as CSV beside them.

    Figures of labels and equations need no run; those of results are drawn from the runs under --out, if any.

    \b
    Examples:
        mltbench figures draw digits-mlt --to figures
        mltbench figures draw --labels labels.csv --figure co-occurrence
    """
    from rich.markup import escape

    from ...errors import InputError
    from ...terminal import console
    from ..figures.registry import draw_figures, get_figure

    entries = [get_figure(name) for name in figure] if figure else None
    if labels is not None:
        from ..figures.source import labels_source

        source = labels_source(dataset or labels.stem, labels)
    elif dataset is not None:
        source = _source_of_dataset(dataset, recipe, out, data_root, tracking_uri)
    else:
        raise InputError("nothing to draw: name a dataset (`mltbench data list` shows them), or give --labels FILE")
    with console().status("drawing") as status:
        found = draw_figures(source, to, entries=entries, on_figure=lambda name: status.update(f"drawing {name}"))
    for one in found.drawn:
        console().print(f"drawn    {one.name}: {escape(one.alternative_text)}", soft_wrap=True)
    for name, reason in found.without.items():
        console().print(f"[dim]left out {name}: {escape(reason)}[/dim]", soft_wrap=True)
    for name, reason in found.failed.items():
        console().print(f"[bold red]failed[/bold red]   {name}: {escape(reason)}", soft_wrap=True)
    console().print(
        f"{len(found.drawn)} figures in {escape(str(to))}, each as .svg, .pdf, .png and .csv", soft_wrap=True
    )
    raise typer.Exit(0 if found.drawn and not found.failed else 1)


def _source_of_dataset(
    name: str, recipe: str | None, out: Path | None, data_root: Path | None, tracking_uri: str | None
) -> FigureSource:
    from ...benchmark.tracking.store import open_store, resolve_results_root
    from ...datasets.registry import get_dataset_entry
    from ..figures.source import dataset_source
    from ..results.runs import runs_frame

    get_dataset_entry(name)
    root = resolve_results_root(out)
    store = open_store(root, tracking_uri, create=False) if tracking_uri or (root / "mlflow.db").exists() else None
    return dataset_source(
        name, data_root=data_root, store=store, runs=runs_frame(store) if store else None, recipe=recipe
    )
