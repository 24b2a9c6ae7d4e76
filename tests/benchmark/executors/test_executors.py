"""Plans are carried out whole, whoever dies, by one process, several, Ray, or several commands at once."""

import multiprocessing
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from crashes import fingerprint
from mltbench.benchmark.executors.in_process import InProcess
from mltbench.benchmark.executors.processes import Processes
from mltbench.benchmark.executors.ray_cluster import RayCluster
from mltbench.benchmark.executors.run_plan import run_plan, split_plan
from mltbench.benchmark.executors.settings import RunSettings
from mltbench.benchmark.runs.folder import RunFolder
from mltbench.benchmark.runs.journal import read_journal
from mltbench.benchmark.tracking.store import open_store
from mltbench.benchmark.training.execution import Execution
from mltbench.errors import InputError
from mltbench.reports.results.runs import runs_frame
from plans import PLAIN, TINY, make_plan, numbers, tiny_plan

# The loss does what the file `mood` beside it says; it stays the same file, hence the same experiment.
MOODY = f"""
mood = Path(__file__).with_name("mood").read_text()
if mood == "killed" and multiprocessing.parent_process():
    os._exit(9)
if mood == "nan":
    return logits.sum() * float("nan")
if mood != "well":
    raise {{"RuntimeError": RuntimeError, "ValueError": ValueError, "KeyError": KeyError}}[mood]("in a mood")
{PLAIN}
"""


@pytest.fixture
def moody(plugin):
    return plugin("moody", MOODY, like="erm")


@pytest.mark.parametrize(
    ("mood", "reason"),
    [
        ("nan", "DivergedError: the loss was not finite at step 0"),
        ("RuntimeError", "RuntimeError: in a mood"),
        pytest.param("ValueError", "ValueError: in a mood", marks=pytest.mark.soak),
        pytest.param("KeyError", "KeyError: 'in a mood'", marks=pytest.mark.soak),
    ],
)
def test_a_failure_is_recorded_stops_nothing_and_is_tried_again(mood, reason, moody, store, data_root, settings):
    moody.with_name("mood").write_text(mood)
    plan = make_plan(data_root, ["moody", "erm"])
    bad, good = plan.experiments
    first = run_plan(plan, store, settings)
    assert [planned for planned, _ in first.failed] == [bad]
    assert first.failed[0][1].startswith(reason)
    assert first.trained == [good]
    runs = {run.data.tags["mltbench.method"]: run for run in store.runs_of()}
    assert {name: run.info.status for name, run in runs.items()} == {"moody": "FAILED", "erm": "FINISHED"}
    failed = runs["moody"]
    assert failed.data.tags["mltbench.state"] == "failed"
    assert failed.data.tags["mltbench.reason"].startswith(reason)
    assert split_plan(plan, store) == ([good], [bad])
    moody.with_name("mood").write_text("well")
    second = run_plan(plan, store, settings)
    assert (second.skipped, second.trained, second.failed) == ([good], [bad], [])
    assert sorted(runs_frame(store).state) == ["finished", "finished"]
    assert sorted(run.info.status for run in store.runs_of()) == ["FAILED", "FINISHED", "FINISHED"]
    assert split_plan(plan, store)[1] == []


def test_processes_give_the_bits_that_this_process_gives(dataset, plugin, tmp_path):
    file = plugin("plain", PLAIN, TINY)
    plan, settings = tiny_plan(["erm", "db-focal"]), RunSettings(data_root=tmp_path / "data", plugins=(str(file),))
    for executor, side in ((InProcess(), "here"), (Processes(2), "there")):
        assert len(list(executor.run(settings.job(plan.experiments, tmp_path / side).one_by_one()))) == 2
    for name in (planned.experiment.id for planned in plan.experiments):
        assert fingerprint(tmp_path / "here" / name) == fingerprint(tmp_path / "there" / name)


@pytest.mark.parametrize("together", [False, True])
def test_a_worker_that_dies_fails_one_experiment_alone(together, dataset, plugin, tmp_path):
    """A cohort whose worker dies continues one by one."""
    moody = plugin("moody", MOODY, TINY, like="erm")
    moody.with_name("mood").write_text("killed")
    settings = RunSettings(data_root=tmp_path / "data", plugins=(str(moody),))
    job = settings.job(tiny_plan(["moody", "erm"]).experiments, tmp_path / "runs")
    ended = list(Processes(1, retries=0).run([job] if together else job.one_by_one()))
    assert ended == list(job.one_by_one())
    found = [RunFolder(one.members[0].folder).state() for one in ended]
    assert [state.state for state in found] == ["failed", "finished"]
    assert "the worker process died" in found[0].reason
    assert multiprocessing.active_children() == []


# A spawned worker imports the script again, and without `if __name__ == "__main__"` dies of it.
UNGUARDED = """
import sys
from mltbench.benchmark.training.execution import Execution
from mltbench.benchmark.executors.processes import Processes
from mltbench.benchmark.runs.job import Job, Member

jobs = [Job(members=(Member(experiment_json="", folder=sys.argv[1]),), data_root="", execution=Execution())]
print(len(list(Processes(1, retries=0).run(jobs))))
"""


