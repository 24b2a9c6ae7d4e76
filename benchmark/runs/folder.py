"""A run folder: who holds it, what became of its run, and what it keeps.

lock              held by the process that trains here, or uploads; the operating system frees it with its holder
heartbeat.json    who that is, for people, and for shared folders whose file system has no locks between machines
experiment.json   what is run                labels.json       how people know it, and the plan that asked for it
journal.jsonl     everything that happened   checkpoint.mlt    where an interrupted run resumes
provenance.json, per_class.json, test_scores.npz, weights.pt   what a finished run leaves
"""

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from filelock import FileLock, Timeout

from ...errors import InputError
from ...files import replacing
from ..experiments.experiment import Experiment
from ..experiments.plan import PlannedExperiment
from ..networks.initial_weights import InitialWeights
from .journal import Entry, Journal, read_journal

LOCK_NAME, HEARTBEAT_NAME, LABELS_NAME = "lock", "heartbeat.json", "labels.json"
BEAT_SECONDS = 5.0
# A machine that was suspended or whose disk hangs for a moment is not dead.
STALE_SECONDS = 60.0
# A process that asks for a run's state takes its lock for a moment.
PATIENCE_SECONDS = 0.5
# What is kept of a run, in MLflow and when it is copied from another machine.
ARTIFACTS = ("experiment.json", "provenance.json", "per_class.json", "test_scores.npz", "weights.pt", "journal.jsonl")


def resolve_results_root(given: Path | None = None) -> Path:
    """Where results live: the given path, else MLTBENCH_HOME, else `mltbench-results` in the current folder."""
    return given or Path(os.environ.get("MLTBENCH_HOME") or "mltbench-results")


class HeldError(InputError):
    """Another process runs this experiment."""


class State(StrEnum):
    """What an experiment is doing."""

    PENDING = "pending"
    """Not begun."""
    RUNNING = "running"
    """Its folder is locked, or a machine elsewhere gave a sign of life within a minute."""
    FINISHED = "finished"
    """Trained and scored."""
    FAILED = "failed"
    """Ended by an error; it is trained anew when it is asked for again."""
    STOPPED = "stopped"
    """Ended early by its observer: a pruned trial of a study."""
    INTERRUPTED = "interrupted"
    """Begun and not ended; it resumes from its checkpoint when it is asked for again."""


ENDED = (State.FINISHED, State.FAILED, State.STOPPED)


@dataclass(kw_only=True)
class Heartbeat:
    """Who runs an experiment: process, machine, time of the last sign of life (seconds since 1970), training steps."""

    host: str
    pid: int
    time: float
    steps: int = 0

    @property
    def age(self) -> float:
        """Seconds since the last sign of life."""
        return max(0.0, time.time() - self.time)

    @property
    def is_elsewhere(self) -> bool:
        """Whether another machine runs it: there, the lock of a shared folder may not be seen."""
        return self.host != socket.gethostname() and self.age < STALE_SECONDS

    def describe(self) -> str:
        """Say who it is."""
        return f"process {self.pid} on {self.host}, last sign of life {self.age:.0f} s ago"


@dataclass(frozen=True, kw_only=True)
class RunState:
    """Where an experiment stands."""

    state: State  # what it is doing
    epoch: int = 0  # epochs in its journal
    step: int | None = None  # training step at which it failed or was interrupted, where that is known
    reason: str = ""  # why it failed, stopped or was interrupted, else empty
    ended: int = 0  # when its journal's last entry was written, in milliseconds since 1970; 0 without one
    heartbeat: Heartbeat | None = None  # its last sign of life while it runs, and after it was killed

    @property
    def is_finished(self) -> bool:
        """Whether it was trained and scored."""
        return self.state is State.FINISHED

    @property
    def is_ended(self) -> bool:
        """Whether it is finished, failed or stopped."""
        return self.state in ENDED


