"""`mltbench verify`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from ...datasets.commands.preparing import DataRoot
from .run import Out, Plugins


def verify(
    run: Annotated[str, typer.Argument(help="Experiment id; a unique beginning is enough.")],
    plugin: Plugins = None,
    out: Out = None,
    data_root: DataRoot = None,
) -> None:
    """Train a finished CPU run again, with its own number of threads, and say whether the bits agree.

    Compared are the weights, the test scores, the average precision per class and every metric in the journal. The
    exit status is 0 when all bits agree and 1 when some do not. Nothing of the run is changed.

    \b
    Example:
        mltbench verify 3f2a91c0
    """
    from rich.markup import escape
    from rich.table import Table

    from ...datasets.registry import prepare, resolve_data_root
    from ...methods.plugins import load_plugins
    from ...terminal import console
    from ..experiments.display_names import read_planned
    from ..runs.verification import changed_conditions, compare_runs, train_again, verification_job
    from ..tracking.store import resolve_results_root
    from .progress import PlanProgress, working

    load_plugins(plugin or [])
    folder, data = _find(resolve_results_root(out) / "runs", run), resolve_data_root(data_root)
    files = [str(Path(file).resolve()) for file in plugin or []]
    with tempfile.TemporaryDirectory(prefix="mltbench-verify-") as scratch:
        job = verification_job(folder, Path(scratch), data_root=data, plugins=files)
        planned, _ = read_planned(folder)
        with working(console(), f"preparing {planned.experiment.dataset}"):
            prepare(planned.experiment.dataset, data)
        with PlanProgress(console(), [planned], Path(scratch)) as progress:
            train_again(job)
            progress.end(planned)
        compared = compare_runs(folder, Path(job.folder))
    table = Table("what", "bits", "")
    for item in compared:
        table.add_row(item.what, "[green]same[/green]" if item.same else "[red]other[/red]", escape(item.detail))
    console().print(table)
    changed = changed_conditions(folder)
    for name, (then, now) in changed.items():
        console().print(f"{name}: {escape(then)} then, {escape(now)} now", soft_wrap=True, highlight=False)
    same = all(item.same for item in compared)
    console().print(_verdict(folder.name, same, bool(changed)), soft_wrap=True)
    raise typer.Exit(0 if same else 1)


def _verdict(name: str, same: bool, changed: bool) -> str:
    if same:
        return f"[green]{name}: the bits agree[/green]"
    why = "machine or code have changed, see above" if changed else "machine and code are the same, so this is a defect"
    return f"[red]{name}: the bits do not agree[/red]; {why}"


def _find(runs: Path, beginning: str) -> Path:
    from ...errors import InputError

    found = sorted(folder for folder in runs.glob("*") if folder.name.startswith(beginning) and folder.is_dir())
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(f"no run under {runs} begins with {beginning!r}; `mltbench runs list` shows those there are")
    raise InputError(f"{len(found)} runs begin with {beginning!r}: {', '.join(f.name for f in found[:4])}; give more")
