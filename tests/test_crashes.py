import sys

import pytest
from crashes import KILLED, METHODS, fingerprint, in_child, run_killed, small_job
from mltbench.benchmark.run import run_job

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork")


@pytest.fixture(params=METHODS)
def uninterrupted(request, dataset, tmp_path):
    """A method, the events of its run, and what it comes to when nothing kills it."""
    job = small_job(tmp_path / "whole", request.param)
    assert in_child(run_killed, job, None) == 0
    events = (tmp_path / "whole.events").read_text().splitlines()
    return request.param, events, fingerprint(tmp_path / "whole")


def killed_and_resumed(folder, name, point, *, checkpoint_seconds=0.0):
    """What a run comes to that was killed at an event and then resumed."""
    job = small_job(folder, name, checkpoint_seconds=checkpoint_seconds)
    assert in_child(run_killed, job, point) == KILLED
    assert in_child(run_job, job) == 0
    return fingerprint(folder)


def test_a_run_killed_at_any_event_comes_to_the_same_bits(uninterrupted, tmp_path):
    name, events, expected = uninterrupted
    assert {"before learn_step", "half a line", "before fsync", "after replace", "before append"} <= set(events)
    sample = range(METHODS.index(name), len(events), 97)
    for point in sample:
        assert killed_and_resumed(tmp_path / str(point), name, point) == expected, events[point]


@pytest.mark.soak
def test_a_run_killed_at_every_event_comes_to_the_same_bits(uninterrupted, tmp_path):
    name, events, expected = uninterrupted
    for point in range(len(events)):
        assert killed_and_resumed(tmp_path / str(point), name, point) == expected, events[point]
