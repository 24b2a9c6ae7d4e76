"""`mltbench bench report`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from ...datasets.commands.preparing import DataRoot

# What a report of 500 runs may take (figures included, the bootstrap over images not), and how large its page may be.
SECONDS_AT_MOST, MEGABYTES_AT_MOST = 20.0, 3.0


def bench_report(
    runs: Annotated[int, typer.Option(min=1, help="How many runs to make up.")] = 500,
    keep: Annotated[Path | None, typer.Option(help="Make them in this folder, and keep it.")] = None,
    figures: Annotated[bool, typer.Option(help="Draw the figures.")] = True,
    data_root: DataRoot = None,
) -> None:
    """Measure a report of many runs: make them up on Digits-MLT, bring them to MLflow, build the report once.

    \b
    Example:
        mltbench bench report --runs 500
    """
    if keep is not None:
        return _measure(keep, runs, figures, data_root)
    with tempfile.TemporaryDirectory() as folder:
        _measure(Path(folder), runs, figures, data_root)


def _measure(folder: Path, number: int, figures: bool, data_root: Path | None) -> None:
    from rich.progress import Progress

    from ...benchmark.tracking.store import open_store
    from ...datasets.registry import load_dataset, resolve_data_root
    from ...terminal import console
    from .made_up_runs import make_up_runs

    root = resolve_data_root(data_root)
    dataset, store = load_dataset("digits-mlt", data_root=root), open_store(folder)
    missing = max(0, number - len(store.finished("digits-mlt")))
    if missing:
        with Progress(console=console()) as progress:
            task = progress.add_task("making up runs", total=number)
            make_up_runs(store, dataset, number=number, on_run=lambda: progress.advance(task))
    command = [sys.executable, "-m", "mltbench", "report", "--out", str(folder), "--data-root", str(root)]
    started = time.perf_counter()
    subprocess.run([*command, *([] if figures else ["--no-figures"])], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    size = (folder / "report" / "index.html").stat().st_size / 1e6
    console().print(f"report of {number} runs: {seconds:.1f} s (at most {SECONDS_AT_MOST:.0f} is wanted)")
    console().print(f"its page: {size:.2f} MB (at most {MEGABYTES_AT_MOST:.0f} is wanted)")
