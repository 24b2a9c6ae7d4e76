"""`mltbench data import`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .preparing import DataRoot

if TYPE_CHECKING:
    from ..importing.importer import Imported


def import_dataset(
    name: Annotated[str, typer.Argument(help="What commands will call it.")],
    images: Annotated[Path, typer.Option(help="Folder that the image files lie below.")],
    labels: Annotated[
        list[str],
        typer.Option(help="A CSV, a folder of VOC XML, or COCO JSON; several of these as SPLIT=FILE, repeated."),
    ],
    delimiter: Annotated[str, typer.Option(help="Between the cells of a CSV.")] = ",",
    separator: Annotated[str, typer.Option(help="Between the class names of one cell of a CSV.")] = "|",
    image_column: Annotated[str, typer.Option(help="CSV column of the image files.")] = "image",
    labels_column: Annotated[
        str, typer.Option(help="CSV column of the class names; without it each further column is a class of 0/1.")
    ] = "labels",
    split_column: Annotated[str, typer.Option(help="CSV column of the splits, if there is one.")] = "split",
    test_share: Annotated[float, typer.Option(help="Share of test images where no test split is given.")] = 0.3,
    validation_share: Annotated[
        float, typer.Option(help="Share of the training images set aside where no validation split is given.")
    ] = 0.15,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every draw.")] = 0,
    long_tail: Annotated[
        str | None, typer.Option(help="Cut the training set by the paper's construction: max=800,min=1[,power=6].")
    ] = None,
    difficult: Annotated[
        bool, typer.Option("--difficult/--no-difficult", help="Whether VOC objects marked difficult count.")
    ] = True,
    recipe: Annotated[
        str, typer.Option(help="Training recipe of the dataset; `run --recipe` takes another.")
    ] = "paper",
    backbone: Annotated[str, typer.Option(help="Backbone; `run --backbone` takes another.")] = "resnet50",
    leave_out: Annotated[
        bool, typer.Option("--leave-out-unusable", help="Go on without images that cannot be decoded.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite an imported dataset of that name.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that decode [default: cores].")] = None,
    data_root: DataRoot = None,
) -> None:
    """Make a dataset of your own images and labels; every other command then takes its name.

    Splits are taken as given, or drawn by seed; a validation split is set aside from the training images before any
    statistics are taken. Images are decoded once, in parallel; a killed import goes on where it was.

    \b
    Examples:
        mltbench data import photos --images photos/images --labels photos/labels.csv
        mltbench data import pets --images . --labels pets.csv --delimiter ';' --long-tail max=300,min=2
        mltbench data import town --images . --labels train=train.json --labels test=test.json
        mltbench data import devkit --images VOC2012/JPEGImages --labels VOC2012/Annotations
    """
    from ...errors import InputError
    from ...terminal import progress_bars
    from ..images.workers import default_workers
    from ..importing.csv_labels import CsvOptions
    from ..importing.importer import ImportOptions, check_dataset_name, import_images
    from ..importing.reading import read_annotations
    from ..importing.splits import SplitOptions, parse_long_tail
    from ..registry import list_datasets, resolve_data_root

    check_dataset_name(name, [entry.name for entry in list_datasets()])
    if not images.is_dir():
        raise InputError(f"--images {str(images)!r} is no folder; give the folder that the image files lie below")
    columns = CsvOptions(
        delimiter=delimiter,
        separator=separator,
        image_column=image_column,
        labels_column=labels_column,
        split_column=split_column,
    )
    annotations = read_annotations(labels, columns, difficult=difficult)
    options = ImportOptions(
        name=name,
        images=images.resolve(),
        data_root=resolve_data_root(data_root),
        splits=SplitOptions(
            test_share=test_share,
            validation_share=validation_share,
            seed=seed,
            long_tail=parse_long_tail(long_tail) if long_tail else None,
        ),
        recipe=recipe,
        backbone=backbone,
        workers=workers or default_workers(),
        leave_out=leave_out,
        replace=replace,
        source=f"labels of {', '.join(Path(text).name for text in labels)}",
    )
    with progress_bars() as advance:
        made = import_images(annotations, options, on_progress=advance)
    _tell(made, data_root)


def _tell(made: Imported, data_root: Path | None) -> None:
    from rich.markup import escape

    from ...terminal import console
    from ..long_tail.statistics import GROUPS
    from ..prepared.dataset_folder import open_prepared

    out, manifest = console(), made.manifest
    statistics = open_prepared(made.folder, manifest).statistics
    for remark in made.remarks:
        out.print(escape(remark), soft_wrap=True)
    sizes = ", ".join(f"{name} {number:,}" for name, number in manifest.images.items())
    groups = ", ".join(f"{group} {int(statistics.group_mask(group).sum())}" for group in GROUPS)
    out.print(f"{manifest.name}: images {sizes}; {len(manifest.classes)} classes ({groups})", soft_wrap=True)
    out.print(f"kept in {escape(str(made.folder))}", soft_wrap=True)
    where = f" --data-root {shlex.quote(str(data_root))}" if data_root else ""
    out.print(
        f"Next: mltbench data show {manifest.name}{where}, then "
        f"mltbench run --dataset {manifest.name} --method erm{where}",
        soft_wrap=True,
        markup=False,
    )
