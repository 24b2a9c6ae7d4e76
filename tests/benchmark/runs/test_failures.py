import multiprocessing
import subprocess
import sys

import pytest
from crashes import fingerprint
from mltbench.benchmark.executors.in_process import InProcess
from mltbench.benchmark.executors.processes import Processes
from mltbench.benchmark.executors.run_plan import run_plan, split_plan
from mltbench.benchmark.executors.settings import RunSettings
from mltbench.benchmark.runs.folder import RunFolder
from mltbench.reports.results.runs import runs_frame
from plans import PLAIN, make_plan, plugin_file, plugin_text

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
def moody(tmp_path, own_registrations):
    """The plugin's file; its mood is in the file `mood` beside it."""
    with plugin_file(tmp_path / "moody_plugin.py", plugin_text("moody", MOODY, like="erm")) as file:
        yield file


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


def test_processes_give_the_bits_that_this_process_gives(data_root, tmp_path):
    plan, settings = make_plan(data_root, ["erm", "db-focal"]), RunSettings(data_root=data_root)
    for executor, side in ((InProcess(), "here"), (Processes(2), "there")):
        assert len(list(executor.run(settings.job(plan.experiments, tmp_path / side).one_by_one()))) == 2
    for name in (planned.experiment.id for planned in plan.experiments):
        assert fingerprint(tmp_path / "here" / name) == fingerprint(tmp_path / "there" / name)


@pytest.mark.parametrize("together", [False, True])
def test_a_worker_that_dies_fails_one_experiment_alone(together, moody, data_root, tmp_path):
    """A cohort whose worker dies continues one by one."""
    moody.with_name("mood").write_text("killed")
    settings = RunSettings(data_root=data_root, plugins=(str(moody),))
    job = settings.job(make_plan(data_root, ["moody", "erm"]).experiments, tmp_path / "runs")
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
print(len(list(Processes(1).run(jobs))))
"""


def test_workers_that_never_start_end_the_plan(tmp_path):
    (tmp_path / "script.py").write_text(UNGUARDED)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "InputError: worker processes end before they begin" in done.stderr
