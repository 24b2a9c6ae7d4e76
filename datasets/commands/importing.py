"""`mltbench data import` and `mltbench data select`: what is made of your own labels."""

import random
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ...errors import InputError
from ...files import writing
from ...processes import usable_cores
from ...terminal import print_line, progress_bars
from ..importing.importer import ImportOptions, check_dataset_name, import_images, read_annotations
from ..importing.label_files import CsvOptions, read_label_file
from ..importing.splits import SplitOptions
from ..long_tail.selection import ids_digest, pareto_targets, select_head_to_tail
from ..long_tail.statistics import ClassStatistics
from ..prepared.dataset_folder import open_prepared
from ..registry import list_datasets
from .options import AtLeastOne, DataOptions, Flattened

# Whose labels `select` chooses from, where an .npz has several: all there are, rather than a chosen training split.
POOLS = ("", "trainval2012_", "train_")


def import_dataset(
    name: str,
    /,
    *,
    images: Path,
    labels: list[str],
    columns: Annotated[CsvOptions, Flattened] = CsvOptions(),
    splits: Annotated[SplitOptions, Flattened] = SplitOptions(),
    difficult: Annotated[bool, Parameter(negative="--no-difficult")] = True,
    recipe: str = "paper",
    backbone: str = "resnet50",
    leave_out: Annotated[bool, Parameter(name="--leave-out-unusable")] = False,
    replace: bool = False,
    workers: Annotated[int | None, AtLeastOne] = None,
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
        images: Folder that the image files are below.
        labels: A CSV, a folder of VOC XML, or COCO JSON; several of these as SPLIT=FILE, repeated.
        difficult: Whether VOC objects marked difficult count.
        recipe: Training recipe of the dataset; `run --recipe` takes another.
        backbone: Backbone; `run --backbone` takes another.
        leave_out: Continue without images that cannot be decoded.
        replace: Overwrite an imported dataset of that name.
        workers: Processes that decode [default: cores].
    """
    check_dataset_name(name, [entry.name for entry in list_datasets()])
    if not images.is_dir():
        raise InputError(f"--images {str(images)!r} is no folder; give the folder that the image files are below")
    annotations = read_annotations(labels, columns, difficult=difficult)
    source = f"labels of {', '.join(Path(text).name for text in labels)}"
    options = ImportOptions(
        name=name, images=images.resolve(), data_root=data.root, splits=splits, recipe=recipe, backbone=backbone,
        workers=workers or usable_cores(), leave_out=leave_out, replace=replace, source=source,
    )  # fmt: skip
    with progress_bars() as advance:
        manifest, remarks = import_images(annotations, options, on_progress=advance)
    statistics = open_prepared(options.folder, manifest).statistics
    for remark in remarks:
        print_line(remark)
    sizes = ", ".join(f"{split} {number:,}" for split, number in manifest.images.items())
    print_line(f"{name}: images {sizes}; {len(manifest.classes)} classes ({statistics.group_sizes})")
    print_line(f"kept in {options.folder}")
    run = f"mltbench run --dataset {name} --method erm{data.repeated}"
    print_line(f"Next: mltbench data show {name}{data.repeated}, then {run}")


def select(
    *,
    labels: Path,
    out: Path,
    largest: Annotated[int, Parameter(name="--max"), AtLeastOne] = 800,
    smallest: Annotated[int, Parameter(name="--min"), AtLeastOne] = 1,
    power: float = 6.0,
    seed: int = 0,
    separator: str = "|",
) -> None:
    """Select a long-tailed subset of anyone's labels by the paper's construction, as VOC-MLT was made.

    For example: `mltbench data select --labels trainval.npz --max 800 --out ids.txt`

    Args:
        labels: Label matrix: .npz with ids and labels, or CSV.
        out: The selected ids, one a line.
        largest: Wanted size of the largest class.
        smallest: Wanted size far out in the tail.
        power: Power of the Pareto density.
        seed: Seed of every draw.
        separator: Between the class names of one image, in a CSV.
    """
    found = read_label_file(labels, separator=separator, prefixes=POOLS)
    ClassStatistics.from_labels(found.labels, class_names=found.classes)
    targets = pareto_targets(len(found.classes), largest=largest, smallest=smallest, power=power)
    chosen = select_head_to_tail(found.labels, targets, random.Random(seed))
    ids = [found.ids[i] for i in chosen]
    statistics = ClassStatistics.from_labels(found.labels[chosen], class_names=found.classes)
    with writing(f"the ids to {out}", "give a writable file with --out"):
        out.write_text("".join(f"{name}\n" for name in ids), encoding="utf-8")
    print_line(f"{len(ids)} of {len(found.ids)} images, {found.labels[chosen].sum() / len(ids):.3f} labels per image")
    print_line(
        f"classes: {statistics.group_sizes}; largest {statistics.counts.max()}, smallest {statistics.counts.min()}"
    )
    print_line(f"SHA-256 of the sorted ids: {ids_digest(ids)}")
    print_line(f"ids: {out}")
