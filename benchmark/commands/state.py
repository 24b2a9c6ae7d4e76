"""`mltbench status` and `mltbench sync`."""

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


def sync(
    everything: Annotated[bool, typer.Option("--all", help="Upload also what MLflow has: it changes nothing.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is wrong and change nothing.")] = False,
    out: Out = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Upload ended runs that MLflow lacks, exactly once, and mend what a crash has left there.

    \b
    Examples:
        mltbench sync
        mltbench sync --tracking-uri http://127.0.0.1:5000
        mltbench sync --dry-run
    """
    from ...terminal import console
    from ..tracking.store import open_store, resolve_results_root
    from ..tracking.sync import UPLOADED, agree, find

    store = open_store(resolve_results_root(out), tracking_uri)
    found = find(store, everything=everything)
    for finding in found:
        text = f"{finding.kind}: {finding.name}  {escape(finding.message)}"
        console().print(text, soft_wrap=True, highlight=False)
    if not found:
        console().print("run folders and MLflow agree.")
    if dry_run or not found:
        return
    done, failed = Counter[str](), 0
    for finding, reason in agree(store, found):
        if reason:
            failed += 1
            console().print(f"[yellow]not done[/yellow] {finding.name}: {escape(reason)}", soft_wrap=True)
        else:
            done["uploaded" if finding.kind in UPLOADED else finding.kind] += 1
    left = len(found) - failed - done.total()
    console().print(
        f"uploaded {done['uploaded']}, closed {done['left open']}, deleted {done['there twice']}; "
        f"failed {failed}, left {left} as they are"
    )
    raise typer.Exit(1 if failed else 0)


def _what(row: dict[str, Any]) -> str:
    if row["heartbeat_age_seconds"] is not None:
        return f"last sign of life {row['heartbeat_age_seconds']:.0f} s ago"
    return str(row["reason"])
