"""`mltbench data prepare` and `mltbench data verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from .published.preparing import Place, Progress

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

    from .images.workers import default_workers
    from .published.preparing import Place
    from .registry import resolve_data_root
    from .terminal import console, progress_bars

    standard = "train,test" if name == "coco-mlt" else "train,validation,test"
    place = Place(
        data_root=resolve_data_root(data_root),
        root=root,
        splits=tuple(part.strip() for part in (splits or standard).split(",")),
        workers=workers or default_workers(),
        list_file=list_file,
    )
    with progress_bars("") as advance:
        folder, remarks = _prepare(name, labels, place, advance)
    for remark in remarks:
        console().print(escape(remark), soft_wrap=True, highlight=False)
    console().print(f"{name}: kept in {escape(str(folder))}", soft_wrap=True, highlight=False)
    if name == "coco-mlt" and labels is None and "validation" not in place.splits:
        console().print(
            "Runs and studies score the validation split: mltbench data prepare coco-mlt --splits validation"
        )
    console().print(f"Next: mltbench data show {name}")


def _prepare(name: str, labels: Path | None, place: Place, on_progress: Progress) -> tuple[Path, list[str]]:
    from .errors import InputError, unknown_name
    from .published.coco import prepare_coco
    from .published.preparing import prepare_labels
    from .published.voc import prepare_voc
    from .sources.coco_mlt import COCO_MLT
    from .sources.voc_mlt import VOC_MLT

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


def verify_dataset(
    name: Annotated[str, typer.Argument(help="An imported or prepared dataset.")], data_root: DataRoot = None
) -> None:
    """Hash every decoded image of a dataset, and check its labels; starts of runs check sizes and times alone.

    \b
    Example:
        mltbench data verify photos
    """
    from .errors import InputError
    from .images.cache import find_cache, verify_cache
    from .prepared import read_manifest, read_split_labels
    from .registry import resolve_data_root

    folder = resolve_data_root(data_root) / name
    manifest = read_manifest(folder) if Path(name).name == name else None
    if manifest is None:
        raise InputError(f"no dataset {name!r} under {folder.parent}; `mltbench data list` shows what there is")
    for split in manifest.digests:
        read_split_labels(folder, manifest, split)
        cache = find_cache(folder / f"{split}.npy")
        if cache is None:
            typer.echo(f"{split}: labels are as recorded; no images")
            continue
        verify_cache(cache)
        typer.echo(f"{split}: {manifest.images[split]:,} images and labels are as recorded")


def bench_decode(
    images: Annotated[Path, typer.Argument(help="Folder of image files.")],
    size: Annotated[int, typer.Option(min=1, help="Side of the decoded images.")] = 280,
    workers: Annotated[str, typer.Option(help="Numbers of processes to try.")] = "1,2",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure decoding of a folder's images into a cache, beside Pillow in a plain loop.

    \b
    Example:
        mltbench data bench-decode photos/images
    """
    import json
    from dataclasses import asdict

    from rich.table import Table

    from .decode_benchmark import measure_decoding
    from .errors import InputError
    from .terminal import console

    files = sorted(path for path in images.glob("*") if path.is_file())
    numbers = [int(part) for part in workers.split(",") if part.strip().isdecimal() and int(part)]
    if not files or not numbers:
        raise InputError(f"need image files in {images} ({len(files)} found) and numbers of processes, such as 1,2")
    with console().status(f"decoding {len(files)} images"):
        rates = measure_decoding(files, size, numbers, Path.cwd())
    if as_json:
        typer.echo(json.dumps([asdict(rate) for rate in rates], indent=1))
        return
    table = Table(title=f"{len(files)} images to {size} x {size}", title_justify="left")
    for column in ("way", "images/s", "against Pillow's loop", "cache, MiB"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for rate in rates:
        ratio = rate.images_per_second / rates[0].images_per_second
        mib = f"{rate.cache_mib:,.0f}" if rate.cache_mib else "none"
        table.add_row(rate.what, f"{rate.images_per_second:,.0f}", f"{ratio:.2f}", mib)
    console().print(table)
