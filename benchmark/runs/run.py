"""Training a cohort, each experiment in its own folder. Knows nothing of MLflow or plans."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ...datasets.dataset import Dataset
from ...datasets.registry import load_dataset
from ...datasets.word_vectors import hashed_word_vectors, read_word_vectors
from ...errors import InputError
from ...files import DiskFullError, is_disk_full, reporting_full_disk, write_durably
from ...methods.plugins import load_plugins
from ..experiments.experiment import Experiment
from ..networks.initial_weights import find_weights
from ..training.checkpoint import Checkpoint, Header, remove_checkpoints, whole_checkpoints, write_checkpoint
from ..training.devices import set_up_process
from ..training.execution import DivergedError, Execution, ExecutionChangedError, StoppedEarly
from ..training.feed import Feed
from ..training.generators import GeneratorTurns
from ..training.learner import Learner
from .folder import Heartbeat, HeldError, RunFolder, State
from .interruption import Interrupted, StopRequest, stop_requests
from .job import Job, Member
from .outcome import peak_memory_mib, write_outcome
from .provenance import code_version, machine

# At most this share of the time goes into checkpoints, however slow the disk.
WRITING_SHARE = 0.02

OnEpoch = Callable[[int, Mapping[str, float]], None]


class UnusableCheckpointError(ValueError):
    """The checkpoint is whole, but this code cannot resume from it."""


def run_cohort(job: Job, *, on_epoch: OnEpoch | None = None) -> bool:
    """Train the experiments of a job together, or the rest of them; return whether all are finished.

    What another process runs is left to it; the state of its folder says so. The others share the batches of one
    `Feed`, and with them the pass through the frozen trunk. Their bits are those of
    separate training. An error of one ends up in its journal, as `failed` with its reason, and the others continue.

    Args:
        job: what to train.
        on_epoch: called after each epoch's journal entry of each experiment with the epochs done and its metrics
            (`validation/...` among them when the split was scored). Raising `StoppedEarly` ends the experiment: its
            journal says `stopped`.

    Raises:
        ExecutionChangedError: when all others have ended, if one was interrupted with another number of threads or on
            another kind of device.
        DiskFullError: if the disk is full; the last checkpoints are whole.
        Interrupted: if a signal came; the step is finished and checkpoints are written.
    """
    set_up_process(job.execution.threads)
    refused: list[InputError] = []
    with reporting_full_disk(Path(job.members[0].folder).parent), stop_requests() as request, ExitStack() as holding:
        runs = []
        for member in job.members:
            folder, held = RunFolder(member.folder), holding.enter_context(ExitStack())
            try:
                heartbeat = held.enter_context(folder.hold())
                if not folder.state().is_finished:
                    runs.append(_Run(member, job, folder, heartbeat, held))
            except HeldError:
                continue  # the folder's state says so
            except ExecutionChangedError as error:
                refused.append(error)
        for runs_of_a_step in _by_common_step(runs):
            if request.number is None:
                _Cohort(runs_of_a_step, job, request, on_epoch).train()
    if refused:
        raise refused[0]
    return all(RunFolder(member.folder).state().is_finished for member in job.members)


def checkpoints_for(folder: RunFolder, experiment: str, execution: Execution) -> list[Checkpoint]:
    """The whole checkpoints from which a run in this folder may resume, newest first; none if it starts anew.

    Raises:
        ExecutionChangedError: if there are some, of another kind of device or another number of threads.
    """
    entries = folder.entries()
    if not entries or entries[-1].event in (State.FAILED, State.STOPPED):
        return []
    epochs = {entry.step for entry in entries if entry.event == "epoch"}
    found = whole_checkpoints(folder.path, experiment, attempt=entries[0].time, epochs=epochs)
    device = execution.device.partition(":")[0]
    for checkpoint in found:
        was = checkpoint.header
        if (was.device, was.threads) != (device, execution.threads):
            raise ExecutionChangedError(
                f"{folder.name} was interrupted at step {was.steps:,} on {was.device} with --threads {was.threads}; "
                f"on {device} with --threads {execution.threads} it would not give the same bits. Resume with "
                f"--device {was.device} --threads {was.threads}, or train it from its beginning: --restart"
            )
    return found


def _by_common_step(runs: Sequence[_Run]) -> Iterator[list[_Run]]:
    """Divide runs into cohorts that can begin at the same step: a checkpoint of each, or the beginning.

    Cohorts write their checkpoints at the same steps, so that a kill leaves one step that all have.
    """
    left = list(runs)
    while left:
        steps = Counter(step for run in left for step in run.possible_steps)
        step = max(steps, key=lambda step: (steps[step], step))
        together = [run for run in left if step in run.possible_steps]
        for run in together:
            run.begin_at(step)
        left = [run for run in left if run not in together]
        yield together


@dataclass(kw_only=True)
class Progress:
    """How far a run is beside what its learner knows: epochs and images done, seconds spent in training."""

    epochs: int = 0
    images: int = 0
    seconds: float = 0.0


class _Run:
    """One experiment of a cohort under way."""

    def __init__(self, member: Member, job: Job, folder: RunFolder, heartbeat: Heartbeat, held: ExitStack) -> None:
        self.member, self.job, self.folder, self.heartbeat, self.held = member, job, folder, heartbeat, held
        self.checkpoints = [] if job.restart else checkpoints_for(folder, member.experiment_id, job.execution)
        self.checkpoint: Checkpoint | None = None
        self.progress = Progress()
        self.learner: Learner

    @property
    def possible_steps(self) -> list[int]:
        """Training steps at which it can begin."""
        return [checkpoint.header.steps for checkpoint in self.checkpoints] or [0]

    def begin_at(self, step: int) -> None:
        """Choose the checkpoint of this step; without one, clear the folder: failures are never cached."""
        self.checkpoint = next((c for c in self.checkpoints if c.header.steps == step), None)
        if self.checkpoint is None:
            self.start_anew()

    def start_anew(self) -> None:
        """Clear the folder and write the first entry of a new journal."""
        self.checkpoint, self.progress = None, Progress()
        self.folder.clear()
        execution, path = self.job.execution, self.folder.path
        provenance = {**code_version(), **machine(execution.device, execution.threads), "command": self.job.command}
        if len(self.job.members) > 1:
            # Its seconds are a share of the cohort's, its peak of memory is the cohort's.
            provenance["cohort"] = str(len(self.job.members))
        write_durably(path / "experiment.json", self.member.experiment_json.encode())
        write_durably(path / "provenance.json", json.dumps(provenance, indent=1).encode())
        self.folder.journal.append("start", execution=asdict(execution), durable=True)

    def open(self, dataset: Dataset) -> None:
        """Build its learner."""
        experiment = Experiment.from_json(self.member.experiment_json)
        if dataset.digest != experiment.dataset_digest:
            raise InputError(
                f"dataset {dataset.name} has digest {dataset.digest[:12]} here, "
                f"the experiment was planned with {experiment.dataset_digest[:12]}; plan it again"
            )
        vectors = None
        if experiment.method.head.needs_word_vectors:
            file = self.job.word_vectors
            source = read_word_vectors(Path(file), dataset.classes) if file else hashed_word_vectors(dataset.classes)
            vectors = source.vectors
        weights = find_weights(experiment.backbone, experiment.weights_digest, self.member.weights, self.job.data_root)
        self.learner = Learner(experiment, dataset, self.job.execution, word_vectors=vectors, weights=weights)

    def end(self, event: str, reason: str, **details: Any) -> None:
        """Write the last entry of the journal."""
        done = max((entry.step for entry in self.folder.entries()), default=0)
        details = {"steps": self.heartbeat.steps, **details}
        self.folder.journal.append(event, step=done, reason=reason, durable=True, **details)

    def fail(self, error: Exception) -> None:
        """Write how an error has ended it; what may still be used is kept.

        Raises:
            DiskFullError: if the error is one of a full disk, for that ends the whole plan.
        """
        if is_disk_full(error):
            with suppress(OSError):
                self.end("interrupted", str(error))
            with reporting_full_disk(self.folder.path):
                raise error
        if isinstance(error, InputError) and self.checkpoint is not None:
            # Nothing was trained yet: what is wrong can be corrected, and what was trained before is kept.
            self.end("interrupted", str(error))
            return
        if isinstance(error, StoppedEarly):
            self.end("stopped", str(error))
        else:
            steps = {"steps": error.step} if isinstance(error, DivergedError) else {}
            self.end("failed", f"{type(error).__name__}: {error}", **steps)
        remove_checkpoints(self.folder.path)

    def finish(self, dataset: Dataset) -> None:
        """Score the network as it is and write everything that a finished run leaves."""
        learner, path, journal = self.learner, self.folder.path, self.folder.journal
        validation = learner.evaluate("validation", folder=path)[0] if "validation" in dataset.splits else None
        score_test = self.job.execution.score_test
        test, test_scores = learner.evaluate("test", folder=path) if score_test else (None, None)
        progress = self.progress
        rate = progress.images / progress.seconds
        cost = {"cost/train_seconds": progress.seconds, "cost/images_per_second": rate}
        if (peak := peak_memory_mib(learner.device)) is not None:
            cost["cost/peak_memory_mib"] = peak
        write_outcome(path, dataset, learner.network, validation=validation, test=test, test_scores=test_scores)
        metrics = {**(test.as_metrics("test") if test else {}), **cost}
        if validation:
            journal.append_once("evaluation", step=progress.epochs, metrics=validation.as_metrics("validation"))
        journal.append_once("test" if test else "cost", step=progress.epochs, metrics=metrics)
        slower: dict[str, Any] = learner.graphs.slower_because(learner.training["batch_size"])
        journal.append("finished", step=progress.epochs, durable=True, **slower)
        remove_checkpoints(path)


class _Cohort:
    """Runs that begin at the same step and share one feed; a run that ends early leaves the others to continue."""

    def __init__(self, runs: Sequence[_Run], job: Job, request: StopRequest, on_epoch: OnEpoch | None) -> None:
        self.runs, self.job, self.request, self.on_epoch = list(runs), job, request, on_epoch
        self.turns = GeneratorTurns(torch.device(job.execution.device))
        self._measured = self._due = 0.0

    def train(self) -> None:
        """Train all runs to their ends; see `run_cohort`."""
        try:
            with self.turns:
                try:
                    self._train()
                except UnusableCheckpointError:
                    for run in self.runs:
                        remove_checkpoints(run.folder.path)
                        run.start_anew()
                    self._train()
        except Interrupted as stop:
            for run in self.runs:
                run.end("interrupted", f"signal {stop}")
            raise
        except DiskFullError as error:
            for run in self.runs:
                with suppress(OSError):
                    run.end("interrupted", str(error))
            raise

    def _train(self) -> None:
        dataset = feed = None
        with self._ending(*self.runs):
            load_plugins(self.job.plugins)
            first = Experiment.from_json(self.runs[0].member.experiment_json)
            dataset = load_dataset(first.dataset, data_root=self.job.data_root)
        for run in self.runs[:] if dataset else ():
            with self._ending(run):
                run.open(dataset)
        if not self.runs:
            return
        with self._ending(*self.runs):
            feed = Feed(first, dataset, self.runs[0].learner.network, self.runs[0].learner.device)
            self._resume(feed)
            self._train_epochs(feed, epochs=first.training["schedule"]["epochs"])
        for run in self.runs[:]:
            with self._ending(run):
                run.finish(dataset)
                self.runs.remove(run)
                run.held.close()  # it can be uploaded while the others are scored

    def _resume(self, feed: Feed) -> None:
        for run in self.runs:
            self.turns.begin(run, run.learner.dropout_seed)
        for run in self.runs:
            if run.checkpoint is None:
                continue
            try:
                states = run.checkpoint.states()
                if run is self.runs[0]:
                    feed.load_state(states["trainer"])
                run.learner.load_state(states["trainer"])
                self.turns.load(run, states["generators"])
                run.progress = Progress(**states["progress"])
            except Exception as error:  # whatever another version of the code trips over
                raise UnusableCheckpointError(f"{type(error).__name__}: {error}") from error
        for run in self.runs:
            if run.checkpoint is not None:
                conditions, was = _conditions(self.job.execution), run.checkpoint.header.machine
                # Elsewhere it resumes, but with other last bits: a reader of the run should know.
                conditions |= {"moved_from": was} if was != conditions["machine"] else {}
                steps = run.heartbeat.steps = run.learner.steps
                run.folder.journal.append("resumed", step=run.progress.epochs, steps=steps, **conditions)
                run.checkpoint = None

    def _train_epochs(self, feed: Feed, *, epochs: int) -> None:
        self._measured, self._due = time.perf_counter(), time.monotonic() + self.job.execution.checkpoint_seconds
        for epoch in range(self.runs[0].progress.epochs, epochs):
            feed.begin_epoch(epoch)
            for batch in feed.batches():
                for run in self.runs[:]:
                    with self._ending(run), self.turns.of(run):
                        run.learner.learn(batch)
                        run.heartbeat.steps = run.learner.steps
                del batch
                if not self.runs:
                    return
                self._after_step(feed)
            for run in self.runs[:]:
                with self._ending(run), self.turns.of(run):
                    self._end_epoch(run, feed, epochs)
            feed.end_epoch()
            self._share_time()

    def _end_epoch(self, run: _Run, feed: Feed, epochs: int) -> None:
        learner, progress = run.learner, run.progress
        metrics = {"train/loss": learner.end_epoch(feed), "train/learning_rate": learner.optimiser.learning_rate}
        done, every = feed.epoch + 1, self.job.execution.evaluate_every
        # After the last epoch the validation split is scored in any case, later.
        if every and done % every == 0 and done < epochs:
            metrics |= learner.evaluate("validation", folder=run.folder.path)[0].as_metrics("validation")
        progress.images += feed.images
        run.folder.journal.append_once("epoch", step=done, metrics=metrics, images=progress.images)
        progress.epochs = done
        if self.on_epoch is not None:
            self.on_epoch(done, metrics)

    def _share_time(self) -> None:
        """Add the time since the last call to the runs, in equal shares."""
        now = time.perf_counter()
        for run in self.runs:
            run.progress.seconds += (now - self._measured) / len(self.runs)
        self._measured = now

    def _after_step(self, feed: Feed) -> None:
        """Write checkpoints when they are due; write them and end when a signal asked for it."""
        self._share_time()
        if self.request.number is not None or time.monotonic() >= self._due:
            self._save(feed)
        if self.request.number is not None:
            raise Interrupted(self.request.number)

    def _save(self, feed: Feed) -> None:
        began, execution = time.monotonic(), self.job.execution
        for run in self.runs:
            states = {
                "trainer": {**run.learner.state(), **feed.state()},
                "generators": self.turns.state(run),
                "progress": asdict(run.progress),
            }
            header = Header(
                experiment=run.member.experiment_id,
                attempt=run.folder.entries()[0].time,
                epochs=run.progress.epochs,
                steps=run.learner.steps,
                **_conditions(execution),
            )
            with reporting_full_disk(run.folder.path):
                run.folder.journal.sync()
                write_checkpoint(run.folder.path, header, states)
        seconds = time.monotonic() - began
        pause = max(execution.checkpoint_seconds, seconds / WRITING_SHARE) if execution.checkpoint_seconds else 0.0
        self._due = began + seconds + pause

    @contextmanager
    def _ending(self, *runs: _Run) -> Iterator[None]:
        """Within, an error ends these runs alone."""
        try:
            yield
        except UnusableCheckpointError:
            raise
        except Exception as error:
            for run in [run for run in runs if run in self.runs]:
                self.runs.remove(run)
                run.fail(error)


def _conditions(execution: Execution) -> dict[str, Any]:
    """What decides the last bits."""
    kind = execution.device.partition(":")[0]
    name = machine(execution.device, execution.threads)["device_name"]
    here = f"torch {code_version()['torch']} on {name}"
    return {"device": kind, "threads": execution.threads, "machine": here}