def test_workers_that_never_start_end_the_plan(tmp_path):
    (tmp_path / "script.py").write_text(UNGUARDED)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "InputError: worker processes end before they begin" in done.stderr


# A loss that kills its worker the first two times, in its second step.
DEADLY = f"""
deaths = Path(__file__).with_name("deaths")
if self.calls == 2 and len(deaths.read_text()) < 2:
    deaths.write_text(deaths.read_text() + "x")
    os.kill(os.getpid(), signal.SIGKILL)
{PLAIN}
"""


@pytest.fixture
def deadly(plugin):
    """A plugin that registers the tiny set in every worker, and the deadly loss."""
    file = plugin("deadly", DEADLY, TINY, like="erm")
    file.with_name("deaths").write_text("")
    return file


@pytest.fixture
def cluster(monkeypatch):
    """Settings for a Ray of two cores on this machine, without a dashboard, statistics or output on the terminal."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'mltbench[ray]'")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    yield {"executor": "ray", "address": "local", "workers": 2}
    assert not ray.is_initialized()


# Ray 2.60 starts the processes of a local cluster and forgets them: Python warns of each when it is collected
# (ResourceWarning, raised in a destructor, which pytest tells as an unraisable exception).
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_plan_survives_workers_that_are_killed_and_equals_the_serial_one(
    cluster, deadly, store, tmp_path, empty_database, capfd
):
    plan = tiny_plan(["erm", "rs", "rw", "ml-gcn", "db-focal", "deadly"])
    settings = {"data_root": tmp_path / "data", "plugins": (str(deadly),)}
    summary = run_plan(plan, store, RunSettings(**settings, **cluster))
    assert (len(summary.trained), summary.failed, summary.not_uploaded) == (6, [], [])
    assert deadly.with_name("deaths").read_text() == "xx"
    for planned in plan.experiments:
        events = Counter(entry.event for entry in read_journal(store.runs / planned.experiment.id))
        assert events["finished"] == events["test"] == 1
    # Ray may say that a worker died, and nothing else.
    shown = capfd.readouterr().err.lower()
    assert not [word for word in ("usage stat", "dashboard", "local ray instance", "futurewarning") if word in shown]
    (tmp_path / "serial").mkdir()
    shutil.copy(empty_database, tmp_path / "serial")
    serial = open_store(tmp_path / "serial")
    run_plan(plan, serial, RunSettings(**settings, cohort=False))
    assert numbers(store) == numbers(serial)


@pytest.mark.soak
def test_a_machine_without_the_results_folder_keeps_checkpoints_and_returns_the_run(
    cluster, deadly, tmp_path, data_root, monkeypatch
):
    """Killed twice, the run resumes from the checkpoint on its machine; driver and worker share no folder of runs."""
    monkeypatch.setenv("MLTBENCH_HOME", str(tmp_path / "of the machine"))
    settings = RunSettings(data_root=data_root, execution=Execution(checkpoint_seconds=0.0), plugins=(str(deadly),))
    job, alone = (settings.job(tiny_plan(["deadly"]).experiments, tmp_path / name) for name in ("here", "alone"))
    assert list(RayCluster(2, address="local").run([job])) == [job]
    assert deadly.with_name("deaths").read_text() == "xx"
    folder = job.members[0].folder
    events = Counter(entry.event for entry in read_journal(Path(folder)))
    assert (events["start"], events["resumed"], events["finished"]) == (1, 2, 1)
    assert not list((tmp_path / "of the machine" / "runs").iterdir())
    assert list(InProcess().run([alone])) == [alone]
    assert fingerprint(folder) == fingerprint(alone.members[0].folder)


def test_without_ray_the_error_names_the_extra_and_a_wheel_must_be_there(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    with pytest.raises(InputError, match="no wheel at"):
        RayCluster(1, wheel=tmp_path / "nowhere.whl")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'mltbench\[ray\]'"):
        RayCluster(1)


@pytest.mark.soak
def test_two_commands_share_both_tables(tmp_path, data_root):
    """Fourteen experiments by two commands; the table is that of one command alone."""

    def command(workers, out):
        words = ["run", "--table", 1, "--table", 2, "--recipe", "digits-smoke", "--workers", workers]
        words += ["--out", tmp_path / out, "--data-root", data_root]
        return [sys.executable, "-m", "mltbench", *map(str, words)]

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    running = [subprocess.Popen(command(workers, "out"), **pipes) for workers in (1, 2)]
    shown = [process.communicate(timeout=500)[0] for process in running]
    assert not any(process.returncode for process in running), shown
    assert sum(int(re.search(r"trained (\d+)", text)[1]) for text in shown) == 14
    store = open_store(tmp_path / "out")
    runs = store.runs_of()
    assert Counter(run.info.status for run in runs) == {"FINISHED": 14}
    assert len({run.data.tags["mltbench.experiment_id"] for run in runs}) == 14
    for run in runs:
        events = Counter(e.event for e in read_journal(store.runs / run.data.tags["mltbench.experiment_id"]))
        assert events["finished"] == events["start"] == 1
    subprocess.run(command(1, "alone"), check=True, capture_output=True, timeout=500)
    assert numbers(store) == numbers(open_store(tmp_path / "alone"))
