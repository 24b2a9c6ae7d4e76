"""`mltbench bench tracking-failures`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ...datasets.commands.preparing import DataRoot
from .bench import DatasetName, JsonFile, MethodName, plain_table, require_folder, tell_machine


def tracking_failures(
    dataset: DatasetName = "digits-mlt",
    method: MethodName = "erm",
    rounds: Annotated[int, typer.Option(min=1, help="Blocks of steps with each kind of server.")] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of a block, in which one run is brought.")] = 4,
    json_file: JsonFile = None,
    data_root: DataRoot = None,
) -> None:
    """Measure a training step beside a tracking server that is healthy, and beside one that fails in each of five ways.

    A real MLflow server is started on 127.0.0.1, with a proxy before it that refuses, hangs, answers 500, breaks off in
    the middle of an answer, or is slow. While the steps are taken one ended run waits to be brought there. The variants
    take turns in one process; the ratio is to the same round without tracking. At the end every run must have come to
    MLflow once, with every point of its journal.

    \b
    Example:
        mltbench bench tracking-failures --json failures.json
    """
    import torch

    from ...datasets.registry import load_dataset, resolve_data_root
    from ...datasets.word_vectors import hashed_word_vectors
    from ...terminal import console
    from ..experiments.plan import build_plan
    from ..networks.initial_weights import find_weights
    from ..runs.provenance import code_version, machine
    from ..runs.run import Job
    from ..speed.tracking_benchmark import NONE, compare_servers
    from ..training.execution import Execution
    from ..training.trainer import Trainer
    from .progress import working

    require_folder(json_file)
    root = resolve_data_root(data_root)
    opened = load_dataset(dataset, data_root=root)
    short = ("recipe.plain.epochs=1", "recipe.resampled.epochs=1")
    plan = build_plan(opened, [method], seeds=[0], overrides=short)
    experiment = plan.experiments[0].experiment
    job = Job(experiment_json=experiment.to_json(), folder="", data_root=str(root), execution=Execution())
    needed = experiment.method.head.needs_word_vectors
    before = torch.get_num_threads()
    with working(console(), "measuring all kinds of servers in turns"):
        torch.set_num_threads(1)
        trainer = Trainer(
            experiment,
            opened,
            Execution(),
            word_vectors=hashed_word_vectors(opened.classes).vectors if needed else None,
            weights=find_weights(experiment.backbone, experiment.weights_digest, None, root),
        )
        found = compare_servers(plan, job, trainer, rounds=rounds, epochs=epochs)
        torch.set_num_threads(before)
    rows = [
        (
            cost.variant,
            f"{min(cost.milliseconds):.2f} to {max(cost.milliseconds):.2f}",
            f"{cost.ratio:.3f}",
            f"{min(cost.ratios):.3f} to {max(cost.ratios):.3f}",
            "-" if cost.variant == NONE else str(cost.asked),
            "-" if cost.variant == NONE else f"{cost.brought} of {rounds}",
        )
        for cost in found
    ]
    columns = ("server", "ms per step", "ratio", "lowest to highest", "requests", "runs in MLflow")
    caption = f"ratio to: {NONE}; median of {rounds} rounds"
    console().print(plain_table(f"{method} on {dataset}: a step while a run is brought", columns, rows, caption))
    content = {"rounds": rounds, "epochs": epochs, "servers": [{**asdict(c), "ratio": c.ratio} for c in found]}
    tell_machine({**machine("cpu", 1), **code_version()}, content, json_file)
