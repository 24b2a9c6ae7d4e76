"""`mltbench status`, `mltbench reconcile` and `mltbench sync`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from .commands import Out, TrackingUri


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Out = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Show the state of every experiment: running, finished, failed, interrupted, and whether MLflow has it.

    \b
    Examples:
        mltbench status
        mltbench status --out results --json
    """
    from rich.table import Table

    from .reconciling import not_in_mlflow, run_folders
    from .store import open_store, resolve_results_root
    from .terminal import console

    store = open_store(resolve_results_root(out), tracking_uri, create=False)
    missing = {folder.name for folder in not_in_mlflow(store)}
    rows = [_row(folder, missing) for folder in run_folders(store)]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table()
    for column in ("experiment", "method", "dataset", "seed", "state", "epochs", "in MLflow", "what"):
        table.add_column(column, overflow="fold")
    for row in rows:
        cells = [row[name] for name in ("experiment", "method", "dataset", "seed", "state", "epoch", "in_mlflow")]
        table.add_row(*(escape("-" if cell is None else str(cell)) for cell in cells), escape(_what(row)))
    console().print(table)
    counts = Counter(row["state"] for row in rows)
    console().print(", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "no run has begun")
    if missing:
        console().print(
            f"{len(missing)} ended runs are not in MLflow: mltbench sync --out {store.root}", soft_wrap=True
        )


def reconcile(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is wrong and mend nothing.")] = False,
    out: Out = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Find what a crash has left (runs left open in MLflow, journals that it lacks, copies) and mend it.

    \b
    Example:
        mltbench reconcile --dry-run
    """
    from .claims import open_claims
    from .reconciling import find, mend
    from .store import open_store, resolve_results_root
    from .terminal import console

    store = open_store(resolve_results_root(out), tracking_uri)
    found = find(store)
    for finding in found:
        console().print(f"{finding.kind}: {finding.name}  {escape(finding.words)}", soft_wrap=True, highlight=False)
    if not found:
        console().print("nothing to mend: run folders and MLflow agree.")
    if dry_run or not found:
        return
    claims = open_claims(store.root, store.tracking_uri)
    try:
        left = list(mend(store, found, claims))
    finally:
        claims.close()
    for finding in left:
        words = escape(f"{finding.name}: {finding.words}")
        console().print(f"[yellow]not mended[/yellow] {words}", soft_wrap=True)
    mended = sum(finding.kind not in ("interrupted", "unreadable") for finding in found) - len(left)
    console().print(f"mended {mended}, left {len(found) - mended}")
    raise typer.Exit(1 if left else 0)


def sync(
    everything: Annotated[bool, typer.Option("--all", help="Replay also what MLflow has: it changes nothing.")] = False,
    out: Out = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Replay the journals of ended runs to MLflow, exactly once however often it is given.

    \b
    Examples:
        mltbench sync
        mltbench sync --tracking-uri http://127.0.0.1:5000
    """
    from .claims import open_claims
    from .reconciling import not_in_mlflow, run_folders
    from .reconciling import sync as replay
    from .states import ENDED, read_state
    from .store import open_store, resolve_results_root
    from .terminal import console

    store = open_store(resolve_results_root(out), tracking_uri)
    ended = [folder for folder in run_folders(store) if read_state(folder).state in ENDED.values()]
    folders = ended if everything else not_in_mlflow(store)
    claims = open_claims(store.root, store.tracking_uri)
    brought = 0
    try:
        with console().status(f"bringing {len(folders)} runs to MLflow"):
            for folder, problem in replay(store, folders, claims):
                brought += not problem
                if problem:
                    console().print(f"[yellow]not brought[/yellow] {folder.name}: {escape(problem)}", soft_wrap=True)
    finally:
        claims.close()
    console().print(f"brought {brought} of {len(folders)} runs to MLflow; {len(ended) - len(folders)} were there")
    raise typer.Exit(0 if brought == len(folders) else 1)


def _row(folder: Path, missing: set[str]) -> dict[str, Any]:
    from .reconciling import planned_in
    from .states import ENDED, read_state

    state, planned = read_state(folder), planned_in(folder)
    ended = state.state in ENDED.values()
    return {
        "experiment": folder.name,
        "method": planned.label if planned else None,
        "dataset": planned.experiment.dataset if planned else None,
        "seed": planned.experiment.seed if planned else None,
        "state": state.state.value,
        "epoch": state.epoch,
        "step": state.step,
        "reason": state.reason,
        "heartbeat_age_seconds": state.heartbeat.age if state.heartbeat else None,
        "in_mlflow": ("no" if folder.name in missing else "yes") if ended else None,
    }


def _what(row: dict[str, Any]) -> str:
    if row["heartbeat_age_seconds"] is not None:
        return f"last sign of life {row['heartbeat_age_seconds']:.0f} s ago"
    return str(row["reason"])
