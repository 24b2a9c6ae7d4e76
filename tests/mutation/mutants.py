"""Small faults in a module's source: each mutant changes one expression or statement, as people err.

A mutant that another one covers is left out: where `a and b` lacks each operand in turn, `a or b` has nothing to add.
Presentation is left alone: messages, annotations, docstrings and what is printed decide no number.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

OTHER_COMPARISON = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
OTHER_OPERATOR = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
SPLITS = {"train": "validation", "validation": "test", "test": "train"}
WORDS = SPLITS | {
    "first": "last", "last": "first", "left": "right", "right": "left", "head": "tail", "medium": "head",
    "tail": "medium", "nearest": "bilinear", "bilinear": "nearest", "border": "reflection", "zeros": "border",
    "finished": "failed", "failed": "finished", "raise": "ignore", "linear": "nearest", "mean": "sum", "sum": "mean",
}  # fmt: skip
FUNCTIONS = {
    "min": "max", "max": "min", "any": "all", "all": "any", "floor": "ceil", "ceil": "floor", "argmin": "argmax",
    "argmax": "argmin", "minimum": "maximum", "maximum": "minimum", "amin": "amax", "amax": "amin", "mean": "sum",
    "sum": "mean", "std": "var", "isna": "notna", "notna": "isna", "zeros": "ones", "ones": "zeros", "log": "log1p",
    "zeros_like": "ones_like", "ones_like": "zeros_like", "logical_and": "logical_or", "logical_or": "logical_and",
    "union": "intersection", "intersection": "union", "clamp_min": "clamp_max", "clamp_max": "clamp_min",
    "startswith": "endswith", "endswith": "startswith",
}  # fmt: skip
# A call of one argument, or a method without any, that may be forgotten.
FORGOTTEN = {"abs", "sorted", "reversed", "round", "set", "sqrt", "exp", "log1p", "expm1", "sigmoid", "copy", "clone"}
# What is called for its message or its page, not for a number.
PRESENTED = {"InputError", "warn", "print", "debug", "info", "warning", "write", "echo", "Parameter", "unknown_name"}
# Keywords that only refuse what does not happen, repeat a default, or say how a file is laid out or what is shown.
KEYWORDS_LEFT_ALONE = {
    *("strict", "frozen", "kw_only", "slots", "weights_only", "allow_pickle", "legacy"),
    *("encoding", "newline", "lineterminator", "indent", "errors", "summary", "reference", "title", "caption"),
    *("optional", "prose"),
}
PARTS_LEFT_ALONE = {"annotation", "returns", "exc", "cause", "decorator_list", "msg"}
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change to one module."""

    module: str  # its path from the root of the project
    lines: range
    was: str
    became: str
    number: int  # among equal changes of the module, from 1
    on_import: bool  # outside of every function
    source: str  # the whole module with the change, every other line where it was

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What stays the same while other lines move."""
        return self.module, self.was, self.became, self.number


def mutants_of(module: str, source: str) -> list[Mutant]:
    """Every mutant of a module, in the order of its lines.

    >>> [(mutant.was, mutant.became) for mutant in mutants_of("toy.py", "a = b < 3")]
    [('b < 3', '(b <= 3)'), ('3', '4')]
    """
    tree, data = ast.parse(source), source.encode()
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    inside = {
        part for node in ast.walk(tree) if isinstance(node, FUNCTION) for body in node.body for part in ast.walk(body)
    }
    equal, found = Counter[tuple[str, str]](), {}
    for node, text in sorted(_changes(tree), key=lambda change: (change[0].lineno, change[0].col_offset)):
        begin, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        old, lines = data[begin:end].decode(), range(node.lineno, node.end_lineno + 1)
        was, became = " ".join(old.split()), " ".join(text.split())
        if (begin, end, became) in found or became in (was, f"({was})", ast.unparse(node)):
            continue
        equal[was, became] += 1
        blank = "\n" * (len(lines) - 1)
        filled = f"({text}{blank})" if isinstance(node, ast.expr) and blank else text + blank
        found[begin, end, became] = Mutant(
            module=module, lines=lines, was=was, became=became, number=equal[was, became], on_import=node not in inside,
            source=(data[:begin] + filled.encode() + data[end:]).decode(),
        )  # fmt: skip
    return list(found.values())


def _changes(tree: ast.Module) -> Iterator[tuple[Any, str]]:
    for node in _deciding(tree):
        for test in _conditions(node):
            yield test, f"(not ({ast.unparse(test)}))"
        for kind, changes in CHANGES:
            if isinstance(node, kind):
                for changed in changes(node):
                    text = changed if isinstance(changed, str) else ast.unparse(changed)
                    yield node, f"({text})" if isinstance(node, ast.expr) and _needs_parentheses(node) else text


def _needs_parentheses(node: ast.expr) -> bool:
    return not isinstance(
        node, ast.Constant | ast.List | ast.Tuple | ast.Set | ast.Dict | ast.Name | ast.Attribute | ast.Call
    )


def _conditions(node: ast.AST) -> Iterator[ast.expr]:
    """Conditions to turn round, of those that no other change turns round."""
    tests = (
        node.ifs if isinstance(node, ast.comprehension) else [node.test] if isinstance(node, ast.If | ast.IfExp) else []
    )
    for test in tests:
        plain = isinstance(test, ast.Compare) and not isinstance(test.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE)
        if not plain and not isinstance(test, ast.UnaryOp) and ast.unparse(test) != "TYPE_CHECKING":
            yield test


def _deciding(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes that may decide a number: none of annotations, docstrings, messages and text."""
    yield node
    for field, value in ast.iter_fields(node):
        if field in PARTS_LEFT_ALONE:
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(
                child, ast.JoinedStr | ast.Import | ast.ImportFrom | ast.Assert
            ):
                continue
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue
            if isinstance(child, ast.keyword) and child.arg in KEYWORDS_LEFT_ALONE:
                continue
            if isinstance(child, ast.Call) and _called(child) in PRESENTED:
                continue
            yield from _deciding(child)


