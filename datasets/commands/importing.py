"""`mltbench data import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from ...errors import InputError
from ...processes import usable_cores
from ...terminal import print_line, progress_bars
from ..importing.importer import ImportOptions, check_dataset_name, import_images, read_annotations
from ..importing.label_files import CsvOptions
from ..importing.splits import SplitOptions, parse_long_tail
from ..long_tail.statistics import GROUPS
from ..prepared.dataset_folder import open_prepared
from ..registry import list_datasets
from .options import DataOptions


def import_dataset(
    name: str,
    /,
    *,
    images: Path,
    labels: list[str],
    delimiter: str = ",",
    separator: str = "|",
    image_column: str = "image",
    labels_column: str = "labels",
    split_column: str = "split",
    test_share: float = 0.3,
    validation_share: float = 0.15,
    seed: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    long_tail: str | None = None,
    difficult: Annotated[bool, Parameter(negative="--no-difficult")] = True,
    recipe: str = "paper",
    backbone: str = "resnet50",
    leave_out: Annotated[bool, Parameter(name="--leave-out-unusable")] = False,
    replace: bool = False,
    workers: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    data: DataOptions = DataOptions(),
) -> None:
    """Make a dataset of your own images and labels; every other command then takes its name.

    Splits are taken as given, or drawn by seed; a validation split is set aside from the training images before any
    statistics are taken. Images are decoded once, in parallel.

    For example:

        mltbench data import photos --images photos/images --labels photos/labels.csv
        mltbench data import pets --images . --labels pets.csv --delimiter ';' --long-tail max=300,min=2
        mltbench data import town --images . --labels train=train.json --labels test=test.json
        mltbench data import devkit --images VOC2012/JPEGImages --labels VOC2012/Annotations

    Args:
        name: What commands will call it.
        images: Folder that the image files lie below.
        labels: A CSV, a folder of VOC XML, or COCO JSON; several of these as SPLIT=FILE, repeated.
        delimiter: Between the cells of a CSV.
        separator: Between the class names of one cell of a CSV.
        image_column: CSV column of the image files.
        labels_column: CSV column of the class names; without it each further column is a class of 0/1.
        split_column: CSV column of the splits, if there is one.
        test_share: Share of test images where no test split is given.
        validation_share: Share of the training images set aside where no validation split is given.
        seed: Seed of every draw.
        long_tail: Cut the training set by the paper's construction: max=800,min=1[,power=6].
        difficult: Whether VOC objects marked difficult count.
        recipe: Training recipe of the dataset; `run --recipe` takes another.
        backbone: Backbone; `run --backbone` takes another.
        leave_out: Continue without images that cannot be decoded.
        replace: Overwrite an imported dataset of that name.
        workers: Processes that decode [default: cores].
    """
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
        data_root=data.root,
        splits=SplitOptions(
            test_share=test_share,
            validation_share=validation_share,
            seed=seed,
            long_tail=parse_long_tail(long_tail) if long_tail else None,
        ),
        recipe=recipe,
        backbone=backbone,
        workers=workers or usable_cores(),
        leave_out=leave_out,
        replace=replace,
        source=f"labels of {', '.join(Path(text).name for text in labels)}",
    )
    with progress_bars() as advance:
        manifest, remarks = import_images(annotations, options, on_progress=advance)
    statistics = open_prepared(options.folder, manifest).statistics
    for remark in remarks:
        print_line(remark)
    sizes = ", ".join(f"{name} {number:,}" for name, number in manifest.images.items())
    groups = ", ".join(f"{group} {int(statistics.group_mask(group).sum())}" for group in GROUPS)
    print_line(f"{manifest.name}: images {sizes}; {len(manifest.classes)} classes ({groups})")
    print_line(f"kept in {options.folder}")
    print_line(
        f"Next: mltbench data show {manifest.name}{data.repeated}, then "
        f"mltbench run --dataset {manifest.name} --method erm{data.repeated}"
    )
