"""`mltbench bench`: the suite's own speed. A bench writes the JSON that its table is drawn from."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from ...datasets.commands.options import AtLeastOne, DataOptions
from ...datasets.dataset import Dataset
from ...datasets.registry import load_dataset
from ...errors import InputError
from ...processes import usable_cores
from ...terminal import console, print_line, table_of
from ..experiments.plan import Plan, build_plan
from ..networks.initial_weights import find_weights
from ..runs.provenance import code_version, machine
from ..speed import importing as imports
from ..speed import metrics as average_precision
from ..speed import rehearsal as gpu
from ..speed import scale as sizes
from ..speed.breakdown import break_down
from ..speed.harness import Place, Training, Variant, with_threads
from ..speed.loop import compare_loops
from .options import DeviceOptions, SettingOptions, ThreadOptions


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class JsonOptions:
    """Where the numbers go besides the terminal."""

    json: Path | None = None
    """Also write this JSON file."""

    def check(self) -> None:
        """Raise InputError, before anything is measured, if the file has no folder."""
        if self.json and not self.json.resolve().parent.is_dir():
            cure = "make it, or choose another file"
            raise InputError(f"--json {self.json}: there is no folder {self.json.parent}; {cure}")

    def write(self, device: str, threads: int, content: Mapping[str, Any]) -> None:
        """Print on which machine something was measured; write it with the measurements, where asked."""
        here = self.keep(device, threads, content)
        print_line(
            f"machine: {here['system']}, {here['device_name']}, device {device}, {threads} core{'s'[: threads != 1]} "
            f"used, Python {here['python']}, torch {here['torch']}"
        )

    def keep(self, device: str, threads: int, content: Mapping[str, Any]) -> Mapping[str, str]:
        """Write measurements, where asked; return the machine that they were made on."""
        here = {**machine(device, threads), **code_version()}
        if self.json:
            self.json.write_text(json.dumps({"machine": here, **content}, indent=1))
        return here


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrainedOptions(SettingOptions, DataOptions):
    """What is trained while it is measured."""

    dataset: str = "digits-mlt"
    """The dataset to train on."""

    def open(self, method: str, device: DeviceOptions) -> tuple[Dataset, Plan, Path | None]:
        """The dataset, a plan of one experiment on it, and the file of its initial weights."""
        opened = load_dataset(self.dataset, data_root=self.root)
        choice: dict[str, Any] = {"recipe": self.recipe, "backbone": self.backbone_choice, "overrides": self.override}
        choice["values"] = self.values
        plan = build_plan(opened, [method], seeds=[0], device_type=device.kind, **choice)
        planned, experiment = plan.experiments[0], plan.experiments[0].experiment
        file = planned.weights.file
        return opened, plan, find_weights(experiment.backbone, experiment.weights_digest, file, self.root)


def loop(
    *,
    method: str = "erm",
    trained: TrainedOptions = TrainedOptions(),
    seconds: Annotated[float, Parameter(validator=Number(gte=0.1))] = 6.0,
    rounds: Annotated[int, AtLeastOne] = 5,
    device: DeviceOptions = DeviceOptions(),
    to: JsonOptions = JsonOptions(),
) -> None:
    """Compare our training with the loop that people write: same network, batch, images and augmentation.

    The plain loop decodes PNG files (JPEG files of photographs) with PIL, transforms image by image with torchvision,
    and reads the loss each step; it is measured with 0, 1, 2, 4 ... loader workers. Ours is measured with one method,
    and with all methods of the paper that see the same images, in lock step, as `mltbench run` trains them: an image
    counts once for each. The ratio is to the fastest plain loop that runs alone; it holds where the speeds themselves
    move with the load.

    For example:

        mltbench bench loop --seconds 6 --json loop.json
        mltbench bench loop --dataset photos --backbone mobilenet_v2 --weights mobilenet_v2_imagenet.pt --seconds 60

    Args:
        method: The method to train.
        seconds: Time measured per variant.
        rounds: Measurements of each variant, in turns; the median counts.
    """
    to.check()
    chosen, cores, (_, plan, weights) = device.chosen, usable_cores(), trained.open(method, device)
    experiment, place = plan.experiments[0].experiment, Place(device=chosen, weights=weights)
    with console().status("measuring all variants in turns"):
        found = compare_loops(experiment, place, data_root=trained.root, cores=cores, seconds=seconds, rounds=rounds)
    best = next(variant["name"] for variant in found if variant["is_best_plain"])
    columns = {
        "variant": "{name}",
        "images/s": "{images_per_second:,.0f}",
        "lowest to highest": "{lowest:,.0f} to {highest:,.0f}",
        "ratio": "{ratio_to_best_plain:.2f}",
    }
    size, batch, precision = (experiment.training[name] for name in ("image_size", "batch_size", "precision"))
    title = f"{method} on {trained.dataset}: batch {batch}, {size} x {size}, {precision}"
    _print_table(title, columns, found, f"ratio to: {best}; median of rounds")
    to.write(chosen, cores, {"experiment": json.loads(experiment.to_json()), "variants": found})


def breakdown(
    *,
    method: str = "db-focal",
    trained: TrainedOptions = TrainedOptions(),
    steps: Annotated[int, AtLeastOne] = 60,
    device: ThreadOptions = ThreadOptions(),
    to: JsonOptions = JsonOptions(),
) -> None:
    """Show where the time of a training goes, as shares of the step.

    Metrics (validation and test split once) and tracking (journal and upload to MLflow) are those of a whole run,
    spread over its steps.

    For example:

        mltbench bench breakdown --method db-focal --json breakdown.json
        mltbench bench breakdown --dataset photos --backbone mobilenet_v2 --weights random --steps 5

    Args:
        method: The method to train.
        steps: Steps measured, after as many as warm up.
    """
    to.check()
    dataset, plan, weights = trained.open(method, device)
    experiment, place = plan.experiments[0].experiment, Place(device=device.chosen, weights=weights)
    with console().status("taking steps"), with_threads(device.threads):
        training = Training(experiment, dataset, Variant(name="", threads=device.threads), place)
        found = break_down(plan, training.feed, training.learners[0], steps=steps)
    parts, batch = found["milliseconds"], found["batch"]
    total = sum(parts.values())
    rows = [{"part": part, "ms": spent, "share": f"{100 * spent / total:.1f} %"} for part, spent in parts.items()]
    rows.append({"part": "whole", "ms": total, "share": f"{1000 * batch / total:,.0f} images/s"})
    title = f"{method} on {trained.dataset}, {experiment.backbone}: one step of {batch} images"
    columns = {"part": "{part}", "ms": "{ms:.3f}", "share": "{share}"}
    _print_table(f"{title} ({found['steps']:,} in a run)", columns, rows)
    to.write(device.chosen, device.threads, {"experiment": json.loads(experiment.to_json()), **found})


def metrics(*, small: bool = False, to: JsonOptions = JsonOptions()) -> None:
    """Compare average precision with scikit-learn and torchmetrics: same values, and how long each takes.

    Random scores with ties; 5,000 images of 80 classes (median of five rounds) and 50,000 of 1,000 (one round);
    one thread each.

    For example: `mltbench bench metrics --json metrics.json`

    Args:
        small: Only 5,000 images of 80 classes.
    """
    to.check()
    # One thread, as in a run of one per core; scikit-learn uses one in any case.
    with console().status("scoring"), with_threads(1):
        chosen = average_precision.SIZES[: 1 if small else None]
        found = [time for size in chosen for time in average_precision.compare_scorers(*size)]
    columns = {
        "images x classes, library": "{images:,} x {classes:,}, {name}",
        "seconds": "{seconds:.3f}",
        "times as fast": "{ratio:.2f}",
        "largest difference": "{difference:.1e}",
    }
    _print_table("average precision per class, compared with scikit-learn", columns, found)
    to.write("cpu", 1, {"scorers": found})


def scale(
    *, largest: Annotated[int, Parameter(validator=Number(gte=10_000))] = 1_000_000, to: JsonOptions = JsonOptions()
) -> None:
    """Measure time and peak memory as datasets grow: images of 32 x 32 in memory-mapped files, and sparse labels.

    Each size is measured in a fresh process, which does with a split all that a training does, in the same code, but
    for the network. The last columns are the exponents of growth: 1 is linear, 0 flat.

    For example: `mltbench bench scale --json scale.json`

    Args:
        largest: Most images.
    """
    to.check()
    many, few = sizes.IMAGES_OF_MANY_CLASSES, sizes.FEW_CLASSES
    with console().status("measuring") as status:
        found: dict[str, list[dict[str, Any]]] = {"by_images": [], "by_classes": []}
        for images in (number for number in sizes.IMAGES if number <= largest):
            status.update(f"{images:,} images")
            found["by_images"].append(sizes.measure_size(images, few, sparse=False))
        for classes in sizes.CLASSES:
            status.update(f"{classes:,} classes")
            found["by_classes"].append(sizes.measure_size(many, classes, sparse=True))
    _print_sizes(f"images of {few} classes", found["by_images"], "images")
    _print_sizes(f"classes of {many:,} images, sparse labels", found["by_classes"], "classes")
    to.write("cpu", 1, found)


def importing(
    *, largest: Annotated[int, Parameter(validator=Number(gte=1_000))] = 112_120, to: JsonOptions = JsonOptions()
) -> None:
    """Measure time and peak memory as an import grows: small JPEGs in folders, labels and groups in a CSV.

    Each size is measured in a fresh process. Caches are of 32 x 32 here, so that the disk of a laptop holds them.

    For example: `mltbench bench import --json import.json`

    Args:
        largest: Most images; a tenth of them are measured, too.
    """
    to.check()
    with console().status("measuring") as status:
        found = []
        for images in (largest // 10, largest):
            status.update(f"{images:,} images")
            found.append(imports.measure_import(images))
    _print_sizes(f"image files with labels of {imports.CLASSES} classes", found, "images")
    print_line("on the disk: " + ", ".join(f"{each['disk_bytes'] / 1e6:,.0f} MB" for each in found))
    to.write("cpu", usable_cores(), {"by_images": found})


def rehearsal(
    *,
    miniature: bool = False,
    minutes: Annotated[float, Parameter(validator=Number(gte=0.1))] = 9.0,
    device: DeviceOptions = DeviceOptions(),
    to: JsonOptions = JsonOptions(),
) -> None:
    """Measure how fast a GPU trains DB-Focal, alone and in a cohort, and what both tables on both datasets would take.

    Synthetic images and labels with the shapes of VOC-MLT and COCO-MLT, ResNet-50 with random weights at 224 pixels,
    bfloat16 on CUDA. Needs no network and no data. Each variant runs in processes of its own; one that fails is
    reported with its reason. A miniature shows that the code runs; its numbers say nothing of the paper.

    For example:

        mltbench bench rehearsal --device cuda --json rehearsal.json
        mltbench bench rehearsal --miniature --device cpu

    Args:
        miniature: The same code with ResNet-18 at 32 pixels, in a minute.
        minutes: Time after which nothing runs any more.
    """
    to.check()
    chosen, cores = device.chosen, usable_cores()
    setting = gpu.small_setting(chosen) if miniature else gpu.full_setting(chosen, cores)
    found: dict[str, Any] = {}
    with console().status("measuring") as status:
        for found in gpu.rehearse(setting, minutes=minutes):
            # What is measured is there, whatever ends the rest.
            to.keep(chosen, cores, {"miniature": miniature, **found})
            for variant in found["variants"][-1:]:
                speeds = [f"{name} {speed['images_per_second']:,.0f}" for name, speed in variant["shapes"].items()]
                print_line(f"{variant['name']}: {', '.join(speeds) + ' images/s' if speeds else variant['reason']}")
            status.update(f"measuring; variants done: {len(found['variants'])} of {len(gpu.VARIANTS)}")
    names, peak = [shape.name for shape in setting.shapes], found["peak_flop_per_second"]
    shapes = [shape for variant in found["variants"] for shape in variant["shapes"].values()]
    flop = next((f"{s['flop_per_image'] / 1e9:,.3g} GFLOP per image" for s in shapes if s["flop_per_image"]), "-")
    title = (
        f"{'miniature of the rehearsal' if miniature else 'rehearsal'}: db-focal, {setting.backbone} at "
        f"{setting.image_size} pixels, batch {setting.batch_size}; {flop}; matrix product {peak / 1e12:,.3g} TFLOP/s"
    )
    caption = "paper: 28 runs with their evaluation at these speeds, without start and compilation"
    caption += "; of a miniature it says nothing" if miniature else ""
    columns = {f"{name}, images/s": f"{{{name}}}" for name in names}
    more = {"of peak": "{peak}", "MiB": "{memory}", "busy": "{busy}", "start, s": "{start}", "paper, min": "{paper}"}
    rows = [_rehearsed(variant, names) for variant in found["variants"]]
    _print_table(title, {"variant": "{name}", **columns, **more}, rows, caption)
    for variant in found["variants"]:
        if variant["reason"]:
            print_line(f"{variant['name']}: {variant['reason']}")
        elif not all(speed["finite"] for speed in variant["shapes"].values()):
            print_line(f"{variant['name']}: some losses were not finite")
    to.write(chosen, cores, {"miniature": miniature, **found})


def _rehearsed(variant: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """A row: speeds by shape, then the worst of the shapes; `-` where nothing was measured."""
    speeds, paper = variant["shapes"], variant["paper_seconds"]

    def worst(choose: Callable[[list[float]], float], name: str, form: str) -> str:
        values = [speed[name] for speed in speeds.values() if speed.get(name) is not None]
        return form.format(choose(values)) if values else "-"

    return {
        "name": variant["name"],
        **{name: f"{speeds[name]['images_per_second']:,.0f}" if name in speeds else "-" for name in names},
        "peak": worst(min, "share_of_peak", "{:.1%}").replace("%", " %"),
        "memory": worst(max, "peak_mib", "{:,.0f}"),
        "busy": worst(min, "utilisation", "{:.0f} %"),
        "start": worst(max, "setup_seconds", "{:.1f}"),
        "paper": f"{paper / 60:,.1f}" if paper is not None else "-",
    }


def _print_sizes(title: str, found: Sequence[Mapping[str, Any]], axis: str) -> None:
    numbers, works = [size[axis] for size in found], list(found[0]["seconds"])
    values = {f"{work}, s": [size["seconds"][work] for size in found] for work in works}
    if len(works) > 1:
        values["all, s"] = [sum(size["seconds"].values()) for size in found]
    # Less than a MiB is noise.
    values["peak MiB"] = [max(*size["peak_mib"].values(), 1) for size in found]
    columns = {axis: "{name}", **{f"{number:,}": f"{{size{number}}}" for number in numbers}}
    columns |= {"exponent": "{exponent:.2f}", f"from {numbers[-3:][0]:,}": "{late:.2f}"}
    rows = []
    for name, each in values.items():
        form = "{:.3f}" if name.endswith(" s") else "{:.0f}"
        shown = {f"size{number}": form.format(value) for number, value in zip(numbers, each, strict=True)}
        exponents = {"exponent": sizes.growth(numbers, each), "late": sizes.growth(numbers[-3:], each[-3:])}
        rows.append({"name": name, **shown, **exponents})
    _print_table(title, columns, rows, "exponent: 1 is linear, 0 flat; small sizes hold what does not grow")


def _print_table(title: str, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]], caption: str = "") -> None:
    """Print a table of formats by heading, filled in from each row; all but the first column are numbers."""
    cells = [[form.format_map(row) for form in columns.values()] for row in rows]
    console().print(table_of(list(columns), cells, numbers=[*columns][1:], title=title, caption=caption or None))
