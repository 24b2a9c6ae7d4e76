"""The smoke test of a method: two steps and a scoring on a tiny set."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.random import RandomState

from ...datasets.dataset import Dataset, Split
from ...datasets.word_vectors import hashed_word_vectors
from ...methods.method import Method
from ..experiments.experiment import Experiment
from ..experiments.recipe import RECIPES, Schedule
from ..networks.initial_weights import AS_THE_DATASET, choose_weights
from .execution import Execution
from .feed import Feed
from .learner import Learner

CLASSES = 6
BATCH = 8
# Class-aware epochs have int(n_max C / 4) draws: 11 images of the largest of 6 classes make two batches of 8.
COUNTS = (11, 8, 6, 4, 3, 2)


def tiny_dataset() -> Dataset:
    """Random images of 48 x 48 with six long-tailed classes, in memory."""
    splits = {name: _tiny_split(name, seed) for seed, name in enumerate(("train", "validation", "test"))}
    return Dataset.in_memory("tiny", [f"class {i}" for i in range(CLASSES)], splits)


def tiny_experiment(method: Method, *, seed: int = 0, **settings: Any) -> Experiment:
    """One epoch of a method on the tiny set; `settings` replace those of its recipe."""
    once = Schedule(epochs=1, decay_after=())
    weights = choose_weights(AS_THE_DATASET, default="digits-resnet")
    recipe = replace(RECIPES["digits"], **{"plain": once, "resampled": once, "batch_size": BATCH, **settings})
    return Experiment.of(tiny_dataset(), method, recipe, weights, seed=seed)


def check_method(method: Method) -> str | None:
    """Let a method take two steps on the tiny set; return what is wrong with it, or None."""
    dataset, experiment, execution = tiny_dataset(), tiny_experiment(method), Execution()
    vectors = hashed_word_vectors(dataset.classes).vectors if method.head.needs_word_vectors else None
    try:
        learner = Learner(experiment, dataset, execution, word_vectors=vectors)
        feed = Feed(experiment, dataset, learner.network, learner.device)
        feed.begin_epoch(0)
        for batch in feed.batches():
            learner.learn(batch)
        mean_loss = learner.end_epoch(feed)
        learner.evaluate("test")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if learner.steps < 2:
        return f"took {learner.steps} steps of {feed.images} images; expected 2"
    # Weight decay alone moves weights; a gradient shows whether the loss does.
    if not any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in learner.parameters):
        return f"no weight has a gradient (mean loss {mean_loss:.4g}); does the loss depend on the logits?"
    return None


def _tiny_split(name: str, seed: int) -> Split:
    generator = RandomState(seed)
    labels = np.zeros((18, CLASSES), dtype=np.uint8)
    for c, count in enumerate(COUNTS):
        labels[generator.permutation(18)[:count], c] = 1
    images = generator.randint(0, 256, size=(18, 48, 48, 3)).astype(np.uint8)
    return Split(images=images, labels=labels, ids=np.array([f"{name}-{i}" for i in range(18)]))
