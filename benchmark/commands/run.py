"""`mltbench run` and `mltbench check`."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Annotated

import typer

from ...datasets.commands.preparing import DataRoot as DataRoot

Out = Annotated[Path | None, typer.Option(help="Where results live [default: MLTBENCH_HOME, else ./mltbench-results].")]
TrackingUri = Annotated[
    str | None,
    typer.Option(help="Any MLflow tracking URI [default: MLFLOW_TRACKING_URI, else SQLite under --out]."),
]
Plugins = Annotated[
    list[str] | None, typer.Option("--plugin", help="Python file that registers a method of your own; repeatable.")
]
BackboneName = Annotated[
    str | None,
    typer.Option(help="Network below the head, such as resnet50 or mobilenet_v2 [default: the dataset's own]."),
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="What the backbone starts from: a file in torchvision's key layout, or `random` [default: torchvision's "
        "IMAGENET1K_V1, downloaded once]."
    ),
]
WeightsInput = Annotated[
    str | None,
    typer.Option(help="Input that the weights expect: imagenet (mean and deviation), -1..1 or 0..1 [default: theirs]."),
]
WeightsPadding = Annotated[
    str | None,
    typer.Option(help="Padding of layers with a stride: symmetric, or same as in TensorFlow [default: the weights']."),
]


def run(
    table: Annotated[list[int] | None, typer.Option(help="Methods of the paper's Table 1 or 2; repeatable.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="A method by name; repeatable.")] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="A dataset by name; repeatable.")] = None,
    from_study: Annotated[
        str | None, typer.Option(help="Methods of this study, with their defaults and with the settings it found.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="How many seeds (3 means 0, 1, 2), or a list such as 4,5,6.")] = "1",
    recipe: Annotated[str | None, typer.Option(help="Training recipe [default: the dataset's own].")] = None,
    backbone: BackboneName = None,
    weights: Weights = None,
    weights_input: WeightsInput = None,
    weights_padding: WeightsPadding = None,
    override: Annotated[
        list[str] | None, typer.Option(help="method.KEY=VALUE or recipe.KEY=VALUE; repeatable.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Experiments at once [default: cores, or one per GPU].")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Torch threads per experiment; they change the last bits.")] = 1,
    evaluate_every: Annotated[
        int, typer.Option(min=0, help="Score the validation split every so many epochs; 0 is the last only.")
    ] = 0,
    word_vectors: Annotated[Path | None, typer.Option(help="GloVe text or .npz for ML-GCN.")] = None,
    executor: Annotated[str, typer.Option(help="local (processes of this machine) or ray.")] = "local",
    address: Annotated[str, typer.Option(help="Ray cluster: auto, local (started here) or HOST:PORT.")] = "auto",
    gpus: Annotated[float, typer.Option(min=0, help="GPUs per experiment on Ray; .5 lets two share one.")] = 0,
    wheel: Annotated[Path | None, typer.Option(help="Wheel of mltbench for Ray workers without it.")] = None,
    cohort: Annotated[
        bool,
        typer.Option(
            help="Train methods that see the same images and crops in lock step, with one pass through the frozen "
            "trunk; same bits. Ray trains each alone."
        ),
    ] = True,
    graphed: Annotated[
        bool, typer.Option("--graphed", help="Replay steps as CUDA graphs; see `mltbench bench rehearsal` first.")
    ] = False,
    claims: Annotated[
        str | None, typer.Option(help="PostgreSQL that says who trains what [default: the tracking URI, else --out].")
    ] = None,
    plugin: Plugins = None,
    restart: Annotated[bool, typer.Option("--restart", help="Train from the beginning what was interrupted.")] = False,
    checkpoint_every: Annotated[
        float, typer.Option(min=0, help="Seconds between checkpoints; 0 writes one after every step.")
    ] = 60.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan with the hours it takes here; train nothing.")
    ] = False,
    out: Out = None,
    data_root: DataRoot = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Train methods on datasets with several seeds; what is finished is never trained again.

    \b
    Examples:
        mltbench run --table 1 --table 2 --seeds 3
        mltbench run --method db --method rs --override method.mu=.2 --dry-run
        mltbench run --plugin my_loss.py --method my-loss --seeds 3
        mltbench run --from-study tune-digits-mlt --seeds 5
        mltbench run --dataset photos --method db-focal --backbone mobilenet_v2 --weights mobilenet.pt
    """
    from ..executors.forge import import_ahead
    from ..training.devices import cuda_devices, default_workers, resolve_device

    chosen_device = resolve_device(device)
    if executor == "local" and not dry_run:
        import_ahead(chosen_device)

    from ...datasets.registry import load_dataset, resolve_data_root
    from ...methods.plugins import load_plugins
    from ...terminal import console
    from ..executors.claims import open_claims
    from ..executors.run_plan import Surroundings
    from ..networks.initial_weights import BackboneChoice
    from ..tracking.store import open_store, resolve_results_root
    from ..training.execution import Execution
    from .chosen_plans import PlanOptions, plans_of
    from .plan_terminal import Engine, run_plan

    load_plugins(plugin or [])
    root = resolve_data_root(data_root)
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
    options.check()
    open_results = cache(partial(open_store, resolve_results_root(out), tracking_uri))
    plans = plans_of(options, open_results, data_root=root, device_type=chosen_device.partition(":")[0])
    store = open_results()
    for note in dict.fromkeys(note for plan in plans for planned in plan.experiments for note in planned.weights.notes):
        console().print(note, markup=False, highlight=False, soft_wrap=True)
    if graphed and not chosen_device.startswith("cuda"):
        console().print(f"--graphed needs CUDA: on {chosen_device} each step is taken without a graph.")
    surroundings = Surroundings(
        data_root=root,
        execution=Execution(
            device=chosen_device,
            threads=threads,
            evaluate_every=evaluate_every,
            checkpoint_seconds=checkpoint_every,
            graphed=graphed,
        ),
        plugins=tuple(str(Path(file).resolve()) for file in plugin or []),
        word_vectors=word_vectors,
        restart=restart,
    )
    engine = Engine(
        workers=workers or default_workers(chosen_device),
        devices=cuda_devices(chosen_device),
        executor_name=executor,
        address=address,
        gpus=gpus,
        wheel=wheel,
        cohort=cohort,
    )
    failed = False
    for plan in plans:
        if dry_run:
            from .plan_preview import show_plan

            source, count = load_dataset(plan.dataset, data_root=root), engine.workers
            show_plan(console(), plan, source, store, surroundings.execution, workers=count)
        else:
            holding = open_claims(store.root, store.tracking_uri, claims)
            failed |= run_plan(console(), plan, store, surroundings, engine, holding)
    raise typer.Exit(1 if failed else 0)


def check(
    method: Annotated[list[str] | None, typer.Option(help="Only these methods; repeatable.")] = None,
    plugin: Plugins = None,
) -> None:
    """Let every registered method take two steps on a tiny set: the smoke test for a new method.

    \b
    Example:
        mltbench check --plugin my_loss.py --method my-loss
    """
    from rich.markup import escape

    from ...methods.catalogue import get_method, list_methods
    from ...methods.plugins import load_plugins
    from ...terminal import console
    from ..training.check import check_method

    load_plugins(plugin or [])
    chosen = [get_method(name) for name in method] if method else list_methods()
    bad = 0
    for item in chosen:
        problem = check_method(item)
        bad += problem is not None
        verdict = f"[red]bad[/red]   {item.name}: {escape(problem)}" if problem else f"[green]good[/green]  {item.name}"
        console().print(verdict, soft_wrap=True)
    console().print(f"{len(chosen) - bad} of {len(chosen)} methods passed")
    raise typer.Exit(1 if bad else 0)
