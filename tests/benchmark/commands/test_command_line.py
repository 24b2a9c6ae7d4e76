import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mltbench import __version__
from mltbench.__main__ import COMMANDS
from mltbench.methods.catalogue import CATALOGUE
from plans import PLAIN

pytestmark = pytest.mark.usefixtures("own_folder")

QUICK = ["--override", "recipe.plain.epochs=1", "--override", "recipe.resampled.epochs=1", "--workers", "1"]


def in_a_process(*command, cwd):
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100)


EVERY_LIST = """
import contextlib, io, json, sys
from mltbench.__main__ import main
shown = {}
for words in ([], ["--version"], ["--help"], ["data"], ["study", "--help"], ["bench", "--help"]):
    sys.argv = ["mltbench", *words]
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        main()
    shown[" ".join(words)] = text.getvalue()
print(json.dumps([shown, [name for name in ("torch", "mlflow", "pandas", "numpy") if name in sys.modules]]))
"""


@pytest.mark.parametrize("words", [(), ("study",), ("run",), ("runs", "show")], ids=" ".join)
def test_h_is_help(words, call):
    assert call(*words, "-h") == call(*words, "--help")
    assert call(*words, "-h")[0] == 0


@pytest.mark.parametrize("line", ["methods db", f"run {' '.join(QUICK[:-1])} 2 --method erm --out runs"])
@pytest.mark.parametrize("delay", [0.5, 3])
def test_ctrl_c_while_a_command_starts_is_one_line(delay, line, tmp_path):
    command = [sys.executable, "-m", "mltbench", *line.split()]
    started = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    time.sleep(delay)
    try:
        os.killpg(started.pid, signal.SIGINT)
    except ProcessLookupError:  # done before
        return
    shown, _ = started.communicate(timeout=60)
    assert "Traceback" not in shown
    # -2: it had printed everything, and Python was about to end.
    assert (started.returncode, "interrupted" in shown) in [(130, True), (0, False), (-2, False)], shown


def test_lists_of_commands_load_nothing_heavy(tmp_path):
    shown, heavy = json.loads(in_a_process(sys.executable, "-c", EVERY_LIST, cwd=tmp_path).stdout)
    assert heavy == []
    assert shown["--version"].strip() == __version__
    assert shown[""] == shown["--help"]
    assert all(f" {name.split()[0]} " in shown[""] for name in COMMANDS)
    for group in ("data", "study --help", "bench --help"):
        assert "Usage: mltbench " + group.split()[0] in shown[group]
    assert "Run one of the paper's sweeps" in shown["study --help"]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_has_an_example_and_describes_every_option(name, call):
    status, shown, _ = call(*name.split(), "--help")
    assert status == 0
    assert re.search(rf"mltbench {name}\b", shown.partition("For example:")[2])
    assert all(default not in shown for default in ("None", "False", "()"))
    assert [line for line in shown.splitlines() if re.match(r"│ [ *]*--[a-z-]+( [A-Z.]+)?\s*│", line)] == []
    summary = next(line for line in shown.splitlines()[1:] if line.strip()).strip()
    assert summary.endswith(".")
    assert summary in re.sub(r"\s*│\n│\s+", " ", call(*name.split()[:-1])[1])


def test_the_help_of_run_lists_the_options_that_commands_share(call):
    shown = call("run", "--help")[1]
    options = ("--table", "--seeds", "--override", "--dry-run", "--no-cohort", "--out", "--data-root", "--tracking-uri")
    assert all(option in shown for option in options)


def test_the_command_starts_as_module_and_as_script(tmp_path):
    script = Path(sys.executable).with_name("mltbench")
    for command in [[sys.executable, "-m", "mltbench"], *([[script]] if script.exists() else [])]:
        assert in_a_process(*command, "--version", cwd=tmp_path).stdout.strip() == __version__


def test_methods_are_listed_in_words_and_as_json(call):
    status, shown, _ = call("methods", "--json")
    rows = json.loads(shown)
    assert status == 0
    assert {method.name: method.title for method in CATALOGUE}.items() <= {r["name"]: r["title"] for r in rows}.items()
    (row,) = json.loads(call("methods", "db-focal", "--dataset", "coco-mlt", "--json")[1])
    assert (row["weights"]["mu"], row["adjustment"]["negative_scale"], row["schedule"]) == (0.2, 2, "re-sampled")
    assert "rs+cb-focal" in call("methods")[1]


