"""Where the time of a training goes: each part of the step, and what a run does besides, as shares."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..experiments.plan import Plan
from ..runs.journal import Journal
from ..runs.provenance import code_version, machine
from ..tracking.store import open_store
from ..tracking.upload import upload
from ..training.augmentation import augment_prepared
from ..training.devices import autocast, wait_for
from ..training.feed import Feed
from ..training.learner import Learner

STEP_PARTS = ("data", "augmentation", "frozen forward", "learning forward", "loss", "backward", "optimiser")


def break_down(plan: Plan, feed: Feed, learner: Learner, *, steps: int) -> dict[str, Any]:
    """Measure a plan's first experiment.

    Args:
        plan: holds it.
        feed: of it, at its first step.
        learner: of it.
        steps: measured, after as many as warm up; the median counts.

    Returns:
        Milliseconds of one step by part (metrics and tracking are those of a whole run, spread over its steps), images
        of a step, and steps of a run.
    """
    rows = list(islice(_steps(feed, learner), 2 * steps))[steps:]
    epochs, batch = learner.training["schedule"]["epochs"], int(learner.training["batch_size"])
    run_steps = epochs * sum(1 for _ in feed.slices(len(feed.sampling.next_epoch())))
    parts = {part: statistics.median(row[part] for row in rows) for part in STEP_PARTS}
    parts["metrics"] = _timed(lambda: [learner.evaluate(split) for split in ("validation", "test")]) / run_steps
    parts["tracking"] = _tracking(plan, learner, learner.evaluate("test")[1]) / run_steps
    return {"milliseconds": parts, "batch": batch, "steps": run_steps}


def _steps(feed: Feed, learner: Learner) -> Iterator[dict[str, float]]:
    """Steps as feed and learner take them, with a clock between their parts that waits for the device."""
    precision, device = feed.training["precision"], feed.device
    for epoch in count():
        feed.begin_epoch(epoch)
        batches, order = feed.prepared_batches(), feed.order
        while True:
            clock, last = dict.fromkeys(STEP_PARTS, 0.0), [time.perf_counter()]

            def tick(part: str, clock: dict[str, float] = clock, last: list[float] = last) -> None:
                wait_for(device)
                last.append(time.perf_counter())
                clock[part] += 1000 * (last[-1] - last[-2])

            if (drawn := next(batches, None)) is None:
                break
            indices, prepared = order[drawn[0]].to(device), drawn[1]
            tick("augmentation")
            images, targets = feed.data.batch(indices), feed.data.targets(indices)
            tick("data")
            pixels = augment_prepared(images, prepared, feed.augmentation)
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            tick("augmentation")
            with autocast(precision, device):
                features = learner.network.frozen_part(pixels)
                tick("frozen forward")
                logits = learner.network.learning_part(features)
                tick("learning forward")
            loss = learner.loss(logits, targets)
            tick("loss")
            learner.optimiser.clear_gradients()
            tick("optimiser")
            loss.backward()
            tick("backward")
            learner.optimiser.clip_and_step()
            tick("optimiser")
            yield clock
        feed.end_epoch()


def _tracking(plan: Plan, learner: Learner, scores: NDArray[np.float32]) -> float:
    """Milliseconds that the journal and the upload of a whole run take, in a store of their own."""
    planned, epochs = plan.experiments[0], learner.training["schedule"]["epochs"]
    metrics = {"train/loss": 0.1, "train/learning_rate": 0.1}
    with TemporaryDirectory() as folder:
        store = open_store(Path(folder))
        run = store.runs / planned.experiment.id
        run.mkdir(parents=True)
        torch.save(learner.network.state_dict(), run / "weights.pt")
        np.savez_compressed(run / "test_scores.npz", scores=scores)
        (run / "experiment.json").write_text(planned.experiment.to_json())
        (run / "provenance.json").write_text(json.dumps({**code_version(), **machine(str(learner.device), 1)}))
        journal = Journal(run)
        journal.append("start")
        appended = _timed(lambda: [journal.append("epoch", step=epoch, metrics=metrics) for epoch in range(epochs)])
        journal.append("finished", step=epochs)
        upload(store, planned, plan.name)
        # Again: the first upload also opened the store. Nothing is there twice; the work is the same.
        return appended + _timed(lambda: upload(store, planned, plan.name))


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)