def _called(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _with(node: ast.AST, **fields: object) -> ast.AST:
    return type(node)(**{**dict(ast.iter_fields(node)), **fields})


def _without(items: list, index: int) -> list:
    return items[:index] + items[index + 1 :]


def _comparisons(node: ast.Compare) -> Iterator[ast.AST]:
    for i, operator in enumerate(node.ops):
        yield _with(node, ops=[*node.ops[:i], OTHER_COMPARISON[type(operator)](), *node.ops[i + 1 :]])


def _operands(node: ast.BoolOp) -> Iterator[ast.AST]:
    for i in range(len(node.values)):
        rest = _without(node.values, i)
        yield _with(node, values=rest) if len(rest) > 1 else rest[0]


def _operators(node: ast.BinOp) -> Iterator[ast.AST]:
    text = any(
        isinstance(side, ast.JoinedStr) or (isinstance(side, ast.Constant) and isinstance(side.value, str | bytes))
        for side in (node.left, node.right)
    )
    if type(node.op) in OTHER_OPERATOR and not text:
        yield _with(node, op=OTHER_OPERATOR[type(node.op)]())


def _signs(node: ast.UnaryOp) -> Iterator[ast.AST]:
    yield node.operand


def _constants(node: ast.Constant) -> Iterator[str]:
    value = node.value
    if isinstance(value, bool):
        yield repr(not value)
    elif isinstance(value, int):
        yield repr(0 if value == 1 else value + 1)
    elif isinstance(value, float):
        yield repr(value * 2 if value else 1.0)
    elif isinstance(value, str) and value in WORDS:
        yield repr(WORDS[value])


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    name, function = _called(node), node.func
    for i, keyword in enumerate(node.keywords):
        if keyword.arg is not None and keyword.arg not in KEYWORDS_LEFT_ALONE:
            yield _with(node, keywords=_without(node.keywords, i))
    if name in FUNCTIONS:
        field = "attr" if isinstance(function, ast.Attribute) else "id"
        yield _with(node, func=_with(function, **{field: FUNCTIONS[name]}))
    if name in FORGOTTEN and not node.keywords and len(node.args) == 1:
        yield node.args[0]
    if name in FORGOTTEN and not node.keywords and not node.args and isinstance(function, ast.Attribute):
        yield function.value
    plain = ast.Name | ast.Attribute
    if len(node.args) > 1 and isinstance(node.args[0], plain) and isinstance(node.args[1], plain):
        yield _with(node, args=[node.args[1], node.args[0], *node.args[2:]])
    for i, argument in enumerate(node.args):
        if isinstance(argument, plain) and getattr(argument, "id", getattr(argument, "attr", "")).endswith("seed"):
            yield _with(node, args=[*node.args[:i], ast.Constant(0), *node.args[i + 1 :]])
        if (
            i
            and isinstance(argument, ast.Constant)
            and isinstance(argument.value, str)
            and argument.value.isidentifier()
        ):
            yield _with(node, args=[*node.args[:i], ast.Constant(f"other {argument.value}"), *node.args[i + 1 :]])


def _attributes(node: ast.Attribute) -> Iterator[ast.AST]:
    if node.attr in SPLITS:
        yield _with(node, attr=SPLITS[node.attr])


def _entries(node: ast.List | ast.Tuple | ast.Set) -> Iterator[ast.AST]:
    names = all(isinstance(entry, ast.Constant) and isinstance(entry.value, str) for entry in node.elts)
    index = any(isinstance(entry, ast.Slice) for entry in node.elts)
    if not index and not isinstance(getattr(node, "ctx", None), ast.Store) and len(node.elts) > 1:
        if isinstance(node, ast.Tuple) and not names and len(node.elts) < 4:
            return
        for i in range(len(node.elts)):
            yield _with(node, elts=_without(node.elts, i))


def _pairs(node: ast.Dict) -> Iterator[ast.AST]:
    for i in range(len(node.keys)):
        yield _with(node, keys=_without(node.keys, i), values=_without(node.values, i))


def _statements(node: ast.stmt) -> Iterator[str]:
    """The statement left out, where what follows can still run."""
    target = node.targets[0] if isinstance(node, ast.Assign) else None
    again = isinstance(target, ast.Name) and any(
        isinstance(part, ast.Name) and part.id == target.id for part in ast.walk(node.value)
    )
    called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _called(node.value) not in PRESENTED
    if again or called or isinstance(target, ast.Attribute | ast.Subscript):
        yield "pass"
    if isinstance(node, ast.AugAssign | ast.Raise | ast.Continue | ast.Break | ast.Delete):
        yield "pass"


CHANGES = (
    (ast.Compare, _comparisons),
    (ast.BoolOp, _operands),
    (ast.BinOp, _operators),
    (ast.UnaryOp, _signs),
    (ast.Constant, _constants),
    (ast.Call, _calls),
    (ast.Attribute, _attributes),
    (ast.List | ast.Tuple | ast.Set, _entries),
    (ast.Dict, _pairs),
    (ast.stmt, _statements),
)
