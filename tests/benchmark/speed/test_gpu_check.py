"""The script for a machine with a GPU, where there is none."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from product import ROOT

SCRIPT = ROOT / "benchmark" / "speed" / "gpu_check.sh"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


def test_what_it_fetches_is_locked():
    (names,) = re.findall(r'^lacking="([^"]*)"', SCRIPT.read_text(), re.MULTILINE)
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert {"mlflow", "optuna", "pycocotools"} < set(names.split()) < locked


def test_a_part_runs_in_miniature_and_leaves_its_results(tmp_path):
    environment = {**os.environ, "PYTHON": sys.executable}
    words = ["bash", SCRIPT, tmp_path / "out", "cpu", "tests"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)
    assert re.search(r"^tests: exit status 0 after \d+ s of 100$", done.stdout, re.MULTILINE), done.stdout + done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"summary.txt", "tests.txt", "journals.txt"}
    assert re.search("skipped|passed", (tmp_path / "out" / "tests.txt").read_text())
