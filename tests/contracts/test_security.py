"""Nothing untrusted is executed: what the package may not contain, and what it may not do."""

import ast
import tomllib

import pytest
from product import MODULES, ROOT

FORBIDDEN = ("pickle.load", "pickle.loads", "yaml.load", "eval", "exec", "os.system", "marshal.loads", "joblib.load")


def calls(path):
    """Every call of a file with its name as written, such as `torch.load`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {key.arg: ast.unparse(key.value) for key in node.keywords}, node.lineno


def offences(path):
    """Calls that would execute what somebody else wrote."""
    for name, words, line in calls(path):
        where = f"{path.name}:{line} {name}"
        if name in FORBIDDEN or (name == "torch.load" and words.get("weights_only") != "True"):
            yield where
        if words.get("shell") == "True" or words.get("allow_pickle") == "True" or words.get("host") == "'0.0.0.0'":
            yield where


def test_the_package_executes_nothing_of_foreign_making():
    assert [found for path in MODULES.values() for found in offences(path)] == []


@pytest.mark.parametrize(
    "text",
    [
        "pickle.load(file)",
        "eval(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "subprocess.run(text, shell=True)",
        "numpy.load(path, allow_pickle=True)",
        "yaml.load(text)",
    ],
)
def test_the_search_finds_what_it_looks_for(text, tmp_path):
    (tmp_path / "bad.py").write_text(text)
    assert len(list(offences(tmp_path / "bad.py"))) == 1


def test_old_versions_with_known_holes_are_refused():
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {"mlflow>=3.11", "torch>=2.10"} <= set(requirements)


def test_mlflow_unpickles_nothing(tmp_path, monkeypatch):
    from mlflow.environment_variables import MLFLOW_ALLOW_PICKLE_DESERIALIZATION
    from mltbench.benchmark.tracking.store import open_store

    monkeypatch.delenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", raising=False)
    assert MLFLOW_ALLOW_PICKLE_DESERIALIZATION.get()
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    open_store(tmp_path)
    assert not MLFLOW_ALLOW_PICKLE_DESERIALIZATION.get()
