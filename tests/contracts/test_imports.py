"""Imports run one way, between rooms and inside them; they stand at the top of a file, without a circle."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter

import pytest
from product import MODULES, PACKAGE, ROOMS, is_package, tree_of

# Each may import what comes before it, and nothing that comes after.
ROWS = (
    "errors files processes registry terminal dispatch",
    "datasets.long_tail datasets.dataset datasets.images datasets.prepared datasets.registry datasets.word_vectors",
    "datasets.download datasets.importing datasets.published datasets.sources datasets.commands",
    "methods",
    "benchmark.networks benchmark.experiments benchmark.training benchmark.runs benchmark.tracking",
    "benchmark.executors benchmark.speed benchmark.commands",
    "studies.tuning studies.sweeps studies.commands",
    "reports.results reports.tables reports.figures reports.pages reports.leaderboard reports.commands",
    "__main__",
)
ORDER = [name for row in ROWS for name in row.split()]
# Libraries of optional extras, which load where they are used.
EXTRAS = ("optuna_dashboard", "plotly", "psycopg", "ray", "torchmetrics")
# Any other import inside a function: (module, what it imports) with the reason.
INSIDE_FUNCTIONS = {
    ("__main__", "mltbench.dispatch"): "0.2 s in which Ctrl-C would print a traceback",
    (
        "benchmark.commands.options",
        "mltbench.benchmark.tracking.store",
    ): "2 s of MLflow: `mltbench run` starts a worker",
    ("benchmark.commands.options", "mltbench.benchmark.tracking.winners"): "the same",
    ("benchmark.commands.run", "mltbench.benchmark.commands.plans"): "the same",
    ("benchmark.networks.backbones", "torchvision"): "2.9 s of CPU, which networks of the suite's own do without",
    ("benchmark.networks.initial_weights", "torchvision"): "the same; only published weights need it",
    ("benchmark.speed.plain_loop", "torchvision.transforms.v2"): "the same",
    ("datasets.sources.digit_scenes", "sklearn.datasets.load_digits"): "2.4 s, needed once to render the scenes",
}
# Packages whose public names load on first use; they list them for type checkers.
PUBLIC = (PACKAGE, f"{PACKAGE}.reports")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@cache
def imports_of(module):
    return tuple(imports(module, tree_of(module), is_package(module)))


def imports(module, tree, package=False):
    """Every import as (what is imported, whether relative, whether inside a function); ours by their dotted names."""
    inside = {node for function in ast.walk(tree) if isinstance(function, FUNCTIONS) for node in ast.walk(function)}
    parents = module.split(".") if package else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False, node in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                name = f"{origin}.{alias.name}"
                alone = origin in MODULES and name not in MODULES
                yield (origin if alone else name), node.level > 0, node in inside


def place(module):
    """Where a module stands in `ORDER`; None for one that has no place."""
    names = module.split(".")[1:]
    heads = [".".join(names[:length]) for length in range(len(names), 0, -1)]
    return next((ORDER.index(head) for head in heads if head in ORDER), None)


def is_wrong(module, target, relative):
    """Whether an import goes against the order, or names the package as if from outside."""
    first, second = module.split("."), target.split(".")
    if not relative:
        return second[0] in (PACKAGE, "__main__", *ROOMS)
    if module in PUBLIC or target in (PACKAGE, f"{PACKAGE}.__version__"):
        return False
    return (
        place(module) is None
        or place(target) is None
        or place(target) > place(module)
        or {first[1], second[1]} == {"reports", "studies"}
        or ("commands" in second and "commands" not in first and first[1] != "__main__")
    )


def foreign_privates(tree):
    """Uses of names such as `_x` that the same file does not define, and of what libraries vendor."""
    nodes = list(ast.walk(tree))
    own = {node.name for node in nodes if isinstance(node, (*FUNCTIONS[:2], ast.ClassDef))}
    own |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    own |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    # Public in spite of their names: `os._exit`, and what named tuples have.
    own |= {"_exit", "_replace", "_asdict"}
    for node in nodes:
        names = [node.attr] if isinstance(node, ast.Attribute) else []
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = ".".join([getattr(node, "module", None) or "", *(alias.name for alias in node.names)]).split(".")
        names = [name for name in names if not name.startswith("__") and name not in own]
        if any(name.startswith("_") or name == "externals" for name in names):
            yield ast.unparse(node)


def changes_environment(statement):
    if isinstance(statement, FUNCTIONS):
        return False
    if isinstance(statement, ast.Subscript) and not isinstance(statement.ctx, ast.Load):
        return ast.unparse(statement.value).endswith("environ")
    called = ast.unparse(statement.func) if isinstance(statement, ast.Call) else ""
    return called.endswith(("environ.update", "environ.setdefault", "environ.pop", "putenv")) or any(
        changes_environment(child) for child in ast.iter_child_nodes(statement)
    )


def test_imports_run_one_way():
    assert [f"{a} imports {b}" for a in MODULES for b, relative, _ in imports_of(a) if is_wrong(a, b, relative)] == []


def test_no_modules_import_each_other_in_a_circle():
    graph = {a: [b for b, _, _ in imports_of(a) if b not in PUBLIC] for a in MODULES if a not in PUBLIC}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_packages_hold_nothing_but_their_description():
    assert [a for a in MODULES if is_package(a) and a not in PUBLIC and len(tree_of(a).body) > 1] == []


def test_imports_stand_at_the_top():
    inside = {(a, b) for a in MODULES for b, _, late in imports_of(a) if late and b.split(".")[0] not in EXTRAS}
    assert sorted((a.removeprefix(f"{PACKAGE}."), b) for a, b in inside) == sorted(INSIDE_FUNCTIONS)


def test_private_names_are_used_where_they_are_defined():
    assert {a: uses for a in MODULES if (uses := list(foreign_privates(tree_of(a))))} == {}


def test_no_module_changes_the_environment_when_it_is_imported():
    assert [a for a in MODULES if any(map(changes_environment, tree_of(a).body))] == []


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("datasets.dataset", "from ..methods.loss import ComposedLoss", ["methods.loss"]),
        ("datasets.long_tail.x", "from ..images import decode", ["datasets.images.decode"]),
        ("methods.x", "def f():\n    from ..benchmark import training", ["benchmark.training"]),
        ("methods.x", "if TYPE_CHECKING:\n    from ..reports import tables", ["reports.tables"]),
        ("reports.tables.x", "from ...studies import tuning", ["studies.tuning"]),
        ("studies.tuning.x", "from ...benchmark.commands import run", ["benchmark.commands.run"]),
        ("benchmark.runs.x", "from ...__main__ import main", ["__main__"]),
        ("benchmark.unknown.x", "from ...errors import InputError", ["errors"]),
        ("benchmark.runs.x", "import mltbench.datasets", ["datasets"]),
        ("errors", "from datasets import registry", ["datasets.registry"]),
        ("studies.commands.x", "from ...benchmark.commands import run\nfrom ... import __version__\nimport json", []),
    ],
)
def test_the_check_finds_wrong_imports_alone(module, source, found):
    module = f"{PACKAGE}.{module}"
    wrong = [target for target, relative, _ in imports(module, ast.parse(source)) if is_wrong(module, target, relative)]
    assert [name.removeprefix(f"{PACKAGE}.") for name in wrong] == found


def test_the_other_checks_find_what_they_look_for():
    for source in ("forkserver._forkserver", "from torch._dynamo import config", "from joblib.externals import loky"):
        assert list(foreign_privates(ast.parse(source))) == [source]
    assert not list(foreign_privates(ast.parse("def f(self):\n    self._x = self.__dict__\n    return self._x")))
    for source in ("os.environ['A'] = '1'", "if x:\n    os.environ.setdefault('A', '1')", "del environ['A']"):
        assert changes_environment(ast.parse(source).body[0])
    assert not changes_environment(ast.parse("def f():\n    os.environ['A'] = os.environ['B']").body[0])
