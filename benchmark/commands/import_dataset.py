"""`mltbench data import`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ...datasets.commands.options import AtLeastOne, DataOptions, Flattened
from ...datasets.importing.importer import ImportOptions, check_dataset_name, import_images
from ...datasets.importing.label_files import read_labels, split_and_path
from ...datasets.importing.label_options import LabelOptions
from ...datasets.importing.splits import SplitOptions
from ...datasets.prepared.dataset_folder import open_prepared
from ...datasets.registry import get_dataset_entry, list_datasets
from ...errors import InputError
from ...processes import usable_cores
from ...terminal import console, print_line, progress_bars
from ..executors.settings import RunSettings
from ..experiments.plan import build_plan
from ..experiments.recipe import get_recipe
from ..networks.initial_weights import BackboneChoice, remembered
from ..runs.folder import resolve_results_root
from ..speed.estimate import Estimate, estimate
from ..training.devices import resolve_device
from ..training.execution import Execution

# What a first run should take at most, and what it is shortened by until it does; each adds to those before it.
SECONDS = 600.0
SHORTER: tuple[dict[str, str], ...] = (
    {},
    {"recipe": "photos-short", "backbone": "mobilenet_v2"},
    {"override": "recipe.resampled.epochs=1"},
)


def import_dataset(
    name: str,
    /,
    *,
    labels: list[str],
    images: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    reading: LabelOptions = LabelOptions(),
    splits: Annotated[SplitOptions, Flattened] = SplitOptions(),
    recipe: str = "paper",
    backbone: str = "resnet50",
    weights: str | None = None,
    weights_input: str | None = None,
    weights_padding: str | None = None,
    leave_out: Annotated[bool, Parameter(name="--leave-out-unusable")] = False,
    replace: bool = False,
    workers: Annotated[int | None, AtLeastOne] = None,
    data: DataOptions = DataOptions(),
) -> None:
    """Make a dataset of your own images and labels; every other command then takes its name.

    Splits are taken as given, or drawn by seed; no class gives more than its share to a drawn one. With --long-tail the
    validation split is drawn from what the cut leaves over. Images are decoded once, in parallel.

    For example:

        mltbench data import photos --images photos/images --labels photos/labels.csv
        mltbench data import birds --images . --labels birds.csv --backbone mobilenet_v2 --weights mobilenet_v2.pt
        mltbench data import pets --images . --labels pets.csv --delimiter ';' --long-tail max=300,min=2
        mltbench data import town --images . --labels train=train.json --labels test=test.json
        mltbench data import devkit --images VOC2012/JPEGImages --labels VOC2012/Annotations

    Args:
        name: What commands will call it.
        labels: A table (CSV, JSON Lines, Parquet), COCO JSON, a folder of VOC XML, a Hugging Face dataset on disk;
            several as SPLIT=FILE, repeated.
        images: Folder that the image files are below; for one of each split, SPLIT=FOLDER, repeated.
        recipe: Training recipe that the dataset's runs take by default.
        backbone: Network below the head that they take by default, such as resnet50 or mobilenet_v2.
        weights: Weights that it starts from by default: a file, or `random`; the file stays where it is [default:
            torchvision's IMAGENET1K_V1, downloaded once].
        weights_input: Input that the weights expect: imagenet (mean and deviation), -1..1 or 0..1 [default: theirs].
        weights_padding: Padding of layers with a stride: symmetric, or same as in TensorFlow [default: the weights'].
        leave_out: Continue without images that cannot be decoded.
        replace: Overwrite an imported dataset of that name.
        workers: Processes that decode [default: cores].
    """
    check_dataset_name(name, [entry.name for entry in list_datasets()])
    folders = _folders(images)
    get_recipe(recipe)
    choice = BackboneChoice(backbone=backbone, weights=weights, input=weights_input, padding=weights_padding)
    starting = remembered(choice)
    annotations = read_labels(labels, reading)
    if bool(folders) == bool(annotations.save_images):
        has = (
            "hold their pictures themselves: leave --images out"
            if folders
            else "hold no pictures: give --images FOLDER"
        )
        raise InputError(f"the labels {', '.join(labels)} {has}")
    source = f"labels of {', '.join(Path(text).name for text in labels)}"
    options = ImportOptions(
        name=name, images=folders, data_root=data.root, splits=splits, recipe=recipe, backbone=backbone,
        weights=starting, workers=workers or usable_cores(), leave_out=leave_out, replace=replace, source=source,
    )  # fmt: skip
    with progress_bars() as advance:
        manifest, remarks = import_images(annotations, options, on_progress=advance)
    statistics = open_prepared(options.folder, manifest).statistics
    for remark in remarks:
        print_line(remark)
    sizes = ", ".join(f"{split} {number:,}" for split, number in manifest.images.items())
    print_line(f"{name}: images {sizes}; {len(manifest.classes)} classes ({statistics.group_sizes})")
    print_line(f"kept in {options.folder}")
    own = f"{backbone}{f' from {weights}' if weights else ''}"
    print_line(f"its runs take recipe {recipe} and {own}, unless they name others")
    print_line(f"Next: mltbench data show {name}{data.repeated}")
    with console().status("timing a few steps"):
        command, expected = next_run(name, data.root)
    print_line(f"      {command}{data.repeated}")
    if expected:
        print_line(f"The run takes {expected}.")


def _folders(images: Sequence[str]) -> dict[str | None, Path]:
    """The folders of `FOLDER` or of several `SPLIT=FOLDER`; raises `InputError` if one is no folder, or for nothing."""
    folders: dict[str | None, Path] = {}
    for text in images:
        split, folder = split_and_path(text)
        if not folder.is_dir():
            raise InputError(f"--images {str(folder)!r} is no folder; give the folder that the image files are below")
        if split in folders or (folders and None in (split, *folders)):
            cure = (
                "give the folder that all are below, or one for each split: --images train=FOLDER --images test=FOLDER"
            )
            raise InputError(f"--images is given {len(images)} times, {', '.join(images)}; {cure}")
        folders[split] = folder
    return folders


def next_run(name: str, data_root: Path) -> tuple[str, Estimate | None]:
    """The first run that a new dataset suggests: its own defaults, or what ends in minutes on this machine."""
    entry, device = get_dataset_entry(name, data_root=data_root), resolve_device("auto")
    dataset, own = entry.open(data_root), {"recipe": entry.recipe, "backbone": entry.backbone}
    settings = RunSettings(data_root=data_root, execution=Execution(device=device))
    options, command, expected = dict[str, str](), "", None
    for more in SHORTER:
        options |= {key: value for key, value in more.items() if own.get(key) != value}
        choice: dict[str, Any] = {"recipe": options.get("recipe")}
        choice["backbone"] = BackboneChoice(backbone=options.get("backbone"))
        choice["overrides"] = [options["override"]] if "override" in options else []
        plan = build_plan(dataset, ["db"], seeds=[0], device_type=device.partition(":")[0], **choice)
        words = [f"mltbench run --dataset {name} --method db", *(f"--{key} {value}" for key, value in options.items())]
        command = " ".join(words)
        # On a GPU compiling the first steps takes longer than they are worth.
        runs = resolve_results_root(None) / "runs"
        expected = estimate(plan, plan.experiments, runs, settings, timing=device == "cpu")
        if expected is None or expected.seconds <= SECONDS:
            break
    return command, expected
