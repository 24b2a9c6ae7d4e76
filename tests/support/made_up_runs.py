"""Made-up runs to try reports on: journals, scores and artifacts as training leaves them."""

import json
from itertools import product

import numpy as np
import torch
from mltbench.benchmark.experiments.plan import build_plan, choose_methods
from mltbench.benchmark.runs.journal import Journal
from mltbench.benchmark.runs.outcome_files import write_outcome
from mltbench.benchmark.runs.provenance import code_version, machine
from mltbench.benchmark.tracking.upload import upload
from mltbench.benchmark.training.metrics import score
from mltbench.benchmark.training.training_run import Outcome
from numpy.random import RandomState

SEEDS = 12
EPOCHS = 26
# Each makes rows of its own, as tuning by hand would.
SETTINGS = ((), ("recipe.learning_rate=0.1",), ("recipe.learning_rate=0.05",), ("recipe.weight_decay=0.0005",))


def make_up_runs(store, dataset, *, number):
    """Write so many finished runs of the paper's methods and upload them to MLflow, as the suite itself does.

    Scores are random, stronger for some methods and for larger classes; their average precision is computed from them.
    """
    generator, left = RandomState(0), number
    for plan in plans(dataset, number):
        for planned in plan.experiments[:left]:
            write_run(store.runs / planned.experiment.id, planned, dataset, generator)
            upload(store, planned, plan.name)
        left -= len(plan.experiments)


def plans(dataset, number):
    methods, made = choose_methods([1, 2], []), 0
    for i, settings in product(range(number), SETTINGS):
        if made >= number:
            return
        plan = build_plan(dataset, methods, seeds=range(i * SEEDS, (i + 1) * SEEDS), overrides=settings)
        made += len(plan.experiments)
        yield plan


def write_run(folder, planned, dataset, generator):
    folder.mkdir(parents=True)
    (folder / "experiment.json").write_text(planned.experiment.to_json(), encoding="utf-8")
    provenance = {**code_version(), **machine("cpu", 1), "command": "mltbench run"}
    (folder / "provenance.json").write_text(json.dumps(provenance), encoding="utf-8")
    strength = 1 + sum(planned.experiment.method.name.encode()) % 7 / 5
    (validation, _), (test, scores) = (scored(dataset, split, strength, generator) for split in ("validation", "test"))
    cost = {"cost/train_seconds": 10 * strength, "cost/images_per_second": 2000 / strength}
    outcome = Outcome(validation=validation, test=test, test_scores=scores, network=torch.nn.Identity(), cost=cost)
    write_outcome(outcome, dataset, folder)
    journal = Journal(folder)
    journal.append("start")
    for epoch in range(1, EPOCHS + 1):
        journal.append("epoch", step=epoch, metrics={"train/loss": 1 / epoch, "train/learning_rate": 0.2})
    journal.append("evaluation", step=EPOCHS, metrics=validation.as_metrics("validation"))
    journal.append("test", step=EPOCHS, metrics={**test.as_metrics("test"), **cost})
    journal.append("finished", step=EPOCHS)


def scored(dataset, split, strength, generator):
    labels = dataset.split(split).labels
    size = np.log(dataset.statistics.counts) / np.log(dataset.statistics.counts.max())
    scores = (generator.randn(*labels.shape) + strength * (0.5 + 2 * size) * labels).astype(np.float32)
    return score(scores, labels, dataset.statistics), scores
