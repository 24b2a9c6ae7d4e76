"""The results root and the MLflow store: opened once, by the parent, with a clear word when it cannot be."""

from __future__ import annotations

import logging
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ...errors import InputError, without_password
from ...files import safe_file_name
from .sqlite_runs import finished_ids, sqlite_file

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DATABASE = "mlflow.db"
ANSWER_WITHIN_SECONDS = 4.0
# At the start MLflow asks a server once and waits no longer than we would.
IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": str(int(ANSWER_WITHIN_SECONDS / 2)),
}
# MLflow's own names for runs of the suite; every one of its tags starts so.
TAG = "mltbench."
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
# MLflow's own page then opens as one of model training, with a word on how to read it.
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": "One parent run per plan, one child run per experiment (a method and a seed). "
    "`test/total`, `test/head`, `test/medium` and `test/tail` are mAP on the test split after the last epoch, in 0..1; "
    "`train/loss` and `train/learning_rate` are curves over epochs. Tags `mltbench.method`, `mltbench.seed` and "
    "`mltbench.overrides` tell rows apart; `mltbench.command` repeats a run.",
}


def resolve_results_root(given: Path | None = None) -> Path:
    """Where results live: the given path, else MLTBENCH_HOME, else `mltbench-results` in the current folder."""
    return given or Path(os.environ.get("MLTBENCH_HOME") or "mltbench-results")


@dataclass(frozen=True, kw_only=True)
class Store:
    """An MLflow store with the local folder of journals beside it.

    Attributes:
        root: results root.
        tracking_uri: of MLflow.
        opened_later: whether MLflow opens it when its client is first asked for.
    """

    root: Path
    tracking_uri: str
    opened_later: bool = False

    @property
    def runs(self) -> Path:
        """Folder of the run folders, one per experiment id."""
        return self.root / "runs"

    @property
    def origin(self) -> str:
        """The machine and the results root on it, by which plans of others in a shared MLflow are told apart."""
        return f"{socket.gethostname()}:{self.root.resolve()}"

    @cached_property
    def client(self) -> MlflowClient:
        """The MLflow client.

        Raises:
            InputError: if the store is opened only now, and MLflow cannot.
        """
        if self.opened_later:
            _let_mlflow_open(self, create=True)
        from mlflow import MlflowClient

        return MlflowClient(self.tracking_uri)

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Within, no other process is within the same; a tracking server has its own order, and is not asked."""
        if self.tracking_uri.startswith("postgresql"):
            from ..executors.database_claims import exclusively

            with exclusively(self.tracking_uri, what):
                yield
        elif self.tracking_uri.startswith("sqlite:"):
            from filelock import FileLock

            with FileLock(self.root / f".{what}.lock", timeout=60):
                yield
        else:
            yield

    def experiment(self, dataset: str) -> str:
        """Id of the MLflow experiment of a dataset, made when it is missing."""
        from mlflow.exceptions import MlflowException

        name = f"mltbench/{dataset}"
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        # A database keeps no files: they lie beside the journals. A server says itself where files go.
        database = urlsplit(self.tracking_uri).scheme.partition("+")[0] in DATABASES
        artifacts = (self.root / "artifacts" / safe_file_name(dataset)).resolve().as_uri() if database else None
        try:
            return str(self.client.create_experiment(name, artifact_location=artifacts, tags=EXPERIMENT_TAGS))
        except MlflowException:
            # Another process may have made it in this moment.
            found = self.client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def runs_of(self, dataset: str | None = None, *, kind: str = "experiment") -> list[Run]:
        """All runs of the suite of one kind, oldest first; of one dataset, or of all.

        Raises:
            InputError: if the store does not answer any more.
        """
        from mlflow.exceptions import MlflowException

        try:
            return list(self._search(dataset, kind))
        except (MlflowException, OSError) as error:
            reason = without_password(str(error).partition("\n")[0])
            raise InputError(
                f"MLflow at {without_password(self.tracking_uri)} has stopped to answer: {reason}; nothing that was "
                "trained is lost: give the command again when it answers"
            ) from error

    def _search(self, dataset: str | None, kind: str) -> Iterator[Run]:
        experiments = [
            experiment.experiment_id
            for experiment in self.client.search_experiments()
            if experiment.name == f"mltbench/{dataset}" or (dataset is None and experiment.name.startswith("mltbench/"))
        ]
        token: str | None = None
        while experiments:
            page = self.client.search_runs(
                experiments,
                filter_string=f"tags.`{TAG}kind` = '{kind}'",
                order_by=["attributes.start_time ASC"],
                max_results=1000,
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                break

    def known(self, dataset: str) -> set[str] | None:
        """The same ids as `finished`, where they can be told without MLflow; else None."""
        database = sqlite_file(self.tracking_uri)
        if database is None:
            return None
        if database.exists():
            return finished_ids(database, dataset)
        return set() if database.parent == self.root.resolve() else None

    def finished(self, dataset: str) -> set[str]:
        """Experiment ids of the finished runs of a dataset."""
        if self.opened_later and (known := self.known(dataset)) is not None:
            return known
        runs = self.runs_of(dataset)
        return {run.data.tags[f"{TAG}experiment_id"] for run in runs if run.info.status == "FINISHED"}


def open_store(root: Path, tracking_uri: str | None = None, *, create: bool = True, soon: bool = False) -> Store:
    """Open the store: SQLite under the results root, or any tracking URI of MLflow.

    Args:
        root: results root.
        tracking_uri: of MLflow; None takes MLFLOW_TRACKING_URI or the SQLite file under `root`.
        create: make what is missing; a reader passes False.
        soon: do not wait for MLflow, which takes seconds, where it has nothing to tell: on a SQLite file in `root` that
            is not there yet, and on any whose tables are as the installed MLflow makes them. It opens them later.

    Raises:
        InputError: if the folder cannot be written, there is nothing to read, or a server does not answer within 4 s.
    """
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    database = root / DATABASE
    if create:
        _require_writable(root)
    else:
        require_results(root, tracking_uri)
    if uri is not None:
        _require_answer(uri)
    # MLflow tells of every table that it creates; a newcomer would wonder.
    # It also logs a traceback for every question that a database did not answer; we say that in our own words.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    store = Store(root=root, tracking_uri=uri or f"sqlite:///{database.resolve()}")
    # A server that fails once work goes on is retried later by the uploader; MLflow's own seven tries take long.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("PGCONNECT_TIMEOUT", "10")
    # A line for each run that a server brings to its end would tear the progress bar apart.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # Nothing of ours is a pickle; what somebody else has put into the store is not executed.
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    if soon and store.known("") is not None:
        return replace(store, opened_later=True)
    _let_mlflow_open(store, create=create)
    return store


def _let_mlflow_open(store: Store, *, create: bool) -> None:
    from mlflow import MlflowClient

    # A database that only a report asks may still be a new one, but a folder that only a report reads stays as it is.
    may_create = create or not store.tracking_uri.startswith("sqlite:")
    try:
        with environment(IMPATIENT), store.alone("opening") if may_create else nullcontext():
            if may_create:
                _make_database(store.tracking_uri)
            MlflowClient(store.tracking_uri).search_experiments(max_results=1)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"MLflow cannot open {without_password(store.tracking_uri)}: {without_password(reason)}; correct "
            "--tracking-uri or MLFLOW_TRACKING_URI, or leave both out to keep results in SQLite under --out"
        ) from error


def require_results(root: Path, tracking_uri: str | None) -> None:
    """Check at once, without asking a server, that there is something to read.

    Raises:
        InputError: if the results root has no store, and no other is named.
    """
    if not (tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or (root / DATABASE).exists()):
        raise InputError(f"no results under {root}: run `mltbench run --table 1` first, or point to them with --out")


def _make_database(tracking_uri: str) -> None:
    """Let MLflow make a SQLite file's tables aside: killed in the middle, it leaves a file that nobody can open."""
    from mlflow import MlflowClient

    database = sqlite_file(tracking_uri)
    if database is None or database.exists():
        return
    aside = database.with_name(f"{database.name}.new")
    for left in (aside, aside.with_name(f"{aside.name}-journal")):
        left.unlink(missing_ok=True)
    MlflowClient(tracking_uri=f"sqlite:///{aside}").search_experiments(max_results=1)
    aside.replace(database)


