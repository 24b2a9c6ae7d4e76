"""`mltbench bench rehearsal`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.markup import escape

from ...terminal import console
from ..runs.provenance import code_version, machine
from ..speed.rehearsal import Rehearsal, Result, rehearse
from ..speed.rehearsal_data import full_setting, small_setting
from ..training.devices import usable_cores
from .bench import JsonFile, plain_table, require_folder, tell_machine
from .options import DeviceOptions


def rehearsal(
    *,
    miniature: bool = False,
    minutes: Annotated[float, Parameter(validator=Number(gte=0.1))] = 9.0,
    device: DeviceOptions = DeviceOptions(),
    json_file: JsonFile = None,
) -> None:
    """Measure every way to train DB-Focal on a GPU, and what both tables on both datasets would take with each.

    Synthetic images and labels with the shapes of VOC-MLT and COCO-MLT, ResNet-50 with random weights at 224 pixels,
    bfloat16 on CUDA. Needs no network and no data. Each variant runs in processes of its own; one that fails is
    reported with its reason. A miniature shows that the code runs; its numbers say nothing of the paper.

    For example:

        mltbench bench rehearsal --device cuda --json rehearsal.json
        mltbench bench rehearsal --miniature --device cpu

    Args:
        miniature: The same code with ResNet-18 at 32 pixels, in 1.5 minutes.
        minutes: Time after which nothing runs any more.
    """
    require_folder(json_file)
    chosen, cores = device.chosen, usable_cores()
    setting = small_setting(chosen) if miniature else full_setting(chosen, cores)
    with console().status("starting") as status:
        found = rehearse(setting, minutes=minutes, tell=status.update)
    _print(found, miniature=miniature)
    tell_machine({**machine(chosen, cores), **code_version()}, {"miniature": miniature, **found.as_json()}, json_file)


def _print(found: Rehearsal, *, miniature: bool) -> None:
    setting, names = found.setting, [shape.name for shape in found.setting.shapes]
    counted = [found.flop_per_image(name) for name in names]
    flop = next((f"{value / 1e9:,.3g} GFLOP per image" for value in counted if value), "operations not counted")
    title = (
        f"{'miniature of the rehearsal' if miniature else 'rehearsal'}: db-focal, {setting.backbone} at "
        f"{setting.image_size} pixels, batch {setting.batch_size}; {flop}; "
        f"matrix product {found.peak / 1e12:,.3g} TFLOP/s"
    )
    caption = "paper: 28 runs with their evaluation at these speeds, without start and compilation" + (
        "; of a miniature it says nothing" if miniature else ""
    )
    columns = ("variant", *(f"{name}, images/s" for name in names), "of peak", "MiB", "busy", "start, s", "paper, min")
    console().print(plain_table(title, columns, [_row(found, result, names) for result in found.results], caption))
    for result in found.results:
        if result.reason:
            console().print(f"{result.variant.name}: {escape(result.reason)}", highlight=False, soft_wrap=True)
        elif not all(speed.finite for speed in result.speeds.values()):
            console().print(f"{result.variant.name}: some losses were not finite", highlight=False)


def _row(found: Rehearsal, result: Result, names: list[str]) -> tuple[str, ...]:
    speeds = [result.speeds[name] for name in names if name in result.speeds]
    rates = [f"{result.speeds[name].images_per_second:,.0f}" if name in result.speeds else "-" for name in names]
    shares = [share for name in names if (share := found.share_of_peak(result, name)) is not None]
    busy = [speed.utilisation for speed in speeds if speed.utilisation is not None]
    paper = found.paper_seconds(result)
    return (
        result.variant.name,
        *rates,
        f"{100 * min(shares):.1f} %" if shares else "-",
        f"{max(speed.peak_mib for speed in speeds):,.0f}" if speeds else "-",
        f"{min(busy):.0f} %" if busy else "-",
        f"{max(speed.setup_seconds for speed in speeds):.1f}" if speeds else "-",
        f"{paper / 60:,.1f}" if paper is not None else "-",
    )
