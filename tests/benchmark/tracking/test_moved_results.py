"""A results folder that is copied, moved, or has any name works where it is, and writes nowhere else."""

import shlex
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mltbench.benchmark.executors.run_plan import run_plan
from mltbench.benchmark.tracking.addresses import checked_uri, folder_of_uri, moved_to, sqlite_file, sqlite_uri
from mltbench.benchmark.tracking.store import open_store
from mltbench.errors import InputError
from mltbench.files import file_digest
from mltbench.studies.tuning.study import StudyStorage
from plans import tiny_plan

pytestmark = pytest.mark.usefixtures("own_folder")
ODD = (
    "my results #1", "50%25 done", "feature%2Ftail", "ergebnisse für Bär", "a?b=c", "with'quote", "a&b;c $HOME",
    "{braces}", "%41", "50%", 'with"quotes"', "[brackets]", "back\\slash", "~tilde",
)  # fmt: skip


def digests(folder):
    return {path: file_digest(path) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=["copied", "moved", "moved, and its old place cannot be made"])
def elsewhere(request, finished, store, tmp_path):
    """The results folder in another place; gives its new place, and a function that says that the old is untouched."""
    old, new = store.root, tmp_path / "machine" / "new place"
    new.parent.mkdir()
    (shutil.copytree if request.param == "copied" else shutil.move)(old, new)
    if request.param.endswith("made"):
        old.write_text("in the way")
    before = digests(old)
    return new, lambda: digests(old) == before and old.exists() == (request.param != "moved")


def test_a_moved_folder_is_read_without_a_change_and_written_to_in_its_new_place(
    elsewhere, finished, settings, call, caplog
):
    new, old_is_untouched = elsewhere
    database = file_digest(new / "mlflow.db")
    for line in ("runs list", f"runs show {finished}", "status", "report --no-figures"):
        status, shown, error = call(*line.split(), "--out", new)
        assert (status, error, caplog.text) == (0, "", ""), line
        if line.startswith("runs show"):
            (address,) = [text for text in shown.splitlines() if text.startswith("artifacts: ")]
            assert new in folder_of_uri(address.removeprefix("artifacts: ")).parents
    table = (new / "report" / "table1-tiny-classes.csv").read_text()
    assert "ERM" in table, "average precision per class comes from the files of the run"
    assert file_digest(new / "mlflow.db") == database, "who only reads changes no address"
    assert old_is_untouched()

    store = open_store(new)
    assert "moved or copied from" in caplog.text
    assert caplog.text.count("\n") == 1
    plan = tiny_plan(("rs",))
    assert run_plan(plan, store, settings).not_uploaded == []
    assert old_is_untouched()
    root = new.resolve()
    for run in store.runs_of():
        folder = folder_of_uri(run.info.artifact_uri)
        assert folder.is_relative_to(root)
        assert {"weights.pt", "per_class.json"} <= {path.name for path in folder.iterdir()}
    assert folder_of_uri(store.client.get_experiment_by_name("mltbench/tiny").artifact_location).is_relative_to(root)
    assert call("sync", "--all", "--out", new)[0] == 0
    caplog.clear()
    open_store(new)
    assert caplog.text == "", "it is said once"
    assert old_is_untouched()


def test_what_another_process_does_with_the_addresses_meanwhile_moves_no_file(finished, store, settings, tmp_path):
    """As where a folder is mounted twice, under two names."""
    shutil.copytree(store.root, tmp_path / "other")
    run_plan(tiny_plan(("rs",)), open_store(tmp_path / "other"), settings)
    shutil.copy(store.root / "mlflow.db", tmp_path / "other" / "mlflow.db")
    before = digests(store.root)
    stale = open_store(tmp_path / "other", create=False)
    assert run_plan(tiny_plan(("rs",)), stale, settings).not_uploaded == []
    assert digests(store.root) == before


def test_an_address_that_is_not_of_the_suite_stays(store):
    elsewhere = store.client.create_experiment("mltbench/mine", artifact_location="file:///data/mine")
    bucket = store.client.create_experiment("mltbench/bucket", artifact_location="s3://bucket/artifacts/bucket")
    opened = open_store(store.root)
    locations = [opened.client.get_experiment(number).artifact_location for number in (elsewhere, bucket)]
    assert locations == ["file:///data/mine", "s3://bucket/artifacts/bucket"]


