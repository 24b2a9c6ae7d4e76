"""`mltbench data prepare` and `mltbench data verify`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ...errors import InputError, require_known
from ...processes import usable_cores
from ...terminal import print_line, progress_bars
from ..images.cache import find_cache, verify_cache
from ..published.coco_mlt import COCO_MLT, prepare_coco
from ..published.published_set import Place, prepare_labels
from ..published.voc_mlt import VOC_MLT, prepare_voc
from ..registry import load_dataset
from .options import AtLeastOne, DataOptions


def prepare_dataset(
    name: str,
    /,
    *,
    root: Path | None = None,
    labels: Path | None = None,
    list_file: Annotated[Path | None, Parameter(name="--list")] = None,
    splits: str | None = None,
    workers: Annotated[int | None, AtLeastOne] = None,
    data: DataOptions = DataOptions(),
) -> None:
    """Build VOC-MLT or COCO-MLT: download or find its files, check them, choose its images, decode them once.

    Downloads resume where they were cut off; they are kept in the data root's folder `downloads`.

    For example:

        mltbench data prepare voc-mlt
        mltbench data prepare voc-mlt --root ~/data
        mltbench data prepare coco-mlt --splits train,validation,test
        mltbench data prepare voc-mlt --labels voc_mlt.npz

    Args:
        name: voc-mlt, voc-mlt-nodifficult or coco-mlt.
        root: Folder with the official files (VOCdevkit; or annotations, train2017, val2017).
        labels: Labels alone (.npz): statistics and plans need no images.
        list_file: The published list of images [default: downloaded].
        splits: Whose images: train,validation,test [default: all; for coco-mlt train,test].
        workers: Processes that decode [default: cores].
    """
    if labels is not None and (root or list_file or splits):
        raise InputError("--labels takes labels alone: leave out --root, --list and --splits, or leave out --labels")
    standard = "train,test" if name == "coco-mlt" else "train,validation,test"
    chosen = tuple(part.strip() for part in (splits or standard).split(","))
    sets = {"voc-mlt": VOC_MLT, "voc-mlt-nodifficult": VOC_MLT, "coco-mlt": COCO_MLT}
    require_known("dataset to prepare", name, sets)
    if labels is not None and name == "voc-mlt-nodifficult":
        raise InputError(f"{name} needs the annotations: label files do not say which objects are difficult")
    with progress_bars() as advance:
        place = Place(
            data_root=data.root, root=root, splits=chosen, workers=workers or usable_cores(), list_file=list_file,
            on_progress=advance,
        )  # fmt: skip
        if labels is not None:
            folder, remarks = prepare_labels(sets[name], labels, place)
        elif name == "coco-mlt":
            folder, remarks = prepare_coco(COCO_MLT, place)
        else:
            folder, remarks = prepare_voc(VOC_MLT, place, difficult=name == "voc-mlt")
    for remark in remarks:
        print_line(remark)
    print_line(f"{name}: kept in {folder}")
    if name == "coco-mlt" and labels is None and "validation" not in chosen:
        print_line("Runs and studies score the validation split: mltbench data prepare coco-mlt --splits validation")
    print_line(f"Next: mltbench data show {name}{data.repeated}")


def verify_dataset(name: str, /, *, data: DataOptions = DataOptions()) -> None:
    """Hash every decoded image of a dataset, and check its labels; starts of runs check sizes and times alone.

    For example: `mltbench data verify photos`

    Args:
        name: A dataset.
    """
    dataset = load_dataset(name, data_root=data.root)
    for split in dataset.digests:
        labels = dataset.labels(split)
        # Of a dataset without such a file, `labels` has hashed the images, too.
        cache, apart = find_cache(data.root / name / f"{split}.npy"), split in dataset.label_openers
        if apart and cache is None:
            print_line(f"{split}: {len(labels):,} rows of labels are as recorded; its images are not here")
            continue
        if cache is not None:
            verify_cache(cache)
            dataset.split(split)
        print_line(f"{split}: {len(labels):,} images and labels are as recorded")
