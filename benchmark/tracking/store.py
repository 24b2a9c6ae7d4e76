"""The results root and the MLflow store, opened once; one that cannot be opened is an error that names the cure."""

import logging
import os
import shlex
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import sqlalchemy
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException

from ...errors import InputError, without_password
from ...files import as_unicode, locked, safe_file_name, writing
from ..experiments.plan import Kind
from .addresses import ARTIFACTS, OURS, checked_uri, folder_of_uri, moved_to, point_into, sqlite_file, sqlite_uri
from .pages import TAG as TAG
from .pages import WRITTEN, experiment_tags
from .schema import of_another_mlflow, require_tables

DATABASE = "mlflow.db"
ANSWER_WITHIN_SECONDS = 4.0
# Only the environment tells MLflow how long to wait. Its own seven tries take minutes: a server is asked once when a
# store is opened, and later the uploader asks again.
OPENING = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "2", "PGCONNECT_TIMEOUT": "4"}
OPENED = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "PGCONNECT_TIMEOUT": "10"}
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")

logger = logging.getLogger("mltbench")


@dataclass(frozen=True, kw_only=True)
class Store:
    """An MLflow store, and the results root with the journals of its runs."""

    root: Path
    tracking_uri: str

    def folders(self, kind: Kind) -> Path:
        """Where run folders of a kind lie, one per experiment id: `runs` or `trials`."""
        return self.root / ("runs" if kind == "experiment" else "trials")

    @property
    def runs(self) -> Path:
        """Where the run folders of experiments lie."""
        return self.folders("experiment")

    @property
    def origin(self) -> str:
        """The machine and the results root on it: whose a run is in an MLflow that machines share."""
        return as_unicode(f"{socket.gethostname()}:{self.root.resolve()}")

    @property
    def options(self) -> str:
        """The options of every command that reads this store, as a shell takes them."""
        server = "" if self.is_own else f" --tracking-uri {shlex.quote(without_password(self.tracking_uri))}"
        return f"--out {shlex.quote(str(self.root))}{server}"

    @cached_property
    def is_own(self) -> bool:
        """Whether the database lies in the results root, and moves with it."""
        file = sqlite_file(self.tracking_uri)
        return file is not None and file.resolve() == (self.root / DATABASE).resolve()

    def artifacts_of(self, artifact_uri: str) -> Path | None:
        """The folder on this machine with the files of a run, by its address in MLflow; None if a server has them.

        Those of a results root that was moved or copied lie in it, wherever they lay before.
        """
        folder = folder_of_uri(artifact_uri)
        return moved_to(self.root.resolve(), folder, 4) if folder is not None and self.is_own else folder

    @cached_property
    def client(self) -> MlflowClient:
        """The MLflow client."""
        return MlflowClient(self.tracking_uri)

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Keep other processes on the same database out of the same block; a tracking server does so itself."""
        if self.tracking_uri.startswith("sqlite:"):
            with locked(self.root / f".{what}.lock", f"busy with the {what} of {self.root / DATABASE}"):
                yield
        elif self.tracking_uri.startswith("postgresql"):
            with sqlalchemy.create_engine(self.tracking_uri, poolclass=sqlalchemy.NullPool).begin() as connection:
                # Another process makes the tables of a new database within seconds.
                connection.execute(sqlalchemy.text("SET LOCAL lock_timeout = '60s'"))
                lock = sqlalchemy.text("SELECT pg_advisory_xact_lock(hashtext(:name))")
                connection.execute(lock, {"name": f"mltbench {what}"})
                yield
        else:
            yield

    def experiment(self, dataset: str) -> str:
        """Id of the MLflow experiment of a dataset, with the description of this version.

        It is made when it is missing, and restored with its runs when it was deleted, for MLflow keeps its name.
        """
        name = f"mltbench/{dataset}"
        found = self.client.get_experiment_by_name(name)
        if found is None:
            # A database keeps no files: they lie beside the journals. A server says itself where files go.
            database = urlsplit(self.tracking_uri).scheme.partition("+")[0] in DATABASES
            artifacts = (self.root / ARTIFACTS / safe_file_name(dataset)).resolve().as_uri() if database else None
            try:
                self.client.create_experiment(name, artifact_location=artifacts)
            except MlflowException:
                # Another process may have made it in this moment.
                if self.client.get_experiment_by_name(name) is None:
                    raise
            found = self.client.get_experiment_by_name(name)
        if found.lifecycle_stage != "active":
            with suppress(MlflowException):  # another process has restored it in this moment
                self.client.restore_experiment(found.experiment_id)
                logger.warning("the experiment %s was deleted in MLflow, and is restored with its runs", name)
        tags = experiment_tags(found.experiment_id)
        if found.tags.get(WRITTEN) != tags[WRITTEN]:
            # Several processes write the same; the digest comes last, so that what was cut short is written again.
            for key, value in tags.items():
                self.client.set_experiment_tag(found.experiment_id, key, value)
        return str(found.experiment_id)

    def runs_of(self, dataset: str | None = None, *, kind: str = "experiment") -> list[Run]:
        """All runs of the suite of one kind, oldest first; of one dataset, or of all.

        Raises:
            InputError: if the store no longer answers.
        """
        runs: list[Run] = []
        try:
            experiments = [
                experiment.experiment_id
                for experiment in self.client.search_experiments(filter_string=OURS)
                if dataset is None or experiment.name == f"mltbench/{dataset}"
            ]
            token: str | None = None
            while experiments and token != "":
                page = self.client.search_runs(
                    experiments,
                    filter_string=f"tags.`{TAG}kind` = '{kind}'",
                    order_by=["attributes.start_time ASC"],
                    max_results=1000,
                    page_token=token,
                )
                runs += page
                token = page.token or ""
        except (MlflowException, OSError) as error:
            reason = without_password(str(error).partition("\n")[0])
            raise InputError(
                f"MLflow at {without_password(self.tracking_uri)} no longer answers: {reason}; nothing that was "
                "trained is lost: give the command again when it answers"
            ) from error
        return runs

    def deleted_experiments(self) -> dict[str, str]:
        """Ids of the suite's experiments that were deleted in MLflow and can be restored, by dataset."""
        found = self.client.search_experiments(view_type=ViewType.DELETED_ONLY, filter_string=OURS)
        return {one.name.partition("/")[2]: one.experiment_id for one in found}


