"""`mltbench data list` and `mltbench data show`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

data = typer.Typer(no_args_is_help=True, help="Datasets: what there is, and what they look like.")
DataRoot = Annotated[
    Path | None, typer.Option(help="Where datasets are kept [default: MLTBENCH_DATA, else the user's cache folder].")
]


@data.command("list")
def list_all(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the datasets with their sources.

    \b
    Example:
        mltbench data list
    """
    from rich.console import Console
    from rich.table import Table

    from .registry import list_datasets

    entries = list_datasets()
    if as_json:
        rows = [{"name": e.name, "summary": e.summary, "source": e.source, "recipe": e.recipe} for e in entries]
        typer.echo(json.dumps(rows, indent=1))
        return
    console = Console()
    console = console if console.is_terminal else Console(width=120)
    table = Table()
    for column in ("name", "what it is", "source", "recipe", "backbone"):
        table.add_column(column, overflow="fold")
    for entry in entries:
        table.add_row(entry.name, entry.summary, entry.source, entry.recipe, entry.backbone)
    console.print(table)


@data.command()
def show(
    name: Annotated[str, typer.Argument(help="The dataset.")],
    out: Annotated[Path | None, typer.Option(help="The picture [default: NAME.png].")] = None,
    data_root: DataRoot = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a dataset's statistics, and write a picture: scenes with labels, class sizes by group, p(i|j).

    \b
    Example:
        mltbench data show digits-mlt --out digits-mlt.png
    """
    from rich.console import Console
    from rich.table import Table

    from .description import describe
    from .picture import draw_dataset
    from .registry import load_dataset

    dataset = load_dataset(name, data_root=data_root)
    path = out or Path(f"{name}.png")
    draw_dataset(dataset, path)
    description = describe(dataset)
    if as_json:
        typer.echo(json.dumps(description | {"picture": str(path)}, indent=1))
        return
    table = Table(title=f"{name}: {description['digest'][:16]}", title_justify="left", show_header=False)
    for key, value in description.items():
        if key not in ("name", "classes"):
            table.add_row(key.replace("_", " "), str(value))
    console = Console()
    console = console if console.is_terminal else Console(width=120)
    console.print(table)
    console.print(f"picture: {path}", soft_wrap=True)


@data.command()
def select(
    labels: Annotated[Path, typer.Option(help="Label matrix: .npz with ids and labels, or CSV.")],
    out: Annotated[Path, typer.Option(help="The selected ids, one a line.")],
    largest: Annotated[int, typer.Option("--max", min=1, help="Wanted size of the largest class.")] = 800,
    smallest: Annotated[int, typer.Option("--min", min=1, help="Wanted size far out in the tail.")] = 1,
    power: Annotated[float, typer.Option(help="Power of the Pareto density.")] = 6.0,
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 0,
    separator: Annotated[str, typer.Option(help="Between the class names of one image, in a CSV.")] = "|",
) -> None:
    """Select a long-tailed subset of anyone's labels by the paper's construction, as VOC-MLT was made.

    \b
    Example:
        mltbench data select --labels trainval.npz --max 800 --out ids.txt
    """
    import random

    from .errors import InputError
    from .label_files import read_label_file
    from .selection import ids_digest, pareto_targets, select_head_to_tail
    from .statistics import GROUPS, ClassStatistics

    found = read_label_file(labels, separator=separator)
    ClassStatistics.from_labels(found.labels, class_names=found.classes)
    targets = pareto_targets(len(found.classes), largest=largest, smallest=smallest, power=power)
    chosen = select_head_to_tail(found.labels, targets, random.Random(seed))
    ids = [found.ids[i] for i in chosen]
    statistics = ClassStatistics.from_labels(found.labels[chosen], class_names=found.classes)
    try:
        out.write_text("".join(f"{name}\n" for name in ids), encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write the ids to {out}: {error.strerror}; give a writable file with --out") from error
    groups = ", ".join(f"{group} {int(statistics.group_mask(group).sum())}" for group in GROUPS)
    typer.echo(f"{len(ids)} of {len(found.ids)} images, {found.labels[chosen].sum() / len(ids):.3f} labels per image")
    typer.echo(f"classes: {groups}; largest {statistics.counts.max()}, smallest {statistics.counts.min()}")
    typer.echo(f"SHA-256 of the sorted ids: {ids_digest(ids)}")
    typer.echo(f"ids: {out}")
