"""What the tests of several rooms share: published facts, small labels, rendered scenes, empty stores, PostgreSQL."""

import contextlib
import math
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from pathlib import Path

import command_line
import numpy as np
import pandas as pd
import pytest
import torch
from failing_server import free_port
from filelock import FileLock
from mltbench.benchmark.executors.run_plan import run_plan
from mltbench.benchmark.executors.settings import RunSettings
from mltbench.benchmark.speed import estimate
from mltbench.benchmark.tracking import store as store_module
from mltbench.benchmark.tracking.addresses import sqlite_file
from mltbench.benchmark.tracking.store import open_store
from mltbench.benchmark.training.check import tiny_dataset
from mltbench.benchmark.training.metrics import SCORE_NAMES
from mltbench.datasets import registry
from mltbench.datasets.dataset import Split
from mltbench.datasets.download import fetching
from mltbench.datasets.long_tail.statistics import ClassStatistics
from mltbench.datasets.registry import DatasetEntry, register_dataset
from mltbench.methods.method import METHODS
from mltbench.reports.results.quoted import QuotedRow
from mltbench.reports.results.runs import COLUMNS
from mltbench.studies.tuning.study import StudyStorage
from plans import plugin_file, plugin_text, tiny_plan

MAKE_DATABASE = store_module._make_database


@pytest.fixture(autouse=True, scope="session")
def _interruptible():
    """A shell's background job ignores Ctrl-C, and so would every command that the tests start and interrupt."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _one_thread():
    """Two threads beside another busy process run many times slower; one also makes results repeatable."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def shared_folder():
    folder = Path(__file__).resolve().parents[3] / "shared"
    if not folder.is_dir():
        pytest.skip("the folder `shared` with published facts is not beside the project")
    return folder


@pytest.fixture(scope="session")
def voc_facts(shared_folder):
    with np.load(shared_folder / "facts" / "voc_mlt.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def coco_facts(shared_folder):
    with np.load(shared_folder / "facts" / "coco_mlt.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def small_labels():
    """Seven images of four classes with 6, 3, 2 and 1 images; the rarest never stands alone."""
    rows = [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1], [0, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0]]
    return np.array(rows, dtype=np.uint8)


@pytest.fixture
def small_statistics(small_labels):
    return ClassStatistics.from_labels(small_labels)


@pytest.fixture
def split(small_labels):
    """Noise with those labels."""
    images = np.random.default_rng(0).integers(0, 256, (7, 5, 4, 3)).astype(np.uint8)
    return Split(images=images, labels=small_labels, ids=np.array([f"image-{i}" for i in range(7)]))


@pytest.fixture
def own_registrations(monkeypatch):
    """Let a test register methods and datasets that no other test sees."""
    METHODS.load()
    registry.list_datasets()
    monkeypatch.setattr(METHODS, "by_name", dict(METHODS.by_name))
    monkeypatch.setattr(registry._REGISTERED, "by_name", dict(registry._REGISTERED.by_name))


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory):
    """One for all test files and processes: what is in it is made once."""
    root = tmp_path_factory.getbasetemp()
    return root.parent if "PYTEST_XDIST_WORKER" in os.environ else root


@pytest.fixture(scope="session")
def data_root(session_folder):
    """The scenes are rendered once."""
    return session_folder / "digits-data"


@pytest.fixture(scope="session")
def empty_database(session_folder):
    """MLflow takes seconds to make its tables."""
    root = session_folder / "empty-store"
    with FileLock(session_folder / "empty-store.lock"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "_make_database", MAKE_DATABASE)
        if not root.exists():
            open_store(root)
    return root / "mlflow.db"


@pytest.fixture(autouse=True, scope="session")
def _copied_tables(request):
    """Stores that tests open in this process begin with a copy of the empty database."""

    def copy_tables(tracking_uri):
        path = sqlite_file(tracking_uri)
        if path is not None and not path.exists():
            shutil.copy(request.getfixturevalue("empty_database"), path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "_make_database", copy_tables)
        yield


@pytest.fixture
def tables_by_mlflow(monkeypatch):
    """Stores that this test opens have their tables made by MLflow, as a user's have."""
    monkeypatch.setattr(store_module, "_make_database", MAKE_DATABASE)


@pytest.fixture(autouse=True, scope="session")
def _impatient_downloads():
    """Servers of the tests that fail do so on purpose, every time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetching, "PAUSE_SECONDS", 0.05)
        yield


@pytest.fixture
def dataset(own_registrations):
    """The tiny set under a name of the registry."""
    tiny = tiny_dataset()
    entry = DatasetEntry(
        name="tiny", summary="", source="", open=lambda root: tiny, recipe="digits", backbone="digits-resnet"
    )
    register_dataset(entry)
    return tiny


@pytest.fixture
def closed_studies(monkeypatch):
    """Optuna's databases that a test opens in this process are closed: Python 3.13 warns of those that are not."""
    opened, open_one = [], StudyStorage.open
    monkeypatch.setattr(StudyStorage, "open", lambda storage: opened.append(open_one(storage)) or opened[-1])
    yield
    for database in opened:
        database.engine.dispose()


@pytest.fixture
def own_folder(monkeypatch, tmp_path, data_root):
    """A command line in a folder of its own, whatever the environment says."""
    for name in ("MLTBENCH_HOME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLTBENCH_DATA", str(data_root))
    # How long a plan takes is estimated from the fewest steps.
    monkeypatch.setattr(estimate, "SECONDS", 0.0)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def call():
    """Run the command line in this process; give its exit status, standard output and error."""
    return command_line.call


