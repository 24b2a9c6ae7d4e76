"""`mltbench data prepare` and `mltbench data verify`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..prepared.split_images import Progress
    from ..published.preparing import Place

DataRoot = Annotated[
    Path | None, typer.Option(help="Where datasets are kept [default: MLTBENCH_DATA, else the user's cache folder].")
]


def prepare_dataset(
    name: Annotated[str, typer.Argument(help="voc-mlt, voc-mlt-nodifficult or coco-mlt.")],
    root: Annotated[
        Path | None,
        typer.Option(help="Folder with the official files (VOCdevkit; or annotations, train2017, val2017)."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Labels alone (.npz): statistics and plans need no images.")
    ] = None,
    list_file: Annotated[
        Path | None, typer.Option("--list", help="The published list of images [default: downloaded].")
    ] = None,
    splits: Annotated[
        str | None,
        typer.Option(help="Whose images: train,validation,test [default: all; for coco-mlt train,test]."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that decode [default: cores].")] = None,
    data_root: DataRoot = None,
) -> None:
    """Build VOC-MLT or COCO-MLT: download or find its files, check them, choose its images, decode them once.

    A killed or interrupted preparation goes on where it was. Downloads are kept in the data root's folder `downloads`.

    \b
    Examples:
        mltbench data prepare voc-mlt
        mltbench data prepare voc-mlt --root ~/data
        mltbench data prepare coco-mlt --splits train,validation,test
        mltbench data prepare voc-mlt --labels voc_mlt.npz
    """
    from rich.markup import escape

    from ...errors import InputError
    from ...terminal import console, progress_bars
    from ..images.workers import default_workers
    from ..published.preparing import Place
    from ..registry import resolve_data_root

    if labels is not None and (root or list_file or splits):
        raise InputError("--labels takes labels alone: leave out --root, --list and --splits, or leave out --labels")
    standard = "train,test" if name == "coco-mlt" else "train,validation,test"
    place = Place(
        data_root=resolve_data_root(data_root),
        root=root,
        splits=tuple(part.strip() for part in (splits or standard).split(",")),
        workers=workers or default_workers(),
        list_file=list_file,
    )
    with progress_bars() as advance:
        folder, remarks = _prepare(name, labels, place, advance)
    for remark in remarks:
        console().print(escape(remark), soft_wrap=True, highlight=False)
    console().print(f"{name}: kept in {escape(str(folder))}", soft_wrap=True, highlight=False)
    if name == "coco-mlt" and labels is None and "validation" not in place.splits:
        console().print(
            "Runs and studies score the validation split: mltbench data prepare coco-mlt --splits validation"
        )
    where = f" --data-root {shlex.quote(str(data_root))}" if data_root else ""
    console().print(f"Next: mltbench data show {name}{where}", soft_wrap=True, markup=False)


def _prepare(name: str, labels: Path | None, place: Place, on_progress: Progress) -> tuple[Path, list[str]]:
    from ...errors import InputError, unknown_name
    from ..published.coco import prepare_coco
    from ..published.preparing import prepare_labels
    from ..published.voc import prepare_voc
    from ..sources.coco_mlt import COCO_MLT
    from ..sources.voc_mlt import VOC_MLT

    sets = {"voc-mlt": VOC_MLT, "voc-mlt-nodifficult": VOC_MLT, "coco-mlt": COCO_MLT}
    if name not in sets:
        raise unknown_name("dataset to prepare", name, sets)
    if labels is not None:
        if name == "voc-mlt-nodifficult":
            raise InputError(f"{name} needs the annotations: label files do not say which objects are difficult")
        return prepare_labels(sets[name], labels, place)
    if name == "coco-mlt":
        return prepare_coco(COCO_MLT, place, on_progress=on_progress)
    return prepare_voc(VOC_MLT, place, difficult=name == "voc-mlt", on_progress=on_progress)


def verify_dataset(name: Annotated[str, typer.Argument(help="A dataset.")], data_root: DataRoot = None) -> None:
    """Hash every decoded image of a dataset, and check its labels; starts of runs check sizes and times alone.

    \b
    Example:
        mltbench data verify photos
    """
    from ..images.cache import find_cache, verify_cache
    from ..registry import load_dataset, resolve_data_root

    root = resolve_data_root(data_root)
    dataset = load_dataset(name, data_root=root)
    for split in dataset.digests:
        labels = dataset.labels(split)
        # Of a dataset without such a file, `labels` has hashed the images, too.
        cache, apart = find_cache(root / name / f"{split}.npy"), split in dataset.label_openers
        if apart and cache is None:
            typer.echo(f"{split}: {len(labels):,} rows of labels are as recorded; its images are not here")
            continue
        if cache is not None:
            verify_cache(cache)
            dataset.split(split)
        typer.echo(f"{split}: {len(labels):,} images and labels are as recorded")
