import json
import sys

import pytest
from mltbench.methods import plugins
from plans import PLAIN, plugin_text

pytestmark = pytest.mark.usefixtures("own_folder")

QUICK = ["--override", "recipe.plain.epochs=1", "--override", "recipe.resampled.epochs=1", "--workers", "1"]


@pytest.fixture
def plugin(tmp_path, own_registrations):
    """Write a plugin; forget it afterwards."""
    files = []

    def writing(name, body, folder="."):
        file = tmp_path / folder / f"{name}_file.py" if folder == "." else tmp_path / folder / "mine.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(plugin_text(name, body))
        files.append(file)
        return file

    yield writing
    for file in files:
        sys.modules.pop(plugins.plugin_module_name(file), None)


def test_check_passes_a_good_method(call, plugin):
    status, shown, _ = call("check", "--plugin", plugin("good", PLAIN), "--method", "good", "--method", "ml-gcn")
    assert status == 0
    assert "2 of 2 methods passed" in shown


REASONS = [
    pytest.param('return logits.sum() * float("nan")', "not finite", id="nan"),
    pytest.param("return logits", "scalar", id="no scalar"),
    pytest.param("return torch.zeros(())", "grad", id="constant"),
    pytest.param("return logits.sum() * 0", "no weight has a gradient", id="flat"),
    pytest.param('raise ValueError("[/red] no way")', "[/red] no way", id="markup"),
]


@pytest.mark.parametrize(("body", "reason"), REASONS)
def test_check_fails_a_bad_method(call, plugin, body, reason):
    status, shown, _ = call("check", "--plugin", plugin("bad", body), "--method", "bad", "--method", "erm")
    assert status == 1
    assert "1 of 2 methods passed" in shown
    assert reason in shown


def test_a_run_that_fails_says_why_and_exits_with_1(call, plugin, out):
    file = plugin("bad", 'raise RuntimeError("[/red] no way")')
    status, shown, _ = call("run", "--plugin", file, "--method", "bad", "--method", "erm", *QUICK, "--out", out)
    assert status == 1
    assert "trained 1, failed 1, skipped 0" in shown
    assert "RuntimeError: [/red] no way" in shown
    (row,) = json.loads(call("runs", "list", "--json", "--method", "bad", "--out", out)[1])
    assert row["state"] == "failed"
    assert "RuntimeError" in call("runs", "show", row["run_id"], "--out", out)[1]


def test_two_plugins_of_one_file_name_are_both_loaded(call, plugin):
    files = [plugin("first", PLAIN, "a"), plugin("second", PLAIN, "b")]
    options = [word for file in files for word in ("--plugin", file)]
    assert call("check", *options, "--method", "first", "--method", "second")[0] == 0
