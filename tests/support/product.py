"""The product's source as the contracts read it: every module of the package by its dotted name."""

import ast
from functools import cache
from pathlib import Path

import mltbench

ROOT = Path(mltbench.__file__).resolve().parent
PACKAGE = "mltbench"
ROOMS = ("benchmark", "datasets", "methods", "reports", "studies")
MODULES = {
    ".".join([PACKAGE, *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__"): path
    for path in sorted([*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))])
}


@cache
def tree_of(module):
    """The syntax tree of a module; treat it as read-only."""
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def is_package(module):
    return MODULES[module].name == "__init__.py"
