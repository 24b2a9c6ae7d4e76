"""`mltbench data list` and `mltbench data show`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from .decode_benchmark_command import bench_decode
from .importing import import_dataset
from .preparing import DataRoot, prepare_dataset, verify_dataset

# What the columns of the printed table are called; their JSON names are longer.
COLUMNS = {"expected_frequency_class_aware": "p-hat (Eq. 1)", "within_class_sampling_variance": "variance (Fig. 5)"}

# Whose labels `select` chooses from, where an .npz has several: all there are, rather than a chosen training split.
POOLS = ("", "trainval2012_", "train_")

data = typer.Typer(no_args_is_help=True, help="Datasets: what there is, what they look like, and making your own.")
data.command("import")(import_dataset)
data.command("prepare")(prepare_dataset)
data.command("verify")(verify_dataset)
data.command("bench-decode")(bench_decode)


@data.command("list")
def list_all(
    data_root: DataRoot = None, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List the datasets with their sources, imported ones included.

    \b
    Example:
        mltbench data list
    """
    from rich.markup import escape
    from rich.table import Table

    from ...terminal import console
    from ..registry import list_datasets, resolve_data_root

    entries = list_datasets(data_root=resolve_data_root(data_root))
    if as_json:
        rows = [{"name": e.name, "summary": e.summary, "source": e.source, "recipe": e.recipe} for e in entries]
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table()
    for column in ("name", "what it is", "source", "recipe", "backbone"):
        table.add_column(column, overflow="fold")
    for entry in entries:
        table.add_row(*map(escape, (entry.name, entry.summary, entry.source, entry.recipe, entry.backbone)))
    console().print(table)


@data.command()
def show(
    name: Annotated[str | None, typer.Argument(help="The dataset; with --labels, how to call it.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="A label matrix alone, .npz or CSV, instead of a registered dataset.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The picture [default: NAME.png].")] = None,
    data_root: DataRoot = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a dataset's statistics, and write a picture: scenes with labels, class sizes by group, p(i|j).

    \b
    Examples:
        mltbench data show digits-mlt --out digits-mlt.png
        mltbench data show --labels labels.csv
    """
    from ...errors import InputError
    from ...files import safe_file_name

    if name is None and labels is None:
        raise InputError("nothing to show: name a dataset (`mltbench data list` shows them), or give --labels FILE")
    title = name or (labels.stem if labels else "")
    path = out or Path(f"{safe_file_name(title)}.png")
    description = _show_labels(title, labels, path) if labels else _show_dataset(title, data_root, path)
    if as_json:
        typer.echo(json.dumps(description | {"picture": str(path)}, indent=1))
    else:
        _print_description(description, path)


def _show_dataset(name: str, data_root: Path | None, picture: Path) -> dict[str, Any]:
    from ..registry import load_dataset
    from .description import describe
    from .picture import draw_dataset

    dataset = load_dataset(name, data_root=data_root)
    draw_dataset(dataset, picture)
    return describe(dataset)


def _show_labels(name: str, file: Path, picture: Path) -> dict[str, Any]:
    from ..importing.label_files import read_label_file
    from .description import describe_labels
    from .picture import draw_labels

    found = read_label_file(file)
    draw_labels(name, found.labels, found.classes, picture)
    return describe_labels(name, found.labels, found.classes)


def _print_description(description: dict[str, Any], picture: Path) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from ...terminal import console

    summary = Table(title=escape(description["name"]), title_justify="left", show_header=False, box=box.SIMPLE_HEAD)
    for key, value in description.items():
        if key not in ("name", "classes"):
            summary.add_row(key.replace("_", " "), escape(str(value)))
    classes = Table(box=box.SIMPLE_HEAD)
    for key in description["classes"][0]:
        classes.add_column(COLUMNS.get(key, key), justify="left" if key in ("name", "group") else "right")
    for row in description["classes"]:
        classes.add_row(*(escape(f"{value:.4f}" if isinstance(value, float) else str(value)) for value in row.values()))
    console().print(summary)
    console().print(classes)
    console().print(f"picture: {escape(str(picture))}", soft_wrap=True)


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

    from ...errors import InputError
    from ..importing.label_files import read_label_file
    from ..long_tail.selection import ids_digest, pareto_targets, select_head_to_tail
    from ..long_tail.statistics import GROUPS, ClassStatistics

    found = read_label_file(labels, separator=separator, prefixes=POOLS)
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