class RunFolder:
    """The folder of one run, which need not exist; its name is the experiment's id."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.journal = Journal(self.path)

    @property
    def name(self) -> str:
        """Id of the experiment."""
        return self.path.name

    def entries(self) -> list[Entry]:
        """Entries of the journal."""
        return read_journal(self.path)

    def heartbeat(self) -> Heartbeat | None:
        """The last sign of life of the process that runs the experiment, or ran it until it was killed."""
        with suppress(OSError, ValueError, TypeError):
            return Heartbeat(**json.loads((self.path / HEARTBEAT_NAME).read_text(encoding="utf-8")))
        return None

    def state(self) -> RunState:
        """Read where the run stands, from its journal and its lock; nothing else decides it."""
        entries = self.entries()
        last = entries[-1] if entries else None
        epoch = max((entry.step for entry in entries), default=0)
        if last and last.event == State.FINISHED:
            return RunState(state=State.FINISHED, epoch=last.step, ended=last.time)
        beat = self.heartbeat()
        if self._is_held(beat):
            return RunState(state=State.RUNNING, epoch=epoch, heartbeat=beat)
        if last is None:
            return RunState(state=State.PENDING)
        return RunState(
            state=State(last.event) if last.event in ENDED else State.INTERRUPTED,
            epoch=epoch,
            step=last.details.get("steps"),
            reason=str(last.details.get("reason", "")),
            ended=last.time,
            heartbeat=beat,
        )

    @contextmanager
    def hold(self) -> Iterator[Heartbeat]:
        """Hold the folder: while inside, no other process runs it, and its heartbeat is written every few seconds.

        Raises:
            HeldError: if another process holds it.
            InputError: if the file system has no locks.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(self.path / LOCK_NAME).acquire(timeout=PATIENCE_SECONDS)
        except Timeout:
            beat = self.heartbeat()
            raise HeldError(f"{self.name} is being run by {beat.describe() if beat else 'another process'}") from None
        except NotImplementedError as error:
            raise InputError(
                f"{self.path} cannot be locked ({error}); keep results on a file system with locks (--out)"
            ) from error
        with lock:
            if (beat := self.heartbeat()) and beat.is_elsewhere:
                raise HeldError(f"{self.name} is being run by {beat.describe()}")
            beat = Heartbeat(host=socket.gethostname(), pid=os.getpid(), time=time.time())
            stop = threading.Event()
            thread = threading.Thread(target=self._beat, args=(beat, stop), daemon=True)
            thread.start()
            try:
                yield beat
            finally:
                stop.set()
                thread.join()
                (self.path / HEARTBEAT_NAME).unlink(missing_ok=True)

    def clear(self) -> None:
        """Empty the folder, which must be held, but for lock, heartbeat and display names."""
        for path in self.path.iterdir():
            if path.name not in (LOCK_NAME, HEARTBEAT_NAME, f".{HEARTBEAT_NAME}", LABELS_NAME):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def announce(self, planned: PlannedExperiment, plan: str) -> None:
        """Keep what is planned here, for `mltbench status` and `mltbench sync`, unless it was kept before."""
        if not (self.path / LABELS_NAME).exists():
            self.write_labels(planned, plan)
            (self.path / "experiment.json").write_text(planned.experiment.to_json(), encoding="utf-8")

    def write_labels(self, planned: PlannedExperiment, plan: str) -> None:
        """Write what people call the experiment, so that the folder alone can be uploaded to MLflow."""
        labels = {
            "plan": plan,
            "title": planned.title,
            "recipe": planned.recipe,
            "settings": planned.settings,
            "values": planned.values,
            "images": planned.images,
            "weights_file": str(planned.weights.file) if planned.weights.file else None,
            "weights_settings": dict(planned.weights.settings),
            "tags": dict(planned.tags),
        }
        with replacing(self.path / LABELS_NAME) as file:
            file.write(json.dumps(labels, indent=1).encode())

    def planned(self) -> tuple[PlannedExperiment, str]:
        """Read the planned experiment, and the name of the plan that asked for it.

        A folder without labels, of an older version, gives what its experiment says.

        Raises:
            InputError: if the folder holds no experiment that this version reads.
        """
        try:
            text = (self.path / "experiment.json").read_text(encoding="utf-8")
            experiment = Experiment.from_json(text)
            file = self.path / LABELS_NAME
            labels = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
            title = json.loads(text)["labels"]["title"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.path} holds no experiment that this version reads: {error}") from error
        weights = InitialWeights(
            backbone=experiment.backbone,
            digest=experiment.weights_digest,
            input=experiment.input_format,
            file=Path(labels["weights_file"]) if labels.get("weights_file") else None,
            settings=labels.get("weights_settings", {}),
        )
        planned = PlannedExperiment(
            experiment=experiment,
            title=labels.get("title", title),
            recipe=labels.get("recipe", "unknown"),
            settings=tuple(labels.get("settings", ())),
            images=labels.get("images", 0),
            weights=weights,
            values=labels.get("values", ""),
            tags=labels.get("tags", {}),
        )
        return planned, labels.get("plan", f"runs of {experiment.dataset}")

    def planned_or_none(self) -> PlannedExperiment | None:
        """The planned experiment, or None where this version cannot read it."""
        with suppress(InputError):
            return self.planned()[0]
        return None

    def _is_held(self, beat: Heartbeat | None) -> bool:
        if beat and beat.is_elsewhere:
            return True
        path = self.path / LOCK_NAME
        if not path.exists():
            return False
        try:
            FileLock(path).acquire(blocking=False).lock.release()
        except Timeout:
            return True
        except OSError:  # a folder that may only be read: its lock cannot be tried
            return beat is not None and beat.age < STALE_SECONDS
        return False

    def _beat(self, beat: Heartbeat, stop: threading.Event) -> None:
        aside = self.path / f".{HEARTBEAT_NAME}"
        while True:
            beat.time = time.time()
            # A full disk ends no training here; the checkpoint or the journal will meet it.
            with suppress(OSError):
                aside.write_text(json.dumps(asdict(beat)), encoding="utf-8")
                aside.replace(self.path / HEARTBEAT_NAME)
            if stop.wait(BEAT_SECONDS):
                return
