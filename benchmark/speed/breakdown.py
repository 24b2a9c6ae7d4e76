"""Where the time of a training goes: each part of the step, and what a run does besides, as shares."""

import json
import statistics
import time
from collections.abc import Iterator
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
    """Measure a plan's first experiment, by its feed and learner at their first step.

    So many steps are measured, after as many that warm up; the median counts. Returns milliseconds of one step by part
    (metrics and tracking are those of a whole run, spread over its steps), images of a step, and steps of a run.
    """
    rows = list(islice(_steps(feed, learner, _Clock(feed.device)), 2 * steps))[steps:]
    epochs, batch = learner.training["schedule"]["epochs"], int(learner.training["batch_size"])
    run_steps = epochs * sum(1 for _ in feed.slices(len(feed.sampling.next_epoch())))
    parts = {part: statistics.median(row[part] for row in rows) for part in STEP_PARTS}
    started = time.perf_counter()
    *_, scores = [learner.evaluate(split)[1] for split in learner.dataset.splits[1:]]
    parts["metrics"] = 1000 * (time.perf_counter() - started) / run_steps
    parts["tracking"] = _tracking(plan, learner, scores) / run_steps
    return {"milliseconds": parts, "batch": batch, "steps": run_steps}


class _Clock:
    """Adds up the milliseconds of each part of a step; waits for the device at each boundary."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.parts, self.last = device, dict.fromkeys(STEP_PARTS, 0.0), time.perf_counter()

    def __call__(self, part: str) -> None:
        wait_for(self.device)
        now = time.perf_counter()
        self.parts[part] += 1000 * (now - self.last)
        self.last = now

    def read(self) -> dict[str, float]:
        """The parts of the step that has ended; the next one begins."""
        parts, self.parts, self.last = self.parts, dict.fromkeys(STEP_PARTS, 0.0), time.perf_counter()
        return parts


def _steps(feed: Feed, learner: Learner, clock: _Clock) -> Iterator[dict[str, float]]:
    """Steps as feed and learner take them, with the clock read between their parts."""
    for epoch in count():
        feed.begin_epoch(epoch)
        assert feed.order is not None
        order = feed.order.to(feed.device)
        clock.read()
        for place, prepared in feed.prepared_batches():
            clock("augmentation")
            images, targets = feed.data.batch(order[place]), feed.data.targets(order[place])
            beside = learner.place(epoch, order[place])
            clock("data")
            pixels = augment_prepared(images, prepared, feed.augmentation)
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            clock("augmentation")
            with autocast(feed.training["precision"], feed.device):
                features = learner.network.frozen_part(pixels)
                clock("frozen forward")
                logits = learner.network.learning_part(features)
                clock("learning forward")
            loss = learner.loss_of(logits, targets, *beside)
            clock("loss")
            learner.optimiser.clear_gradients()
            clock("optimiser")
            loss.backward()  # type: ignore[no-untyped-call]
            clock("backward")
            learner.optimiser.clip_and_step()
            clock("optimiser")
            yield clock.read()
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
        started = time.perf_counter()
        for epoch in range(epochs):
            journal.append("epoch", step=epoch, metrics=metrics)
        appended = time.perf_counter() - started
        journal.append("finished", step=epochs)
        upload(store, planned, plan.name)
        # Again: the first upload also opened the store. Nothing is there twice; the work is the same.
        started = time.perf_counter()
        upload(store, planned, plan.name)
        return 1000 * (appended + time.perf_counter() - started)