@pytest.fixture
def out(tmp_path, empty_database):
    """A results root with an empty store."""
    (tmp_path / "results").mkdir()
    shutil.copy(empty_database, tmp_path / "results")
    return tmp_path / "results"


@pytest.fixture
def store(out):
    return open_store(out)


@pytest.fixture
def settings(data_root):
    return RunSettings(data_root=data_root)


@pytest.fixture
def finished(dataset, store, settings):
    """A store with one finished run of the tiny set; gives its experiment's id."""
    plan = tiny_plan()
    assert run_plan(plan, store, settings).trained == list(plan.experiments)
    return plan.experiments[0].experiment.id


@pytest.fixture
def plugin(own_registrations, tmp_path):
    """Write a plugin and load it; forget it afterwards."""
    with contextlib.ExitStack() as written:

        def plugin(name, body, *texts, folder=".", load=True, **more):
            file = tmp_path / folder / f"{name if folder == '.' else 'mine'}_plugin.py"
            file.parent.mkdir(exist_ok=True)
            return written.enter_context(plugin_file(file, *texts, plugin_text(name, body, **more), load=load))

        yield plugin


@pytest.fixture(scope="session")
def postgresql_server():
    """A PostgreSQL of our own on 127.0.0.1, from Debian's package; gives the URI of its maintenance database."""
    binaries = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("nowhere"))
    program = shutil.which("pg_ctl") or shutil.which("pg_ctl", path=str(binaries))
    if program is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    # PostgreSQL refuses to run as root, and another user does not see pytest's folders.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="mltbench-postgresql-"))
    data, password, port = folder / "data", "correct-horse", free_port()
    (folder / "password").write_text(password)
    if user:
        for path in (folder, folder / "password"):
            shutil.chown(path, user)

    def run(*words):
        done = subprocess.run(words, user=user, cwd=folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

    initialise = Path(program).resolve().with_name("initdb")
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off -c max_connections=60"
    try:
        run(initialise, "-D", data, "-U", "mltbench", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "-N")
        run(program, "-D", data, "-o", options, "-l", folder / "log", "-w", "start")
        yield f"postgresql://mltbench:{password}@127.0.0.1:{port}/postgres"
    finally:
        if (data / "postmaster.pid").exists():
            run(program, "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


@pytest.fixture
def postgresql_uri(postgresql_server):
    """An empty database on PostgreSQL, for MLflow and claims; gives its URI."""
    yield from _empty_postgresql_database(postgresql_server)


@pytest.fixture
def studies_uri(postgresql_server):
    """Another one, for Optuna, which keeps the version of its tables where MLflow keeps its own."""
    yield from _empty_postgresql_database(postgresql_server)


def _empty_postgresql_database(server):
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'mltbench[postgresql]'")
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield server.removesuffix("postgres") + name
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


MARKS = {
    ("erm", "ERM"): {0: (50, 80, 60, 30), 1: (51, 81, 61, 31), 2: (52.125, 82, 62, 32)},
    ("rs", "RS"): {0: (55, 79, 60.5, 40), 1: (55.5, 80, 62, 41), 2: (57, 80.5, 61, 43)},
    ("db", "DB"): {0: (56, 78, 60, 44), 1: (56, 79, 60, 43)},
    ("ldam", "LDAM"): {2: (51, 81, 60, 33)},
    ("mine", "Mine & <yours>"): {5: (40, 50, 45, 30)},
}


MADE_WITH = {
    "run_id": "0" * 32, "started": 1_800_000_000_000, "command": "mltbench run --method erm --seeds 0,",
    "train_seconds": 9.5,
    "settings": '{"method": "erm", "recipe.learning_rate": "0.2"}', "provenance": '{"commit": "abc", "threads": "1"}',
    "artifact_uri": "", "dataset_digest": "d" * 64, "numerics_version": "1", "mlflow_experiment": "1",
}  # fmt: skip


@pytest.fixture(scope="session")
def small_runs():
    """A results frame as `load_runs` returns it: missing seeds, ties, a failure, an override, a hostile title."""
    records = []
    for (method, title), seeds in MARKS.items():
        for seed, marks in seeds.items():
            labels = {"dataset": "digits-mlt", "method": method, "title": title, "overrides": "", "recipe": "digits"}
            ids = {"experiment_id": f"{method}-{seed}".ljust(16, "0"), "configuration_id": method.ljust(16, "0")}
            results = dict(zip(SCORE_NAMES, marks, strict=True))
            records.append({**MADE_WITH, **labels, **ids, "seed": seed, "state": "finished", **results})
    overridden = {"overrides": "mu=0.2", "configuration_id": "f" * 16, "experiment_id": "e" * 16}
    records.append({**records[-2], "method": "db", "title": "DB", **overridden})
    failed = {"method": "rw", "title": "RW", "state": "failed", **dict.fromkeys(SCORE_NAMES, math.nan)}
    records.append({**records[0], "experiment_id": "f" * 16, "configuration_id": "d" * 16, **failed})
    return pd.DataFrame(records, columns=list(COLUMNS))


@pytest.fixture(scope="session")
def quoted_examples():
    """Rows that somebody else published, one of them hostile and suspect."""
    return (
        QuotedRow(
            table=1, title="Asymmetric", dataset="digits-mlt", source="Somebody 2021, Table 3",
            values={"total": 61.5, "head": 80.0, "medium": None, "tail": None}, suspect="",
        ),
        QuotedRow(
            table=1, title="=HYPERLINK(1)", dataset="digits-mlt", source="Somebody else 2022",
            values={"total": 99.0, "head": 80.0, "medium": 60.0, "tail": 40.0}, suspect="total is too large",
        ),
    )  # fmt: skip