def open_store(root: Path, tracking_uri: str | None = None, *, create: bool = True) -> Store:
    """Open the store: any tracking URI of MLflow, else MLFLOW_TRACKING_URI, else SQLite under the results root.

    What is missing is made, unless `create` is False, as readers pass it. After the results root was moved or copied,
    those who write let the addresses in its database point into it.

    Raises:
        InputError: if the folder cannot be written, there is nothing to read, a database is of another MLflow, or a
            server does not answer within 4 s.
    """
    uri = named_uri(tracking_uri)
    if create:
        _require_writable(root)
    else:
        require_results(root, tracking_uri)
    if uri is not None:
        uri = checked_uri(uri)
        _require_answer(uri)
    # MLflow logs every table that it creates, which would only puzzle a newcomer, and a traceback for every question
    # that a database did not answer, which our own errors replace.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    # A line for each run that ends on a server would tear the progress bar apart.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # Nothing of ours is a pickle; what anyone else has put into the store is not executed.
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    store = Store(root=root, tracking_uri=uri or sqlite_uri((root / DATABASE).resolve()))
    if (file := sqlite_file(store.tracking_uri)) is not None and file.is_file():
        require_tables(file, store.tracking_uri)
    # A database that only a report asks may still be a new one, but a folder that only a report reads stays as it is.
    may_create = create or not store.tracking_uri.startswith("sqlite:")
    patience = {name: os.environ.get(name, value) for name, value in OPENED.items()}
    os.environ.update(OPENING)
    try:
        with store.alone("opening") if may_create else nullcontext():
            if may_create:
                _make_database(store.tracking_uri)
            store.client.search_experiments(max_results=1)
            if create and store.is_own and (before := point_into(root / DATABASE)):
                logger.warning("moved or copied from %s: the addresses in %s now point here", before, root / DATABASE)
    except InputError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0]
        if "out-of-date database schema" in reason and urlsplit(store.tracking_uri).scheme not in ("http", "https"):
            raise of_another_mlflow(store.tracking_uri) from error
        if isinstance(error, ModuleNotFoundError):
            reason += " (for PostgreSQL: pip install 'mltbench[postgresql]')"
        if isinstance(error, UnicodeError):
            reason += " (with PYTHONUTF8=1 in the environment, names of folders may have any letters)"
        raise InputError(
            f"MLflow cannot open {without_password(store.tracking_uri)}: {without_password(reason)}; correct "
            "--tracking-uri or MLFLOW_TRACKING_URI, or leave both out to keep results in SQLite under --out"
        ) from error
    finally:
        os.environ.update(patience)
    return store


def named_uri(tracking_uri: str | None) -> str | None:
    """The tracking URI that is given, else that of the environment; None where both are missing or blank."""
    return (tracking_uri or "").strip() or os.environ.get("MLFLOW_TRACKING_URI", "").strip() or None


def require_results(root: Path, tracking_uri: str | None) -> None:
    """Check at once, without asking a server, that there is something to read.

    Raises:
        InputError: if the results root has no store, and no other is named.
    """
    if not (named_uri(tracking_uri) or (root / DATABASE).exists()):
        command = f"mltbench run --dataset digits-mlt --table 1 --out {shlex.quote(str(root))}"
        raise InputError(f"no results under {root}: `{command}` makes some, --out points to others")


def _make_database(tracking_uri: str) -> None:
    """Let MLflow make a SQLite file's tables aside: killed in the middle, it leaves a file that nobody can open."""
    path = sqlite_file(tracking_uri)
    if path is None or path.exists():
        return
    aside = path.with_name(f"{path.name}.new")
    for left in (aside, Path(f"{aside}-journal")):
        left.unlink(missing_ok=True)
    MlflowClient(sqlite_uri(aside)).search_experiments(max_results=1)
    aside.replace(path)


def _require_writable(root: Path) -> None:
    with writing(f"results to {root}", "give a writable folder with --out or MLTBENCH_HOME"):
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()


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
    except (OSError, ValueError, HTTPException) as error:
        # A server that wants a login, say, answers.
        if isinstance(error, urllib.error.HTTPError) and error.code < 500:
            return
        raise InputError(
            f"the tracking server {without_password(uri)} does not answer ({error}); start it, correct --tracking-uri "
            "or MLFLOW_TRACKING_URI, or leave both out to keep results in SQLite under --out"
        ) from error
