"""A small run that is killed at its events: what the tests of resuming and of checkpoints share."""

import os
import sys
import tempfile
import traceback
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from frozen_truth import scores_digest, weights_digest
from mltbench import files
from mltbench.benchmark.experiments.recipe import Schedule
from mltbench.benchmark.runs import journal, run
from mltbench.benchmark.runs.folder import RunFolder
from mltbench.benchmark.runs.job import Job, Member
from mltbench.benchmark.runs.journal import Journal, read_journal
from mltbench.benchmark.runs.run import run_cohort
from mltbench.benchmark.training.check import tiny_experiment
from mltbench.benchmark.training.execution import Execution
from mltbench.benchmark.training.learner import Learner
from mltbench.methods.catalogue import get_method

# Dropout in all; class-aware sampling and its cycles in the second; another head in the third.
METHODS = ("erm", "db-focal", "ml-gcn")
KILLED, TROUBLE = 9, 3


def cohort_job(names, folder, *, checkpoint_seconds=0.0, parameters=None, recipes=None, **settings):
    """Two epochs of two or three steps on the tiny set, validated after each, with a checkpoint after every step.

    `parameters` are hyper-parameters by method where they are not its own, `recipes` settings of its recipe.
    """
    schedule = Schedule(epochs=2, decay_after=(1,))
    settings = {"plain": schedule, "resampled": schedule, "batch_size": 6, "image_size": 16, "neck_width": 8} | settings
    settings = {"dropout": 0.5, "warmup_iterations": 3} | settings
    own = {name: get_method(name).with_parameters(**(parameters or {}).get(name, {})) for name in names}
    of_all = {name: settings | (recipes or {}).get(name, {}) for name in names}
    texts = {name: tiny_experiment(method, **of_all[name]).to_json() for name, method in own.items()}
    members = tuple(Member(experiment_json=text, folder=str(folder / name)) for name, text in texts.items())
    execution = Execution(evaluate_every=1, checkpoint_seconds=checkpoint_seconds)
    return Job(members=members, data_root="", execution=execution)


def small_job(folder, name="erm", **settings):
    """A job of that kind for one method, whose run lies in the folder itself."""
    return in_folder(cohort_job([name], Path(folder), **settings), folder)


def in_folder(job, folder):
    """The same job with its run in another folder."""
    (member,) = job.members
    return replace(job, members=(replace(member, folder=str(folder)),))


def fingerprint(folder):
    """Digests of the weights and of the scores, and the journal's metrics as hex floats, costs apart."""
    folder = Path(folder)
    digests = weights_digest(folder / "weights.pt"), scores_digest(folder / "test_scores.npz")
    points = [
        (entry.event, entry.step, name, value.hex())
        for entry in read_journal(folder)
        for name, value in entry.metrics.items()
        if not name.startswith("cost/")
    ]
    assert not [entry for entry in read_journal(folder) if entry.event == "not repeated"]
    return (*digests, (folder / "per_class.json").read_text()), points


@cache
def _warm_up():
    """Do once what is done once per process, for all children: imports, git's answers (1.7 of a child's 1.9 s)."""
    with tempfile.TemporaryDirectory() as folder:
        run_cohort(small_job(folder))


def in_child(function, *arguments):
    """Run a function in a forked child, in which torch is imported already; return its exit status."""
    _warm_up()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = TROUBLE
    try:
        torch.set_num_threads(1)
        function(*arguments)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


class Events:
    """Counts the events of a run, and kills the process at one of them.

    Attributes:
        kill_at: number of the event before which the process dies; None never.
        seen: names of the events so far.
    """

    def __init__(self, kill_at=None):
        self.kill_at, self.seen = kill_at, []

    def happens(self, name):
        if len(self.seen) == self.kill_at:
            os._exit(KILLED)
        self.seen.append(name)

    def before(self, owner, attribute, name=None):
        """Make every call of a function an event, and its return another one."""
        original, name = getattr(owner, attribute), name or attribute

        def with_event(*arguments, **named):
            self.happens(f"before {name}")
            result = original(*arguments, **named)
            self.happens(f"after {name}")
            return result

        setattr(owner, attribute, with_event)

    def everywhere(self):
        """Watch all through which a run passes: steps, evaluations, and whatever it does to the disk."""
        self.before(Learner, "step")
        self.before(Learner, "evaluate")
        self.before(Journal, "append")
        self.before(run, "write_outcome")
        self.before(run, "remove_checkpoints")
        self.before(RunFolder, "clear")
        self.before(files.os, "fsync")
        self.before(files.Path, "replace")
        self.before(files.Path, "unlink")
        self._half_written()

    def _half_written(self):
        """Let the process die in the middle of what it writes as well: half of a file, half of a line."""
        events, original = self, files.Path.open

        class Half:
            def __init__(self, file):
                self.file = file

            def __enter__(self):
                return self

            def __exit__(self, *error):
                self.file.close()

            def __getattr__(self, name):
                return getattr(self.file, name)

            def write(self, content):
                self.file.write(content[: len(content) // 2])
                self.file.flush()
                events.happens("half a line")
                return self.file.write(content[len(content) // 2 :])

            def writelines(self, parts):
                for part in parts:
                    self.write(part)

        def opened(path, mode="r", *arguments, **named):
            file = original(path, mode, *arguments, **named)
            ours = path.name.endswith(".new") or (path.name == journal.JOURNAL_NAME and mode == "a+b")
            return Half(file) if ours else file

        files.Path.open = opened


def run_killed(job, kill_at):
    """Run a job until its event of that number; if it ends, write the events' names into a file beside the folder."""
    events = Events(kill_at)
    events.everywhere()
    run_cohort(job)
    Path(f"{job.members[0].folder}.events").write_text("\n".join(events.seen))


def steps_and_kill(job, number):
    """Run a job that is killed before its step of that number, those of all members counted."""
    events = Events(2 * number)
    events.before(Learner, "learn")
    run_cohort(job)


def resumed(job):
    """Run a job to its end in a child; return what it comes to."""
    assert in_child(run_cohort, job) == 0
    return fingerprint(job.members[0].folder)
