"""`mltbench bench metrics` and `mltbench bench scale`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import torch
from cyclopts import Parameter
from cyclopts.validators import Number

from ...terminal import console
from ..commands.bench import JsonFile, plain_table, require_folder, tell_machine
from ..runs.provenance import code_version, machine
from .metrics_benchmark import SIZES, compare_scorers
from .scale_benchmark import (
    CLASSES,
    FEW_CLASSES,
    IMAGES,
    IMAGES_OF_MANY_CLASSES,
    Size,
    growth,
    measure_in_child,
)


def metrics(*, small: bool = False, json_file: JsonFile = None) -> None:
    """Compare average precision with scikit-learn and torchmetrics: same values, and how long each takes.

    Random scores with ties; 5,000 images of 80 classes (median of five rounds) and 50,000 of 1,000 (one round);
    one thread each.

    For example:

        mltbench bench metrics --json metrics.json

    Args:
        small: Only 5,000 images of 80 classes.
        json_file: Also write this JSON file.
    """
    require_folder(json_file)
    threads = torch.get_num_threads()
    # As in a run of one per core; scikit-learn uses one in any case.
    torch.set_num_threads(1)
    with console().status("scoring"):
        found = [time for size in SIZES[: 1 if small else None] for time in compare_scorers(*size)]
    rows = [
        (f"{t.images:,} x {t.classes:,}, {t.name}", f"{t.seconds:.3f}", f"{t.ratio:.2f}", f"{t.difference:.1e}")
        for t in found
    ]
    columns = ("images x classes, library", "seconds", "times as fast", "largest difference")
    console().print(plain_table("average precision per class, compared with scikit-learn", columns, rows))
    here = {**machine("cpu", 1), **code_version()}
    torch.set_num_threads(threads)
    tell_machine(here, {"scorers": [asdict(time) for time in found]}, json_file)


def scale(
    *, largest: Annotated[int, Parameter(validator=Number(gte=10_000))] = 1_000_000, json_file: JsonFile = None
) -> None:
    """Measure time and peak memory as datasets grow: images of 32 x 32 in memory-mapped files, and sparse labels.

    Each size is measured in a fresh process, which does with a split all that a training does, in the trainer's own
    code, but for the network. The last columns are the exponents of growth: 1 is linear, 0 flat.

    For example:

        mltbench bench scale --json scale.json

    Args:
        largest: Most images.
        json_file: Also write this JSON file.
    """
    require_folder(json_file)
    by_images: list[Size] = []
    by_classes: list[Size] = []
    for images in (number for number in IMAGES if number <= largest):
        with console().status(f"{images:,} images"):
            by_images.append(measure_in_child(images, FEW_CLASSES, sparse=False))
    for classes in CLASSES:
        with console().status(f"{classes:,} classes"):
            by_classes.append(measure_in_child(IMAGES_OF_MANY_CLASSES, classes, sparse=True))
    _print_sizes(f"images of {FEW_CLASSES} classes", by_images, "images")
    _print_sizes(f"classes of {IMAGES_OF_MANY_CLASSES:,} images, sparse labels", by_classes, "classes")
    content = {"by_images": [asdict(size) for size in by_images], "by_classes": [asdict(size) for size in by_classes]}
    tell_machine({**machine("cpu", 1), **code_version()}, content, json_file)


def _print_sizes(title: str, sizes: list[Size], axis: str) -> None:
    numbers, works = [getattr(size, axis) for size in sizes], list(sizes[0].seconds)
    values = {f"{work}, s": [size.seconds[work] for size in sizes] for work in works}
    if len(works) > 1:
        values["all, s"] = [sum(size.seconds.values()) for size in sizes]
    # Less than a MiB is noise.
    values["peak MiB"] = [max(*size.peak_mib.values(), 1) for size in sizes]
    rows = []
    for name, of_sizes in values.items():
        exponents = growth(numbers, of_sizes), growth(numbers[-3:], of_sizes[-3:])
        digits = 3 if name.endswith(" s") else 0
        rows.append((name, *(f"{x:.{digits}f}" for x in of_sizes), *(f"{x:.2f}" for x in exponents)))
    columns = (axis, *(f"{n:,}" for n in numbers), "exponent", f"from {numbers[-3:][0]:,}")
    caption = "exponent: 1 is linear, 0 flat; small sizes hold what does not grow"
    console().print(plain_table(title, columns, rows, caption))
