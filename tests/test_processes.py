import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mltbench.processes import map_in_processes

SLEEPERS = """
import multiprocessing, time
from mltbench.processes import map_in_processes
for _ in map_in_processes(time.sleep, [0, 0, 0, 60, 60, 60], 2):
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(workers):
    assert list(map_in_processes(math.factorial, range(20), workers)) == [math.factorial(i) for i in range(20)]
    with pytest.raises(ValueError, match="factorial"):
        list(map_in_processes(math.factorial, [1, -1], workers))


def is_alive(pid):
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_worker_processes_end_with_a_killed_parent():
    with subprocess.Popen([sys.executable, "-c", SLEEPERS], stdout=subprocess.PIPE, text=True) as parent:
        children = parent.stdout.readline().split()
        assert len(children) == 2
        parent.kill()
    deadline = time.monotonic() + 20
    while any(map(is_alive, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, children))
