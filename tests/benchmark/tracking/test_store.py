"""Opening a store: tracking servers that answer, refuse, hang or are none; SQLite; PostgreSQL; passwords."""

import contextlib
import re
import shlex
import sqlite3
import sys
import threading
import time
from pathlib import Path

import alembic.command
import mlflow
import pytest
import sqlalchemy
from alembic.config import Config
from click.testing import CliRunner
from failing_server import FINE, FailingServer, free_port
from mlflow.db import commands as mlflow_db
from mlflow.store.tracking.dbmodels.initial_models import Base as InitialBase
from mltbench.benchmark.runs.provenance import command_line
from mltbench.benchmark.tracking.addresses import sqlite_uri
from mltbench.benchmark.tracking.store import open_store
from mltbench.errors import InputError, without_password

SECRET = "s3cret"


@pytest.fixture(params=["closed", "silent"])
def dead(request):
    """A port at which no tracking server is."""
    with FailingServer(mood="hanging") as server:
        yield free_port() if request.param == "closed" else server.port


@pytest.mark.parametrize("command", ["runs list", "report", "run --method erm --dry-run"])
def test_a_server_that_does_not_answer_is_an_error(dead, command, call, own_folder):
    status, _, shown = call(*command.split(), "--tracking-uri", f"http://127.0.0.1:{dead}")
    assert status == 2
    assert shown.startswith(f"error: the tracking server http://127.0.0.1:{dead} does not answer")
    assert "--tracking-uri" in shown
    assert shown.count("\n") == 1


def test_the_error_comes_within_five_seconds_and_keeps_the_password_to_itself(dead, tmp_path):
    before = time.monotonic()
    with pytest.raises(InputError) as caught:
        open_store(tmp_path, f"http://user:{SECRET}@127.0.0.1:{dead}")
    assert time.monotonic() - before < 5
    assert f"http://user:***@127.0.0.1:{dead}" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_the_environment_names_the_server_too(monkeypatch, tmp_path):
    with FailingServer(mood="hanging") as server, FailingServer(mood=b"no web server") as given:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        for uri, asked in ((None, server), (given.uri, given)):
            with pytest.raises(InputError, match=f"{asked.uri} does not answer"):
                open_store(tmp_path, uri)


@pytest.mark.parametrize("user", ["", f"user:{SECRET}@"])
def test_a_server_that_answers_is_taken(user, tmp_path):
    with FailingServer(mood=FINE) as server:
        uri = f"http://{user}127.0.0.1:{server.port}"
        assert open_store(tmp_path, uri).tracking_uri == uri


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "cannot open .*401"),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "does not answer .*503"),
        (b"SSH-2.0-hello\r\n\r\n", "does not answer"),
    ],
    ids=["a login is wanted", "a proxy without its server", "no web server"],
)
def test_a_server_that_refuses_is_an_error(answer, message, tmp_path):
    with FailingServer(mood=answer) as server, pytest.raises(InputError, match=message):
        open_store(tmp_path, server.uri)


def test_a_server_that_is_healthy_but_never_answers_is_an_error_within_five_seconds(tmp_path):
    before = time.monotonic()
    with FailingServer(mood="healthy") as server, pytest.raises(InputError, match="MLflow cannot open"):
        open_store(tmp_path, server.uri)
    assert time.monotonic() - before < 5


@pytest.mark.parametrize("trouble", ["no database", "no folder"])
def test_a_sqlite_file_that_mlflow_cannot_open_is_an_error(trouble, out):
    database = out / "mlflow.db"
    if trouble == "no database":
        database.write_text("not a database, and long enough to be taken for one" * 100)
    else:
        (out / "file").write_text("")
        database = out / "file" / "mlflow.db"
    with pytest.raises(InputError, match="MLflow cannot open"):
        open_store(out, f"sqlite:///{database}")


def test_several_processes_open_a_new_postgresql_store_one_after_the_other(postgresql_uri, tmp_path):
    inside, most = [], []

    def enter():
        with stores[0].alone("test"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()

    stores = [open_store(tmp_path, postgresql_uri)]
    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        (f"http://user:{SECRET}@host:5000/x", "http://user:***@host:5000/x"),
        (f"http://user:p@{SECRET}@host", "http://user:***@host"),
        (f"postgresql+psycopg2://user:{SECRET}@host/base?a=b", "postgresql+psycopg2://user:***@host/base?a=b"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
    ],
)
def test_passwords_are_not_shown(uri, shown):
    assert without_password(uri) == shown


@pytest.mark.parametrize("form", ["--tracking-uri {}", "--tracking-uri={}"])
def test_passwords_are_not_recorded(form, monkeypatch):
    uri = f"http://user:{SECRET}@host:5000"
    monkeypatch.setattr(sys, "argv", ["mltbench", "run", "--table", "1", *form.format(uri).split(" ")])
    assert command_line().startswith("mltbench run --table 1 --tracking-uri")
    assert SECRET not in command_line()


def set_version(database, version):
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))


@pytest.mark.parametrize("command", ["runs list", "report", "run --method erm --recipe digits-smoke", "sync"])
def test_a_database_of_a_newer_mlflow_is_an_error_before_anything_is_trained(command, out, call, own_folder):
    set_version(out / "mlflow.db", "ffffffffffff")
    before = (out / "mlflow.db").read_bytes()
    status, _, error = call(*command.split(), "--out", out)
    assert status == 2
    assert "has the tables of a newer MLflow (version ffffffffffff)" in error
    assert "pip install --upgrade mlflow" in error
    assert (out / "mlflow.db").read_bytes() == before
    assert not (out / "runs").exists()


def test_a_database_of_an_older_mlflow_is_left_alone_and_can_be_used_as_the_error_says(out, call, own_folder):
    older = "acf3f17fdcc7"
    database = out / "mlflow.db"
    database.unlink()
    engine = sqlalchemy.create_engine(sqlite_uri(database))
    InitialBase.metadata.create_all(engine)
    scripts = Config()
    scripts.set_main_option("script_location", str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    with engine.begin() as connection:
        scripts.attributes["connection"] = connection
        alembic.command.upgrade(scripts, older)
    engine.dispose()
    before = database.read_bytes()
    status, _, error = call("runs", "list", "--out", out)
    assert (status, f"an older MLflow (version {older})" in error) == (2, True), error
    assert database.read_bytes() == before
    words = shlex.split(re.search(r"`mlflow db (upgrade .+)`", error).group(1))
    done = CliRunner().invoke(mlflow_db, words)
    assert done.exit_code == 0, done.output
    assert call("runs", "list", "--out", out)[0] == 0


@pytest.mark.parametrize("uri", ["databricks", "./mlruns", "file:./mlruns", "nonsense://x", "sqlite:////proc/no/x.db"])
def test_an_address_that_cannot_be_used_is_an_error_before_anything_is_trained(uri, call, own_folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    before = time.monotonic()
    status, _, error = call("run", "--method", "erm", "--recipe", "digits-smoke", "--out", "results")
    assert (status, "error: " in error) == (2, True)
    assert "--out" in error
    assert time.monotonic() - before < 30
    assert not Path("results/runs").exists()