@pytest.mark.parametrize(
    ("folder", "depth", "moved"),
    [
        ("/old/artifacts/a b", 2, "/new/artifacts/a b"),
        ("/C:/old/artifacts/a/0f/artifacts", 4, "/new/artifacts/a/0f/artifacts"),
        ("/old/mlruns/1/0f/artifacts", 4, "/old/mlruns/1/0f/artifacts"),
        ("artifacts", 2, "artifacts"),
    ],
)
def test_the_end_of_an_address_says_where_it_is_now(folder, depth, moved):
    assert moved_to(Path("/new"), Path(folder), depth) == Path(moved)


@pytest.mark.parametrize("name", ["my #1 50%25 %2Ft für Bär", "a?b=c&d;e $HOME 'q' {braces}"])
def test_a_results_folder_may_have_any_name(name, finished, store, settings, tmp_path, call, caplog):
    place = tmp_path / "workspace"
    shutil.copytree(store.root, place / name)
    opened = open_store(place / name)
    assert run_plan(tiny_plan(("rs",)), opened, settings).not_uploaded == []
    assert len(opened.runs_of()) == 2
    for words in (["runs", "list"], ["status"], ["report", "--no-figures"], ["sync", "--all"]):
        status, shown, error = call(*words, *shlex.split(opened.options))
        assert (status, error) == (0, ""), shown + error
        assert "no such run" not in shown
    assert call("runs", "list", "--tracking-uri", opened.tracking_uri)[1].count("tiny") == 2
    # What `mlflow ui` is told to open.
    assert len(MlflowClient(opened.tracking_uri).search_experiments()) == 2
    weights = [folder_of_uri(run.info.artifact_uri) / "weights.pt" for run in opened.runs_of()]
    assert all(file.is_file() and file.is_relative_to(place / name) for file in weights)
    StudyStorage(root=place / name).open().engine.dispose()
    assert (place / name / "studies.db").is_file()
    assert [path.name for path in place.iterdir()] == [name], "and nothing beside it"


def test_mlflow_makes_a_new_database_in_a_folder_of_any_name(tables_by_mlflow, tmp_path):
    for name in ("a?b", "feature%2Ftail"):
        root = tmp_path / "workspace" / name
        assert open_store(root).runs_of() == []
        assert (root / "mlflow.db").is_file()
        assert not (root / "mlflow.db.new").exists()
    assert sorted(path.name for path in (tmp_path / "workspace").iterdir()) == ["a?b", "feature%2Ftail"]


@pytest.mark.parametrize("name", [*ODD, "plain", "a b"])
def test_the_address_of_a_file_means_that_file(name):
    path = Path("/folder") / name / "mlflow.db"
    assert sqlite_file(sqlite_uri(path)) == path


def test_an_address_that_is_given_means_what_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = Path.cwd()
    assert sqlite_file(checked_uri("sqlite:///a b/mlflow.db\n")) == here / "a b" / "mlflow.db"
    assert sqlite_file(checked_uri(f" sqlite:///{here}/a%20b/mlflow.db")) == here / "a b" / "mlflow.db"
    (here / "a%20b").mkdir()
    assert sqlite_file(checked_uri(f"sqlite:///{here}/a%20b/mlflow.db")) == here / "a%20b" / "mlflow.db"
    for other in ("http://host:5000/a%20b", "sqlite:///x.db?timeout=5", "sqlite:///:memory:", "./mlruns"):
        assert checked_uri(other) == other


@pytest.mark.parametrize("given", ["sqlite:mlflow.db", "sqlite://mlflow.db", "sqlite:/mlflow.db", "mlflow.db"])
def test_an_address_that_is_almost_one_of_a_file_is_an_error_with_the_right_one(given, out, call, monkeypatch):
    monkeypatch.chdir(out)
    with pytest.raises(InputError, match="no address of a SQLite file: in this folder that is sqlite:///") as caught:
        open_store(out, given)
    right = str(caught.value).rpartition(" ")[2]
    assert call("runs", "list", "--tracking-uri", right)[0] == 0


@pytest.mark.parametrize("given", ["", " ", "\n"])
def test_a_blank_address_in_the_environment_is_none(given, out, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    assert open_store(out).is_own


def test_runs_and_experiments_of_others_in_the_environment_are_not_taken(dataset, store, settings, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "0123456789abcdef0123456789abcdef")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "other")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "77")
    assert run_plan(tiny_plan(), store, settings).not_uploaded == []
    (run,) = store.runs_of()
    assert store.client.get_experiment(run.info.experiment_id).name == "mltbench/tiny"
