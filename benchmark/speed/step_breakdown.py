"""Where the time of a training goes: each part of the step, and what a run does besides, as shares."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from ..experiments.plan import Plan
from ..runs.journal import Journal
from ..runs.provenance import code_version, machine
from ..tracking.store import open_store
from ..tracking.upload import upload
from ..training.augmentation import augment_prepared
from ..training.devices import wait_for
from ..training.trainer import EpochCourse, Trainer

STEP_PARTS = ("data", "augmentation", "frozen forward", "learning forward", "loss", "backward", "optimiser")


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """Milliseconds of one step by part; metrics and tracking are those of a whole run, spread over its steps.

    Attributes:
        parts: by name, in the order of the step.
        batch: images of a step.
        steps: of a whole run.
    """

    parts: Mapping[str, float]
    batch: int
    steps: int

    def share(self, part: str) -> float:
        """Share of the whole, 0..1."""
        return self.parts[part] / sum(self.parts.values())


def break_down(plan: Plan, trainer: Trainer, *, steps: int) -> Breakdown:
    """Measure a plan's first experiment.

    Args:
        plan: holds it.
        trainer: of it, at its first step.
        steps: measured, after as many as warm up; the median counts.
    """
    schedule, batch = trainer.training["schedule"], int(trainer.training["batch_size"])
    rows: list[dict[str, float]] = []
    while len(rows) < 2 * steps:
        course = trainer.begin_epoch(0)
        for piece in trainer.batches(len(course.indices)):
            if len(rows) == 2 * steps:
                break
            rows.append(_step(trainer, course, piece))
    per_epoch = sum(1 for _ in trainer.batches(len(course.indices)))
    parts = {part: statistics.median(row[part] for row in rows[steps:]) for part in STEP_PARTS}
    run_steps = schedule["epochs"] * per_epoch
    parts["metrics"] = _timed(lambda: [trainer.evaluate(split) for split in ("validation", "test")]) / run_steps
    parts["tracking"] = _tracking(plan, trainer, trainer.evaluate("test")[1]) / run_steps
    return Breakdown(parts=parts, batch=batch, steps=run_steps)


class _Clock:
    """Times one part after the other; waits for the device at each boundary."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.parts = device, dict[str, float]()
        self._last = self._now()

    def __call__(self, part: str) -> None:
        now = self._now()
        self.parts[part] = self.parts.get(part, 0.0) + 1000 * (now - self._last)
        self._last = now

    def _now(self) -> float:
        wait_for(self.device)
        return time.perf_counter()


def _step(trainer: Trainer, course: EpochCourse, batch: slice) -> dict[str, float]:
    """One step as `Trainer.train_step` takes it, with a clock between its parts."""
    clock, indices = _Clock(trainer.device), course.on_device[batch]
    images, targets = trainer.data.batch(indices), trainer.data.targets(indices)
    clock("data")
    pixels = augment_prepared(images, trainer.prepare(trainer.draw(len(indices))), trainer.augmentation)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    clock("augmentation")
    with trainer.autocast():
        stem = trainer.network.frozen_part(pixels)
        clock("frozen forward")
        logits = trainer.network.learning_part(stem)
        clock("learning forward")
    loss = trainer.loss(logits, targets)
    clock("loss")
    trainer.optimiser.clear_gradients()
    clock("optimiser")
    loss.backward()
    clock("backward")
    trainer.optimiser.clip_and_step()
    clock("optimiser")
    return clock.parts


def _tracking(plan: Plan, trainer: Trainer, scores: NDArray[np.float32]) -> float:
    """Milliseconds that the journal and the upload of a whole run take, in a store of their own."""
    planned, epochs = plan.experiments[0], trainer.training["schedule"]["epochs"]
    metrics = {"train/loss": 0.1, "train/learning_rate": 0.1}
    with TemporaryDirectory() as folder:
        store = open_store(Path(folder))
        run = store.runs / planned.experiment.id
        run.mkdir(parents=True)
        torch.save(trainer.network.state_dict(), run / "weights.pt")
        np.savez_compressed(run / "test_scores.npz", scores=scores)
        (run / "experiment.json").write_text(planned.experiment.to_json())
        (run / "provenance.json").write_text(json.dumps({**code_version(), **machine(str(trainer.device), 1)}))
        journal = Journal(run)
        journal.append("start")

        def write_epochs() -> None:
            for epoch in range(epochs):
                journal.append("epoch", step=epoch, metrics=metrics)

        appended = _timed(write_epochs)
        journal.append("finished", step=epochs)
        upload(store, planned, plan.name)
        # Again: the first upload also opened the store. Nothing is there twice; the work is the same.
        uploaded = _timed(lambda: upload(store, planned, plan.name))
    return appended + uploaded


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)
