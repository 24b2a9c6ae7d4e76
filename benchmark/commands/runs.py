"""`mltbench runs list | show | delete`."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from .run import Out, TrackingUri

if TYPE_CHECKING:
    from mlflow.entities import Run

    from ..tracking.store import Store

runs = typer.Typer(no_args_is_help=True, help="Runs: what is in MLflow.")
Dataset = Annotated[str | None, typer.Option(help="Only runs on this dataset.")]
Name = Annotated[str, typer.Argument(help="Experiment id or MLflow run id; a unique beginning is enough.")]


@runs.command("list")
def list_runs(
    dataset: Dataset = None,
    method: Annotated[str | None, typer.Option(help="Only runs of this method.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Out = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """List the runs, oldest first.

    \b
    Example:
        mltbench runs list --method db-focal
    """
    from rich.table import Table

    from ...terminal import console

    store = _open(out, tracking_uri)
    found = [_summary(run) for run in store.runs_of(dataset)]
    found = [row for row in found if method is None or row["method"].split(" ")[0] == method]
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    table = Table()
    columns = ("experiment", "dataset", "method", "seed", "state", "total", "head", "medium", "tail", "seconds")
    for column in columns:
        table.add_column(column, justify="left" if column in columns[:5] else "right", overflow="fold")
    for row in found:
        marks = {c: 100 * row[c] for c in ("total", "head", "medium", "tail") if row[c] is not None}
        table.add_row(*(_cell({**row, **marks}[column]) for column in columns))
    console().print(table)
    console().print(f"{len(found)} runs in {store.root}")


@runs.command()
def show(name: Name, out: Out = None, tracking_uri: TrackingUri = None) -> None:
    """Show one run: its parameters, metrics, provenance, and how to repeat it.

    \b
    Example:
        mltbench runs show 3f2a91c0
    """
    from rich.table import Table

    from ...terminal import console
    from ..tracking.store import TAG

    run = find_run(_open(out, tracking_uri), name)
    table = Table(show_header=False, title=escape(run.info.run_name), title_justify="left")
    table.add_row("MLflow run", run.info.run_id)
    table.add_row("status", run.info.status)
    for key, value in sorted(run.data.metrics.items()):
        table.add_row(key, f"{value:.6g}")
    for key, value in sorted(run.data.params.items()):
        table.add_row(key, escape(value))
    for key, value in sorted(run.data.tags.items()):
        if key.startswith(TAG) and value:
            table.add_row(key.removeprefix(TAG), escape(value))
    table.add_row("artifacts", run.info.artifact_uri)
    console().print(table)


@runs.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    out: Out = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Delete one run from MLflow and its local folder, so that the next `mltbench run` trains it anew.

    \b
    Example:
        mltbench runs delete 3f2a91c0 --yes
    """
    from ...files import safe_file_name
    from ..tracking.store import TAG

    store = _open(out, tracking_uri)
    run = find_run(store, name)
    if not yes:
        typer.confirm(f"delete {run.info.run_name} ({run.info.run_id})?", abort=True)
    store.client.delete_run(run.info.run_id)
    # The tag is what a server says: it must not lead out of the folder of runs.
    shutil.rmtree(store.runs / safe_file_name(run.data.tags[f"{TAG}experiment_id"]), ignore_errors=True)
    typer.echo(f"deleted {run.info.run_name}; `mlflow gc` frees its space for good")


def _open(out: Any, tracking_uri: str | None) -> Store:
    from ..tracking.store import open_store, resolve_results_root

    return open_store(resolve_results_root(out), tracking_uri, create=False)


def find_run(store: Store, name: str) -> Run:
    """The one run whose experiment id or MLflow run id begins with `name`.

    Raises:
        InputError: if there is none, or several.
    """
    from ...errors import InputError
    from ..tracking.store import TAG

    everything = store.runs_of()
    found = [
        run
        for run in everything
        if run.info.run_id.startswith(name) or run.data.tags.get(f"{TAG}experiment_id", "").startswith(name)
    ]
    if not found:
        raise InputError(
            f"no run begins with {name!r}; `mltbench runs list` shows the {len(everything)} that there are"
        )
    if len(found) > 1:
        ids = ", ".join(run.info.run_id for run in found[:4])
        raise InputError(f"{len(found)} runs begin with {name!r}: MLflow runs {ids}; give more of the id")
    return found[0]


def _summary(run: Run) -> dict[str, Any]:
    from ..tracking.store import TAG

    tags, metrics = run.data.tags, run.data.metrics
    overrides = tags.get(f"{TAG}overrides", "")
    row = {
        "experiment": tags.get(f"{TAG}experiment_id", ""),
        "run_id": run.info.run_id,
        "dataset": tags.get(f"{TAG}dataset", ""),
        "method": tags.get(f"{TAG}method", "") + (f" ({overrides})" if overrides else ""),
        "seed": tags.get(f"{TAG}seed", ""),
        "state": tags.get(f"{TAG}state", run.info.status),
        "seconds": metrics.get("cost/train_seconds"),
    }
    return row | {group: metrics.get(f"test/{group}") for group in ("total", "head", "medium", "tail")}


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    return "-" if value is None else escape(str(value))
