"""A command that a message suggests can be given as it stands: it names its dataset."""

import ast
import re

import pandas as pd
import pytest
from mltbench.reports.figures.class_size import class_size
from mltbench.reports.figures.source import FigureSource, MissingDataError
from mltbench.reports.results.runs import CLASS_COLUMNS
from product import MODULES, tree_of

HINT = re.compile(r"mltbench (?:run|study tune|study run) [^`]*--[^`]*")


def messages(tree):
    """Every string of a module as it will read, values as {}; docstrings are for those who read code."""
    nodes = list(ast.walk(tree))
    inner = {part for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    inner |= {node.value for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inner:
            yield node.value


def test_every_suggested_training_names_its_dataset():
    found = {
        (module, hint)
        for module in MODULES
        if not module.endswith("dispatch")
        for text in messages(tree_of(module))
        for hint in HINT.findall(text)
    }
    assert len(found) >= 8
    assert {(m, hint) for m, hint in found if not re.search("--dataset|--from-study|--plugin", hint)} == set()


@pytest.fixture
def without_runs(small_runs):
    return FigureSource(dataset="photos", runs=small_runs)


def test_a_figure_without_runs_says_how_to_make_them(without_runs):
    with pytest.raises(MissingDataError, match="`mltbench run --dataset photos --table 1` makes some"):
        _ = without_runs.standard_runs


def test_a_figure_without_its_methods_says_how_to_make_them(small_runs):
    line = {"dataset": "photos", "method": "ldam", "split": "test", "overrides": "", "class_size": 3, "ap": 5.0}
    frame = pd.DataFrame([line], columns=list(CLASS_COLUMNS))
    with pytest.raises(MissingDataError, match="`mltbench run --dataset photos --method erm --method rs`"):
        class_size(frame, methods=("erm", "rs"))
