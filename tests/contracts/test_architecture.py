import ast
import fnmatch
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "mltbench"
# Room -> rooms that it may import besides itself.
BELOW = {
    "datasets": (),
    "methods": ("datasets",),
    "benchmark": ("datasets", "methods"),
    "reports": ("datasets", "methods", "benchmark"),
    "studies": ("datasets", "methods", "benchmark"),
}
# What git ignores, or keeps for itself; a checkout without git has the same rule.
NOT_OURS = (
    ".git",
    ".venv",
    ".hypothesis",
    ".*_cache",
    "__pycache__",
    "*.egg-info",
    "build",
    "dist",
    "mltbench-results",
    "mltbench-data",
)
ROOM_FILES = sorted(
    path for room in BELOW for path in (ROOT / room).rglob("*.py") if "__pycache__" not in path.relative_to(ROOT).parts
)
PACKAGE_FILES = [ROOT / "__init__.py", ROOT / "__main__.py", *ROOM_FILES]


def wrong_imports(source, location):
    """Imports of a room's module that the direction forbids; `location` is its path below the root."""
    parts = location.split("/")
    room, package = parts[0], parts[:-1]
    allowed = {room, *BELOW[room]}
    wrong = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
            wrong += [name for name in targets if name.split(".")[0] in (PACKAGE, "__main__", *BELOW)]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            wrong += [node.module] if node.module.split(".")[0] in (PACKAGE, "__main__", *BELOW) else []
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            inside = [*base, *(node.module.split(".") if node.module else [])]
            # `from .. import name` reaches the root, whose names are rooms or its own.
            reached = [inside[0]] if inside else [alias.name for alias in node.names]
            wrong += [".".join([*inside, *([name] if not inside else [])]) for name in reached if name not in allowed]
            if len(package) + 1 < node.level:
                wrong.append(f"{'.' * node.level} leaves the package")
    return [name for name in wrong if name != "__version__"]


@pytest.mark.parametrize("path", ROOM_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_run_one_way(path):
    assert wrong_imports(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()) == []


@pytest.mark.parametrize(
    ("location", "source", "found"),
    [
        ("datasets/x.py", "from ..methods.loss import ComposedLoss", ["methods.loss"]),
        ("datasets/sources/x.py", "from ...benchmark import plan", ["benchmark"]),
        ("methods/x.py", "def f():\n    from ..benchmark import plan", ["benchmark"]),
        ("methods/x.py", "if TYPE_CHECKING:\n    from .. import reports", ["reports"]),
        ("benchmark/x.py", "from .. import __main__", ["__main__"]),
        ("benchmark/x.py", "from ..__main__ import app", ["__main__"]),
        ("benchmark/executors/x.py", "from ...reports import table", ["reports"]),
        ("reports/x.py", "from ..studies import tuning", ["studies"]),
        ("studies/x.py", "from ..reports.table import build_table", ["reports.table"]),
        ("benchmark/x.py", "import mltbench.datasets", ["mltbench.datasets"]),
        ("benchmark/x.py", "from mltbench.datasets import errors", ["mltbench.datasets"]),
        ("benchmark/x.py", "from datasets import load_dataset", ["datasets"]),
        ("reports/x.py", "from ..benchmark.store import TAG\nfrom .. import __version__\nimport json", []),
        ("benchmark/executors/x.py", "from ..run import Job\nfrom .protocol import Executor", []),
    ],
)
def test_the_checker_itself_finds_wrong_imports_alone(location, source, found):
    assert wrong_imports(source, location) == found


def our_folders():
    for folder, names, files in os.walk(ROOT):
        names[:], files[:] = (
            [name for name in some if not any(fnmatch.fnmatch(name, pattern) for pattern in NOT_OURS)]
            for some in (names, files)
        )
        yield Path(folder), files


def folders_with_code():
    for folder, files in our_folders():
        if folder.relative_to(ROOT).parts[:1] != ("tests",) and any(name.endswith(".py") for name in files):
            yield folder


def setuptools_settings():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def test_the_list_of_packages_equals_the_tree():
    tree = {".".join([PACKAGE, *folder.relative_to(ROOT).parts]) for folder in folders_with_code()}
    listed = setuptools_settings()["packages"]
    assert sorted(listed) == sorted(tree)
    assert all((folder / "__init__.py").exists() for folder in folders_with_code())


def test_every_data_file_of_the_package_is_installed_with_it():
    settings = setuptools_settings()["package-data"]
    missing = [
        file.relative_to(ROOT).as_posix()
        for folder in folders_with_code()
        if folder != ROOT
        for file in folder.iterdir()
        if file.is_file() and file.suffix not in (".py", ".pyc", ".pyi")
        if not any(
            fnmatch.fnmatch(file.name, pattern)
            for pattern in settings.get(".".join([PACKAGE, *folder.relative_to(ROOT).parts]), [])
        )
    ]
    assert missing == []
    assert "py.typed" in settings[PACKAGE]


def test_the_tests_are_no_package():
    assert not (ROOT / "tests" / "__init__.py").exists()


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("mltbench.__main__", ("torch", "mlflow", "pandas")),
        ("mltbench.benchmark.commands.plan_terminal", ("torch", "mlflow", "pandas")),
        ("mltbench.reports.commands.report", ("torch", "mlflow")),
        ("mltbench.reports.results.results", ("torch",)),
        ("mltbench.reports.tables.table", ("torch",)),
        ("mltbench", ("torch", "mlflow", "pandas", "numpy")),
    ],
)
def test_a_module_loads_without_heavy_libraries(module, forbidden, tmp_path):
    code = f"import sys, {module}; print([name for name in {forbidden!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_module_says_what_it_is(path):
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert text
    assert text.strip()


def text_files():
    for folder, files in our_folders():
        for name in files:
            content = (folder / name).read_bytes()
            if b"\0" not in content:
                yield (folder / name).relative_to(ROOT).as_posix(), content.decode("utf-8")


def test_no_file_names_a_machine_path_or_a_registry():
    # In pieces, or this file would find itself.
    folders = [rf"(?<![\w.]){'/'}{name}/" for name in ("work", "root", "home", "Users")]
    hosts = ["index" + "-url", "trusted" + "-host", "find" + "-links", "artifact" + "ory"]
    pattern = re.compile("|".join([*folders, *hosts]))
    found = {name: pattern.findall(text) for name, text in text_files() if pattern.search(text)}
    assert found == {}
    assert pattern.search("see " + "/" + "work/main")
    assert pattern.search("pip install --" + "index" + "-url=x")
