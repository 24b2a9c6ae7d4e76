"""Uploading beside training: a thread brings ended runs to MLflow, and asks a server that is away again."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from ...errors import InputError
from ..experiments.plan import PlannedExperiment
from .upload import Uploader

FIRST_WAIT_SECONDS = 2.0
LONGEST_WAIT_SECONDS = 60.0
# Without a run brought home for so long after the last experiment, the rest is left to `mltbench sync`.
PATIENCE_SECONDS = 120.0
# What asking again does not mend.
FINAL_ERRORS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "PERMISSION_DENIED", "UNAUTHENTICATED", "INVALID_STATE")

NotUploaded = list[tuple[PlannedExperiment, str]]


class UploadThread:
    """Brings runs to MLflow in their order; a server that is away is asked again after 2 s, 4 s, up to a minute.

    Args:
        uploader: that brings one run.
        on_ended: called, in the thread, when a run has been brought or given up.
    """

    def __init__(self, uploader: Uploader, *, on_ended: Callable[[PlannedExperiment], None]) -> None:
        self.uploader, self.on_ended = uploader, on_ended
        self._waiting: deque[PlannedExperiment] = deque()
        self._given_up: NotUploaded = []
        self._reason = "not tried"
        self._news = threading.Condition()
        self._over = False
        self._progress = 0
        self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)
        self._thread.start()

    def put(self, planned: PlannedExperiment) -> None:
        """Ask for a run to be brought; returns at once."""
        with self._news:
            self._waiting.append(planned)
            self._news.notify()

    def finish(self, status: str, *, patience: float = PATIENCE_SECONDS) -> NotUploaded:
        """Bring what waits, asking once more; return what could not be brought, with the reasons.

        Args:
            status: of the plan's own run in MLflow.
            patience: seconds without a run brought after which the rest is left.
        """
        with self._news:
            self._over = True
            self._news.notify()
        seen, since = self._progress, time.monotonic()
        while self._thread.is_alive() and time.monotonic() - since < patience:
            self._thread.join(0.1)
            if self._progress != seen:
                seen, since = self._progress, time.monotonic()
        if not self._waiting and not self._thread.is_alive():
            self.uploader.close(status)
        return [*self._given_up, *((planned, self._reason) for planned in self._waiting)]

    @property
    def waiting(self) -> int:
        """Runs that are still to be brought."""
        return len(self._waiting)

    def _run(self) -> None:
        # What is opened now keeps nobody waiting later; what is wrong with it, the first upload tells.
        with suppress(Exception):
            _ = self.uploader.client
        pause = FIRST_WAIT_SECONDS
        while True:
            with self._news:
                while not self._waiting and not self._over:
                    self._news.wait()
                if not self._waiting:
                    return
                last_try = self._over
            if self._brought(self._waiting[0]):
                pause = FIRST_WAIT_SECONDS
            elif last_try:
                return
            else:
                with self._news:
                    self._news.wait_for(lambda: self._over, timeout=pause)
                pause = min(2 * pause, LONGEST_WAIT_SECONDS)

    def _brought(self, planned: PlannedExperiment) -> bool:
        """Bring one run; False if it is worth asking again."""
        # Whatever goes wrong here is a run that is not in MLflow yet; the thread must live on for the others.
        try:
            self.uploader.upload(planned)
        except Exception as error:
            self._reason = str(error).partition("\n")[0] or type(error).__name__
            if not isinstance(error, InputError) and getattr(error, "error_code", None) not in FINAL_ERRORS:
                return False
            self._given_up.append((planned, self._reason))
        self._waiting.popleft()
        self._progress += 1
        self.on_ended(planned)
        return True
