"""Where a study is kept: a journal file on one machine, a database for many; Optuna's own storages both."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...benchmark.runs.journal import cut_torn_line
from ...errors import InputError, without_password
from ...files import safe_file_name

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage

JOURNAL = "journal.log"
LOCK_GRACE_SECONDS = 10
# A heartbeat six times within the grace: one or two late ones do not make a trial stale.
BEATS_PER_GRACE = 6
GRACE_SECONDS = 60
MAX_RETRIES = 3


def study_folder(root: Path, name: str) -> Path:
    """Folder of a study under the results root."""
    return root / "studies" / safe_file_name(name)


def study_names(root: Path) -> list[str]:
    """Names of the studies that are kept in journal files under the results root."""
    names: list[str] = []
    for journal in (root / "studies").glob(f"*/{JOURNAL}"):
        folder = journal.parent.name
        # A name that no folder can bear stands in the journal alone.
        names += [folder] if safe_file_name(folder) == folder else studies_in(_journal(journal))
    return sorted(names)


def open_storage(root: Path, name: str, url: str | None, *, grace: int = GRACE_SECONDS) -> BaseStorage:
    """Open the storage of a study: its journal file, or a database.

    Args:
        root: results root.
        name: of the study.
        url: of a database, such as `postgresql://user@host/studies`; None takes the journal file.
        grace: seconds without a heartbeat after which a trial of a database counts as lost.

    Raises:
        InputError: if the database cannot be opened.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if url is None:
        return _journal(study_folder(root, name) / JOURNAL)
    from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback

    try:
        with quiet():
            return RDBStorage(
                _with_driver(url),
                heartbeat_interval=max(1, grace // BEATS_PER_GRACE),
                grace_period=grace,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=MAX_RETRIES),
                engine_kwargs={"pool_pre_ping": True},
            )
    except Exception as error:
        reason = without_password(str(error).partition("\n")[0])
        raise InputError(
            f"the storage {without_password(url)} cannot be opened: {reason}; it must be an address such as "
            "postgresql://user:password@host/database (pip install 'mltbench[postgresql]'), of a database that MLflow "
            "does not use, for both keep the version of their tables under one name; or leave --storage out "
            "to keep the study in a journal file under --out"
        ) from error


def studies_in(storage: BaseStorage) -> dict[str, list[Any]]:
    """Frozen studies of Optuna in a storage, by the name of our study."""
    found: dict[str, list[Any]] = {}
    for frozen in storage.get_all_studies():
        if "definition" in frozen.user_attrs:
            found.setdefault(frozen.user_attrs["definition"]["name"], []).append(frozen)
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Within, Optuna does not say that its heartbeat and its names of metrics are experimental."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def optimise_once(study: Study, objective: Any, catch: tuple[type[Exception], ...]) -> None:
    """Ask, run and tell one trial, with Optuna's heartbeat where the storage has one."""
    with quiet():
        study.optimize(objective, n_trials=1, catch=catch)


def _with_driver(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise InputError(f"--storage {url!r} is no address; it must read like postgresql://user:password@host/database")
    return f"{scheme}+psycopg://{rest}" if scheme == "postgresql" else url


def _journal(path: Path) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    lock = JournalFileSymlinkLock(str(path), grace_period=LOCK_GRACE_SECONDS)

    class MendingBackend(JournalFileBackend):
        """Takes away the line that a killed process left unfinished before it writes the next one."""

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
            lock.acquire()
            try:
                with path.open("a+b") as file:
                    cut_torn_line(file)
                    file.write(lines.encode())
                    file.flush()
                    # A killed process loses nothing that it wrote. A machine that loses its power keeps every trial up
                    # to its last change of state; syncing each parameter and report took 3/4 of a trial's overhead.
                    if any("state" in log for log in logs):
                        os.fsync(file.fileno())
            finally:
                lock.release()

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(MendingBackend(str(path), lock_obj=lock))
    except OSError as error:
        raise InputError(
            f"cannot write the study to {path.parent}: {error.strerror}; give a writable folder with --out"
        ) from error
