"""`mltbench data bench-decode`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from .decode_benchmark import DecodeComparison


def bench_decode(
    images: Annotated[Path, typer.Argument(help="Folder of image files.")],
    size: Annotated[int, typer.Option(min=1, help="Side of the decoded images.")] = 280,
    workers: Annotated[str | None, typer.Option(help="Numbers of processes to try [default: 1 and all cores].")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure decoding of a folder's images into a cache, beside Pillow in a plain loop.

    The cache is made in the current folder, and removed again.

    \b
    Example:
        mltbench data bench-decode photos/images
    """
    import json
    from dataclasses import asdict

    from ...errors import InputError
    from ...terminal import console
    from ..images.workers import default_workers
    from .decode_benchmark import compare_decoding

    files = sorted(path for path in images.rglob("*") if path.is_file())
    numbers = [part.strip() for part in workers.split(",")] if workers else ["1", str(default_workers())]
    if not files:
        raise InputError(f"no files in the folder {str(images)!r}; give a folder of images")
    if not all(number.isdecimal() and int(number) for number in numbers):
        raise InputError(f"--workers {workers!r} must be numbers of processes, such as 1,2")
    with console().status("") as status:
        compared = compare_decoding(
            files,
            size,
            sorted({int(number) for number in numbers}),
            aside=Path.cwd(),
            on_way=lambda way: status.update(f"{len(files)} files: {way}"),
        )
    if as_json:
        typer.echo(json.dumps(asdict(compared), indent=1))
    else:
        _print(compared)


def _print(compared: DecodeComparison) -> None:
    from rich.markup import escape
    from rich.table import Table

    from ...terminal import console
    from ..images.workers import default_workers
    from .decode_benchmark import WHY

    out, cores = console(), default_workers()
    table = Table(
        title=f"{compared.images:,} images to {compared.size} x {compared.size}; {cores} cores", title_justify="left"
    )
    for column in ("way", "processes", "images/s", "per core", "against resize"):
        table.add_column(column, justify="left" if column == "way" else "right")
    plain = compared.rates[0].images_per_second
    for rate in compared.rates:
        per_core = rate.images_per_second / min(rate.processes, cores)
        figures = f"{rate.images_per_second:,.0f}", f"{per_core:,.0f}", f"{per_core / plain:.2f}"
        table.add_row(rate.way, str(rate.processes), *figures)
    out.print(table)
    out.print(
        f"size: files {compared.file_bytes / 2**20:,.1f} MiB, cache {compared.cache_bytes / 2**20:,.1f} MiB "
        f"({compared.cache_bytes / compared.file_bytes:,.1f} times; {compared.size**2 * 3:,} bytes an image)",
        soft_wrap=True,
    )
    out.print(WHY)
    if compared.left_out:
        first, number = compared.left_out[0], len(compared.left_out)
        out.print(f"left out, no usable image: {number} files, such as {escape(first)}", soft_wrap=True)