def test_datasets_are_listed_and_shown(call, tmp_path):
    assert "digits-mlt" in [row["name"] for row in json.loads(call("data", "list", "--json")[1])]
    assert "digits-mlt" in call("data", "list")[1]
    status, shown, _ = call("data", "show", "digits-mlt", "--json", "--out", tmp_path / "picture.png")
    assert status == 0
    assert json.loads(shown)["picture"] == str(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_a_dry_run_shows_the_plan_and_trains_nothing(call, out):
    options = ("--seeds", 3, "--device", "cpu")
    status, shown, _ = call("run", "--table", 2, *options, "--dry-run", "--out", out)
    assert status == 0
    assert all(words in shown for words in ("15 to train", "Nothing was trained", "RS+CB-Focal"))
    assert "3 seeds: 0 to 2; the one seed 3 is --seeds 3," in shown
    assert not (out / "runs").exists()


def listed(call, out, *words):
    return json.loads(call("runs", "list", "--json", "--out", out, *words)[1])


def test_from_run_to_report(call, out, tmp_path):
    status, shown, _ = call("run", "--method", "erm", "--method", "db", "--seeds", "1", *QUICK, "--out", out)
    assert status == 0
    assert "trained 2, failed 0, skipped 0" in shown
    status, shown, _ = call("run", "--method", "erm", *QUICK, "--out", out)
    assert (status, "nothing to train" in shown) == (0, True)
    assert "1 finished, 0 to train" in call("run", "--method", "erm", *QUICK, "--dry-run", "--out", out)[1]
    rows = listed(call, out)
    assert [row["method"] for row in rows] == ["erm", "db"], "in the order of the tables"
    assert all(0 < row["total"] < 1 and row["state"] == "finished" for row in rows)
    assert listed(call, out, "--method", "db") == [row for row in rows if row["method"] == "db"]
    name = rows[0]["experiment"]
    assert name[:8] in call("runs", "list", "--out", out)[1]
    status, shown, _ = call("runs", "show", name[:10], "--out", out)
    assert (status, rows[0]["run_id"] in shown, "test/total" in shown) == (0, True, True)
    status, shown, _ = call("report", "--out", out, "--to", tmp_path / "pages", "--no-figures")
    files = {file.relative_to(tmp_path / "pages").as_posix() for file in (tmp_path / "pages").rglob("*.*")}
    tables = {f"table1-digits-mlt.{ending}" for ending in ("md", "tex", "csv")}
    assert "table2-digits-mlt.md" not in files, "neither method is of Table 2"
    assert tables | {"index.html", "results.json"} <= files
    assert f"{100 * rows[0]['total']:.2f}" in shown
    assert f"{100 * rows[0]['total']:.2f}" in (tmp_path / "pages" / "index.html").read_text()
    assert name[:8] in (tmp_path / "pages" / "table1-digits-mlt.md").read_text()


def test_a_deleted_run_is_trained_anew(call, out, monkeypatch):
    call("run", "--method", "erm", *QUICK, "--out", out)
    (row,) = listed(call, out)
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    assert call("runs", "delete", row["experiment"], "--out", out)[0] == 1
    assert listed(call, out) == [row]
    status, shown, _ = call("runs", "delete", row["experiment"], "--yes", "--out", out)
    assert (status, "deleted" in shown) == (0, True)
    assert listed(call, out) == []
    assert not (out / "runs" / row["experiment"]).exists()
    assert "0 finished before, 1 to train" in call("run", "--method", "erm", *QUICK, "--out", out)[1]
    (again,) = listed(call, out)
    assert (again["experiment"], again["total"]) == (row["experiment"], row["total"])


def test_check_passes_a_good_method(call, plugin):
    status, shown, _ = call(
        "check", "--plugin", plugin("good", PLAIN, load=False), "--method", "good", "--method", "ml-gcn"
    )
    assert status == 0
    assert "2 of 2 methods passed" in shown


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('return logits.sum() * float("nan")', "not finite"),
        ("return logits", "scalar"),
        ("return torch.zeros(())", "grad"),
        ("return logits.sum() * 0", "no weight has a gradient"),
        ('raise ValueError("[/red] no way")', "[/red] no way"),
    ],
)
def test_check_fails_a_bad_method(call, plugin, body, reason):
    status, shown, _ = call("check", "--plugin", plugin("bad", body, load=False), "--method", "bad", "--method", "erm")
    assert status == 1
    assert "1 of 2 methods passed" in shown
    assert reason in shown


def test_a_run_that_fails_says_why_and_exits_with_1(call, plugin, out):
    file = plugin("bad", 'raise RuntimeError("[/red] no way")', load=False)
    status, shown, _ = call("run", "--plugin", file, "--method", "bad", "--method", "erm", *QUICK, "--out", out)
    assert status == 1
    assert "trained 1, failed 1, skipped 0" in shown
    assert "RuntimeError: [/red] no way" in shown
    (row,) = json.loads(call("runs", "list", "--json", "--method", "bad", "--out", out)[1])
    assert row["state"] == "failed"
    assert "RuntimeError" in call("runs", "show", row["run_id"], "--out", out)[1]


def test_two_plugins_of_one_file_name_are_both_loaded(call, plugin):
    files = [plugin(name, PLAIN, folder=name, load=False) for name in ("first", "second")]
    options = [word for file in files for word in ("--plugin", file)]
    assert call("check", *options, "--method", "first", "--method", "second")[0] == 0