@contextmanager
def environment(names: Mapping[str, str]) -> Iterator[None]:
    """Within, variables of the environment have these values, by which MLflow is told how patient it is."""
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _require_writable(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"cannot write results to {root}: {error.strerror}; give a writable folder with --out or MLTBENCH_HOME"
        ) from error


def _require_answer(uri: str) -> None:
    """Ask a server once, with a short time limit; MLflow itself would retry for minutes."""
    try:
        parts = urlsplit(uri)
        if not parts.hostname:
            return
        ports = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}
        port = parts.port or ports.get(parts.scheme.partition("+")[0], 443)
        socket.create_connection((parts.hostname, port), timeout=ANSWER_WITHIN_SECONDS).close()
        if parts.scheme in ("http", "https"):
            address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/") + "/health"
            urllib.request.urlopen(address, timeout=ANSWER_WITHIN_SECONDS / 2).close()
    except urllib.error.HTTPError as error:
        if error.code < 500:
            return
        raise _no_answer(uri, error) from error
    except (OSError, ValueError, HTTPException) as error:
        raise _no_answer(uri, error) from error


def _no_answer(uri: str, error: Exception) -> InputError:
    return InputError(
        f"the tracking server {without_password(uri)} does not answer ({error}); start it, correct --tracking-uri or "
        "MLFLOW_TRACKING_URI, or leave both out to keep results in SQLite under --out"
    )
