"""What the tree holds is what is installed; it says what it is, with examples that are true, and names no machine."""

import ast
import doctest
import fnmatch
import importlib
import os
import re
import tomllib
from pathlib import Path

import pytest
from product import MODULES, PACKAGE, ROOT, is_package, tree_of

# What git ignores, or keeps for itself; a checkout without git has the same rule.
NOT_OURS = (
    ".git", ".venv", ".whl", ".hypothesis", ".*_cache", "__pycache__", "*.egg-info", "build", "dist", "mltbench-*",
)  # fmt: skip
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def test_the_list_of_packages_equals_the_tree():
    tree = {".".join([PACKAGE, *path.relative_to(ROOT).parent.parts]) for path in MODULES.values()}
    assert sorted(SETUPTOOLS["packages"]) == sorted(tree)
    assert {module for module in MODULES if is_package(module)} == tree
    assert not (ROOT / "tests" / "__init__.py").exists()


def test_every_data_file_of_the_package_is_installed_with_it():
    missing = [
        file.relative_to(ROOT).as_posix()
        for package in SETUPTOOLS["packages"]
        if package != PACKAGE
        for file in MODULES[package].parent.iterdir()
        if file.is_file() and file.suffix not in (".py", ".pyc", ".pyi")
        if not any(fnmatch.fnmatch(file.name, pattern) for pattern in SETUPTOOLS["package-data"].get(package, []))
    ]
    assert missing == []
    assert "py.typed" in SETUPTOOLS["package-data"][PACKAGE]


def test_every_module_says_what_it_is():
    assert [module for module in MODULES if not (ast.get_docstring(tree_of(module)) or "").strip()] == []


EXAMPLES = [module for module, path in MODULES.items() if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("module", EXAMPLES)
def test_examples_come_out_as_written(module, own_registrations):
    result = doctest.testmod(importlib.import_module(module))
    assert result.failed == 0 < result.attempted


def text_files():
    for folder, names, files in os.walk(ROOT):
        names[:], files[:] = (
            [name for name in some if not any(fnmatch.fnmatch(name, pattern) for pattern in NOT_OURS)]
            for some in (names, files)
        )
        for path in (Path(folder, name) for name in files):
            content = path.read_bytes()
            if b"\0" not in content:
                yield path.relative_to(ROOT).as_posix(), content.decode("utf-8")


def test_no_file_names_a_machine_path_or_a_registry():
    # In pieces, or this file would find itself.
    folders = [rf"(?<![\w.]){'/'}{name}/" for name in ("work", "root", "home", "Users")]
    hosts = ["index" + "-url", "trusted" + "-host", "find" + "-links", "artifact" + "ory"]
    pattern = re.compile("|".join([*folders, *hosts]))
    found = {name: pattern.findall(text) for name, text in text_files() if pattern.search(text)}
    assert found == {}
    assert pattern.search("see " + "/" + "work/main")
    assert pattern.search("pip install --" + "index" + "-url=x")


# Words that read as translated, or that have a standard name: in code, comments, docstrings and guides.
WORDS = r"""
    bring(s|ing)?|brought|carry\ out|surroundings|laborator(y|ies)|worker\ ?task|keeper|pulses?|courses?|forge|crew
    |drawers?|gauges?|whoever|with\ a\ word|look(s|ing)?\ after|goes\ on|told(?!\ apart)|somebody\ else's
"""
# Checkpoints that were written before have this key.
MAY_STAND = {"benchmark/training/feed.py": "course", "benchmark/training/learner.py": "course"}


def test_the_product_speaks_plainly():
    pattern = re.compile(rf"(?<![a-z])({WORDS})(?![a-z])", re.VERBOSE | re.IGNORECASE)
    found = {}
    for name, text in text_files():
        if name.endswith((".py", ".md")) and not name.startswith("tests/"):
            # `WorkerTask` and `worker_task` as they are spoken.
            spoken = re.sub(r"_|(?<=[a-z])(?=[A-Z])", " ", text)
            words = sorted({match.group().lower() for match in pattern.finditer(spoken)} - {MAY_STAND.get(name)})
            found |= {name: words} if words else {}
    assert found == {}
