"""Made-up runs, to measure and to try reports: journals, scores and artifacts as training leaves them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random import RandomState

if TYPE_CHECKING:
    from ...benchmark.experiments.plan import Plan, PlannedExperiment
    from ...benchmark.tracking.store import Store
    from ...benchmark.training.metrics import Scores
    from ...datasets.dataset import Dataset

SEEDS = 12
EPOCHS = 26
# Each makes rows of its own, as somebody's tuning by hand would.
SETTINGS: tuple[tuple[str, ...], ...] = (
    (), ("recipe.learning_rate=0.1",), ("recipe.learning_rate=0.05",), ("recipe.weight_decay=0.0005",)
)  # fmt: skip


def make_up_runs(store: Store, dataset: Dataset, *, number: int, on_run: Callable[[], None] = lambda: None) -> None:
    """Write so many finished runs of the paper's methods and bring them to MLflow, as the suite itself does.

    Scores are random, stronger for some methods and for larger classes; their average precision is computed from them.
    """
    from ...benchmark.tracking.upload import upload

    generator, left = RandomState(0), number
    for plan in _plans(dataset, number):
        for planned in plan.experiments[:left]:
            _write_run(store.runs / planned.experiment.id, planned, dataset, generator)
            upload(store, planned, plan.name)
            on_run()
        left -= len(plan.experiments)


def _plans(dataset: Dataset, number: int) -> Iterator[Plan]:
    from ...benchmark.experiments.plan import build_plan, choose_methods

    methods, made = choose_methods([1, 2], []), 0
    for i, settings in product(range(number), SETTINGS):
        if made >= number:
            return
        plan = build_plan(dataset, methods, seeds=range(i * SEEDS, (i + 1) * SEEDS), overrides=settings)
        made += len(plan.experiments)
        yield plan


def _write_run(folder: Path, planned: PlannedExperiment, dataset: Dataset, generator: RandomState) -> None:
    import torch

    from ...benchmark.runs.journal import Journal
    from ...benchmark.runs.outcome_files import write_outcome
    from ...benchmark.runs.provenance import code_version, machine
    from ...benchmark.training.training_run import Outcome

    folder.mkdir(parents=True)
    (folder / "experiment.json").write_text(planned.experiment.to_json(), encoding="utf-8")
    provenance = {**code_version(), **machine("cpu", 1), "command": "mltbench bench report"}
    (folder / "provenance.json").write_text(json.dumps(provenance), encoding="utf-8")
    strength = 1 + sum(planned.experiment.method.name.encode()) % 7 / 5
    (validation, _), (test, scores) = (_scored(dataset, split, strength, generator) for split in ("validation", "test"))
    cost = {"cost/train_seconds": 10 * strength, "cost/images_per_second": 2000 / strength}
    network: Any = torch.nn.Identity()
    write_outcome(
        Outcome(validation=validation, test=test, test_scores=scores, network=network, cost=cost), dataset, folder
    )
    journal = Journal(folder)
    journal.append("start")
    for epoch in range(1, EPOCHS + 1):
        journal.append("epoch", step=epoch, metrics={"train/loss": 1 / epoch, "train/learning_rate": 0.2})
    journal.append("evaluation", step=EPOCHS, metrics=validation.as_metrics("validation"))
    journal.append("test", step=EPOCHS, metrics={**test.as_metrics("test"), **cost})
    journal.append("finished", step=EPOCHS)


def _scored(dataset: Dataset, split: str, strength: float, generator: RandomState) -> tuple[Scores, Any]:
    from ...benchmark.training.metrics import score

    labels = dataset.split(split).labels
    size = np.log(dataset.statistics.counts) / np.log(dataset.statistics.counts.max())
    scores = (generator.randn(*labels.shape) + strength * (0.5 + 2 * size) * labels).astype(np.float32)
    return score(scores, labels, dataset.statistics), scores
