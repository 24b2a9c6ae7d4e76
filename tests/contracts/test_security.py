"""Nothing untrusted is executed: what the package may not contain, and what it may not do."""

import ast
import tomllib

import pytest
from product import MODULES, ROOT, tree_of

FORBIDDEN = ("pickle.load", "pickle.loads", "yaml.load", "eval", "exec", "os.system", "marshal.loads", "joblib.load")


WORDS = {"shell=True", "allow_pickle=True", "host='0.0.0.0'"}


def offences(tree):
    """Calls that would execute what somebody else wrote."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name, words = ast.unparse(call.func), {ast.unparse(word) for word in call.keywords}
        if name in FORBIDDEN or words & WORDS or (name == "torch.load" and "weights_only=True" not in words):
            yield ast.unparse(call)


def test_the_package_executes_nothing_of_foreign_making():
    assert {name: found for name in MODULES if (found := list(offences(tree_of(name))))} == {}


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
def test_the_search_finds_what_it_looks_for(text):
    assert list(offences(ast.parse(text))) == [text]


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
