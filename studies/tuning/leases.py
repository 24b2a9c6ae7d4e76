"""Leases on trials of a journal file, which has no heartbeat of its own: who trains a trial says so while alive."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from ...benchmark.executors.claims import HeartbeatThread
from ...files import safe_file_name
from .storage import BEATS_PER_GRACE, MAX_RETRIES

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


class Leases:
    """Leases of one study, as files beside its journal.

    A lease is a file that its holder touches; it is void when it has not been touched for `grace` seconds, or at once
    when its holder was a process of this machine that is gone.

    Args:
        folder: of the study.
        grace: seconds without a sign of life.
    """

    def __init__(self, folder: Path, *, grace: int) -> None:
        self.folder, self.grace = folder / "leases", grace
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.folder / "lock")

    @contextmanager
    def hold(self, study: Study, number: int) -> Iterator[None]:
        """Hold the lease of a trial of this process."""
        path = self._path(study, number)
        path.write_text(json.dumps({"process": os.getpid(), "host": socket.gethostname()}))
        heartbeat = HeartbeatThread(path.touch, max(self.grace / BEATS_PER_GRACE, 0.1))
        heartbeat.start()
        try:
            yield
        finally:
            heartbeat.stop()
            path.unlink(missing_ok=True)

    def take_over(self, study: Study) -> list[int]:
        """Queue the trials whose holders are dead once more, then mark them as failed; return their numbers.

        The queued copy comes first: whoever is killed between the two leaves a trial that is found again, with a copy
        that is there already.
        """
        from optuna.trial import TrialState

        with self._lock:
            running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            stale = [trial for trial in running if self._is_void(study, trial)]
            for trial in stale:
                queue_again(study, trial, max_retries=MAX_RETRIES)
                study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
                self._path(study, trial.number).unlink(missing_ok=True)
        return [trial.number for trial in stale]

    def _is_void(self, study: Study, trial: FrozenTrial) -> bool:
        path = self._path(study, trial.number)
        try:
            age, text = time.time() - path.stat().st_mtime, path.read_text()
        except FileNotFoundError:
            # Killed between taking the trial and its lease, or about to take the lease.
            started = trial.datetime_start
            return started is not None and time.time() - started.timestamp() > self.grace
        if age > self.grace:
            return True
        holder = json.loads(text) if text else {}
        return holder.get("host") == socket.gethostname() and not is_alive(holder["process"])

    def _path(self, study: Study, number: int) -> Path:
        arm = study.study_name.rpartition("/")[2]
        return self.folder / safe_file_name(f"{arm}-{number}.json")


def queue_again(study: Study, trial: FrozenTrial, *, max_retries: int | None) -> None:
    """Queue a trial's parameters once more, unless that was done; Optuna's own marks tell whose copy it is.

    Args:
        study: of the trial.
        trial: that did not come to its end.
        max_retries: copies of one trial that there may be; None for any number.
    """
    import optuna

    history = [*trial.system_attrs.get("retry_history", []), trial.number]
    copies = study.get_trials(deepcopy=False)
    if any(copy.system_attrs.get("retry_history", []) == history for copy in copies):
        return
    if max_retries is not None and len(history) > max_retries:
        return
    kept = {key: value for key, value in trial.user_attrs.items() if key != "result"}
    study.add_trial(
        optuna.create_trial(
            state=optuna.trial.TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=kept,
            system_attrs={"failed_trial": trial.number, **trial.system_attrs, "retry_history": history},
        )
    )


def is_alive(process: int) -> bool:
    """Whether a process of this machine is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(process)


def _is_zombie(process: int) -> bool:
    """A killed child that its parent has not looked at yet still has a number."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
