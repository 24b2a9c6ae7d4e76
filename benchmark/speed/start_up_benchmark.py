"""How long `mltbench run` takes to its first training step, and what of it is planning and starting a worker."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ...errors import InputError
from ..experiments.display_names import LABELS_NAME
from ..runs.journal import JOURNAL_NAME
from ..tracking.store import open_store
from ..training.checkpoint import CHECKPOINT_NAME

# What a run has written when it is so far; a checkpoint is asked for after every step.
MARKS = {"planned": LABELS_NAME, "worker begun": JOURNAL_NAME, "first step": CHECKPOINT_NAME}
LOOK_SECONDS, LIMIT_SECONDS = 0.005, 120.0


@dataclass(frozen=True, kw_only=True)
class StartUp:
    """Starts of one kind.

    Attributes:
        workers: experiments at once.
        folder: `new`, in which MLflow has yet to make its tables, or `existing`.
        seconds: until each of `MARKS`, one row per start.
    """

    workers: int
    folder: str
    seconds: tuple[tuple[float, ...], ...]

    @property
    def medians(self) -> tuple[float, ...]:
        """Median seconds until each of `MARKS`."""
        return tuple(statistics.median(column) for column in zip(*self.seconds, strict=True))


def measure_start_ups(dataset: str, method: str, *, data_root: Path, workers: int, repeats: int) -> list[StartUp]:
    """Measure starts with one worker and with all, in a new results folder and in an existing one; kinds take turns.

    Args:
        dataset: prepared before.
        method: what is trained, with one seed per worker.
        data_root: where datasets are kept.
        workers: experiments at once.
        repeats: starts of each kind.

    Raises:
        InputError: if a command ends before its first step.
    """
    kinds = [(number, folder) for number in dict.fromkeys((1, workers)) for folder in ("new", "existing")]
    found: dict[tuple[int, str], list[tuple[float, ...]]] = {kind: [] for kind in kinds}
    command = [sys.executable, "-m", "mltbench", "run", "--dataset", dataset, "--method", method, "--device", "cpu"]
    command += ["--checkpoint-every", "0", "--data-root", str(data_root)]
    with TemporaryDirectory() as name:
        existing = Path(name) / "existing"
        open_store(existing)
        for _ in range(repeats):
            for number, folder in kinds:
                out = Path(name) / folder
                shutil.rmtree(out if folder == "new" else out / "runs", ignore_errors=True)
                words = ["--seeds", str(number), "--workers", str(number), "--out", str(out)]
                found[number, folder].append(_start([*command, *words], out / "runs"))
    return [StartUp(workers=number, folder=folder, seconds=tuple(rows)) for (number, folder), rows in found.items()]


def _start(command: Sequence[str], runs: Path) -> tuple[float, ...]:
    """Seconds until each mark is there in any run; then the command is killed, and its workers end."""
    seen, began = dict[str, float](), time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while len(seen) < len(MARKS) and process.poll() is None and time.perf_counter() - began < LIMIT_SECONDS:
            for mark, name in MARKS.items():
                if mark not in seen and any(runs.glob(f"*/{name}")):
                    seen[mark] = time.perf_counter() - began
            time.sleep(LOOK_SECONDS)
        process.kill()
        _, errors = process.communicate()
    if len(seen) < len(MARKS):
        raise InputError(f"`{' '.join(command)}` took no step, in {LIMIT_SECONDS:.0f} s at most: {errors.strip()}")
    return tuple(seen[mark] for mark in MARKS)
