"""`mltbench status`, `mltbench reconcile` and `mltbench sync`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ...datasets.commands.preparing import DataRoot
from .run import BackboneName, Out, Plugins, TrackingUri, Weights, WeightsInput, WeightsPadding

if TYPE_CHECKING:
    from ..tracking.store import Store


def status(
    state: Annotated[
        list[str] | None, typer.Option(help="Only experiments in this state, such as failed; repeatable.")
    ] = None,
    table: Annotated[
        list[int] | None, typer.Option(help="Only methods of the paper's Table 1 or 2; repeatable.")
    ] = None,
    method: Annotated[list[str] | None, typer.Option(help="Only this method; repeatable.")] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Only this dataset; repeatable.")] = None,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="The plan that these options name for `mltbench run`, with what nobody has begun."),
    ] = False,
    from_study: Annotated[str | None, typer.Option(help="With --plan: of the winners of this study.")] = None,
    seeds: Annotated[str | None, typer.Option(help="With --plan: how many seeds, or a list such as 4,5,6.")] = None,
    recipe: Annotated[str | None, typer.Option(help="With --plan: training recipe.")] = None,
    backbone: BackboneName = None,
    weights: Weights = None,
    weights_input: WeightsInput = None,
    weights_padding: WeightsPadding = None,
    override: Annotated[
        list[str] | None, typer.Option(help="With --plan: method.KEY=VALUE or recipe.KEY=VALUE; repeatable.")
    ] = None,
    device: Annotated[str, typer.Option(help="With --plan: auto, cpu, cuda or cuda:N.")] = "auto",
    word_vectors: Annotated[Path | None, typer.Option(help="With --plan: GloVe text or .npz for ML-GCN.")] = None,
    plugin: Plugins = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Out = None,
    data_root: DataRoot = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Show the state of every experiment: running, finished, failed, interrupted, and whether MLflow has it.

    \b
    Examples:
        mltbench status
        mltbench status --state failed --state interrupted --dataset digits-mlt
        mltbench status --plan --table 1 --seeds 3 --state pending --json
    """
    from ...datasets.registry import resolve_data_root
    from ...methods.plugins import load_plugins
    from ..networks.initial_weights import BackboneChoice
    from ..tracking.store import open_store, resolve_results_root
    from ..tracking.sync import not_in_mlflow
    from ..training.devices import resolve_device
    from .chosen_plans import PlanOptions, plans_of
    from .status import of_plans, of_runs, require_states

    require_states(state or ())
    load_plugins(plugin or [])
    options = PlanOptions(
        table=tuple(table or ()),
        method=tuple(method or ()),
        dataset=tuple(dataset or ()),
        from_study=from_study,
        seeds=seeds,
        recipe=recipe,
        backbone=BackboneChoice(backbone=backbone, weights=weights, input=weights_input, padding=weights_padding),
        override=tuple(override or ()),
        word_vectors=word_vectors,
    )
    options.check() if plan else options.require_filters()
    store = open_store(resolve_results_root(out), tracking_uri, create=False)
    missing = {folder.name for folder in not_in_mlflow(store)}
    if plan:
        device_type = resolve_device(device).partition(":")[0]
        plans = plans_of(options, lambda: store, data_root=resolve_data_root(data_root), device_type=device_type)
        rows = of_plans(plans, store, missing)
    else:
        rows = of_runs(options, store, missing)
    _tell([row for row in rows if not state or row["state"] in state], missing, store, as_json=as_json)


def _tell(rows: list[dict[str, Any]], missing: set[str], store: Store, *, as_json: bool) -> None:
    from rich.table import Table

    from ...terminal import console

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
    console().print(", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "no such run")
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
    from ...terminal import console
    from ..executors.claims import open_claims
    from ..tracking.store import open_store, resolve_results_root
    from ..tracking.sync import find, mend

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
    from ...terminal import console
    from ..executors.claims import open_claims
    from ..runs.states import ENDED, read_state
    from ..tracking.store import open_store, resolve_results_root
    from ..tracking.sync import not_in_mlflow, run_folders
    from ..tracking.sync import sync as replay

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


def _what(row: dict[str, Any]) -> str:
    if row["heartbeat_age_seconds"] is not None:
        return f"last sign of life {row['heartbeat_age_seconds']:.0f} s ago"
    return str(row["reason"])
