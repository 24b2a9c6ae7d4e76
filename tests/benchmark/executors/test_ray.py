import shutil
from collections import Counter
from pathlib import Path

import pytest
from crashes import fingerprint
from mltbench.benchmark.executors.in_process import InProcess
from mltbench.benchmark.executors.ray_cluster import RayCluster
from mltbench.benchmark.executors.run_plan import run_plan
from mltbench.benchmark.executors.settings import RunSettings
from mltbench.benchmark.experiments.plan import build_plan, choose_methods
from mltbench.benchmark.runs.journal import read_journal
from mltbench.benchmark.tracking.store import open_store
from mltbench.benchmark.training.check import tiny_dataset
from mltbench.benchmark.training.execution import Execution
from mltbench.errors import InputError
from plans import PLAIN, TINY, numbers, plugin_file, plugin_text

# A loss that kills its worker the first two times, in its second step.
DEADLY = f"""
deaths = Path(__file__).with_name("deaths")
if self.calls == 2 and len(deaths.read_text()) < 2:
    deaths.write_text(deaths.read_text() + "x")
    os.kill(os.getpid(), signal.SIGKILL)
{PLAIN}
"""


@pytest.fixture
def deadly(tmp_path, own_registrations):
    """A plugin that registers the tiny set in every worker, and the deadly loss."""
    (tmp_path / "deaths").write_text("")
    with plugin_file(tmp_path / "deadly_plugin.py", TINY, plugin_text("deadly", DEADLY, like="erm")) as file:
        yield file


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
    quick = ("recipe.plain.epochs=1", "recipe.resampled.epochs=1", "recipe.batch_size=8")
    methods = [*choose_methods([1, 2], []), "deadly"]
    plan = build_plan(tiny_dataset(), methods, seeds=[0], overrides=quick)
    assert len(plan.experiments) == 15
    settings = {"data_root": tmp_path / "data", "plugins": (str(deadly),)}
    summary = run_plan(plan, store, RunSettings(**settings, **cluster))
    assert (len(summary.trained), summary.failed, summary.not_uploaded) == (15, [], [])
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
    quick = ("recipe.plain.epochs=1", "recipe.batch_size=8")
    plan = build_plan(tiny_dataset(), ["deadly"], seeds=[0], overrides=quick)
    execution = Execution(checkpoint_seconds=0.0)
    settings = RunSettings(data_root=data_root, execution=execution, plugins=(str(deadly),))
    job, alone = (settings.job(plan.experiments, tmp_path / name) for name in ("here", "alone"))
    assert list(RayCluster(2, address="local").run([job])) == [job]
    assert deadly.with_name("deaths").read_text() == "xx"
    folder = job.members[0].folder
    entries = read_journal(Path(folder))
    events = Counter(entry.event for entry in entries)
    assert (events["start"], events["resumed"], events["finished"]) == (1, 2, 1)
    assert not list((tmp_path / "of the machine" / "runs").iterdir())
    assert list(InProcess().run([alone])) == [alone]
    assert fingerprint(folder) == fingerprint(alone.members[0].folder)


def test_without_ray_the_error_names_the_extra_and_a_wheel_must_be_there(monkeypatch, tmp_path):
    with pytest.raises(InputError, match="no wheel at"):
        RayCluster(1, wheel=tmp_path / "nowhere.whl")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'mltbench\[ray\]'"):
        RayCluster(1)
