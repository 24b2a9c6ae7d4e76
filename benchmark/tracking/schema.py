"""Databases with the tables of another MLflow: found before MLflow changes them, or anything is trained."""

import shlex
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import mlflow
import sqlalchemy
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from mlflow.store.db.utils import Base

from ...errors import InputError, without_password


def require_tables(file: Path, tracking_uri: str) -> None:
    """Check that a SQLite file has all tables; MLflow would add those of a newer version without asking.

    Raises:
        InputError: if it lacks some; the message says what to do.
    """
    with closing(sqlite3.connect(file)) as connection, suppress(sqlite3.Error):  # of which MLflow says more
        there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "experiments" in there and not there.issuperset(Base.metadata.tables):
            raise of_another_mlflow(tracking_uri)


def of_another_mlflow(tracking_uri: str) -> InputError:
    """The error for a database with tables of another version."""
    with sqlalchemy.create_engine(tracking_uri, poolclass=sqlalchemy.NullPool).connect() as connection:
        version = connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version")).scalar()
    try:
        ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations")).get_revision(str(version))
        age, cure = "an older", f"back it up, then `mlflow db upgrade {shlex.quote(tracking_uri)}`"
    except CommandError:
        age, cure = "a newer", "`pip install --upgrade mlflow`, or give another folder with --out"
    return InputError(
        f"{without_password(tracking_uri)} has the tables of {age} MLflow (version {version}) than the "
        f"{mlflow.__version__} that is installed here: {without_password(cure)}"
    )
