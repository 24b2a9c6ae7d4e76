"""What guides, docstrings and messages show: commands and Python, each with the place where it stands."""

import ast
import re
import shlex
import textwrap
from dataclasses import dataclass

from product import MODULES, ROOT, tree_of

GUIDES = [
    path
    for path in sorted(ROOT.rglob("*.md"))
    if not path.relative_to(ROOT).as_posix().startswith((".", "tests/")) and "mltbench-results" not in path.parts
]
# An f-string's value, where its kind is not known.
ANY_VALUE = "3"
BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"(?:python -m mltbench|mltbench) .+|make [a-z][a-z-]*")


@dataclass(frozen=True)
class Shown:
    """A command or a piece of Python, and where it is shown."""

    place: str
    text: str
    comment: str = ""
    inline: bool = False  # in the middle of prose, where the name of a command alone may stand for the command

    def __str__(self):
        return f"{self.place}: {self.text}"

    @property
    def words(self):
        """The words of a command without the environment that is set before it, beginning with the program's name."""
        words = shlex.split(self.text)
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        if words[:2] == ["python", "-m"]:
            words = words[2:]
        return [words[0].removeprefix(".venv/bin/"), *words[1:]] if words else []

    @property
    def line(self):
        """Number of the line where it begins."""
        return int(self.place.rpartition(":")[2])

    @property
    def needs(self):
        """`network` or `GPU`, where the comment says so first."""
        found = re.match(r"(network|GPU)\b", self.comment)
        return found.group() if found else ""


def blocks_of(path):
    """Fenced blocks of a guide: language, text, number of the first line."""
    text = path.read_text(encoding="utf-8")
    return [(m["language"], m["body"], text.count("\n", 0, m.start("body")) + 1) for m in BLOCK.finditer(text)]


def commands_of(path):
    """Every command that a guide shows in its `sh` blocks and between backticks."""
    name, found = path.relative_to(ROOT).as_posix(), list[Shown]()
    for language, body, first in blocks_of(path):
        if language == "sh":
            found += _lines(name, body, first)
    found += [shown for shown in inline_code_of(path) if INLINE.fullmatch(shown.text)]
    return sorted(found, key=lambda shown: shown.line)


def _lines(name, body, first):
    number = first
    for logical in re.split(r"(?<!\\)\n", body):
        code, _, comment = re.sub(r"\\\n\s*", "", logical).partition(" #")
        for command in code.strip().split(" && "):
            if command:
                yield Shown(f"{name}:{number}", command, comment.strip())
        number += logical.count("\n") + 1


def inline_code_of(path):
    """Everything between backticks in a guide's prose, with its place."""
    name, prose = path.relative_to(ROOT).as_posix(), _prose(path)
    for match in re.finditer(r"`([^`]+)`", prose):
        yield Shown(
            f"{name}:{prose.count(chr(10), 0, match.start()) + 1}", " ".join(match.group(1).split()), inline=True
        )


def _prose(path):
    return BLOCK.sub(lambda block: "\n" * block.group().count("\n"), path.read_text(encoding="utf-8"))


def python_of(path):
    """Every Python block of a guide."""
    name = path.relative_to(ROOT).as_posix()
    return [Shown(f"{name}:{first}", body) for language, body, first in blocks_of(path) if language == "python"]


def examples():
    """The commands after "For example:" in the docstrings of commands."""
    for module, node, text in _strings():
        indent = "\n".join(re.findall(r"For example: `(mltbench [^`]+)`", text))
        block = re.search(r"For example:\n\n((?:[ ]+mltbench .*\n?)+)", text)
        for line in [*indent.splitlines(), *(textwrap.dedent(block.group(1)).splitlines() if block else [])]:
            yield Shown(f"{module}:{node.lineno}", line.strip())


def hints():
    """The commands that messages, and docstrings outside of their examples, advise."""
    shown = set(examples())
    for module, node, text in _strings():
        for command in re.findall(r"`(mltbench [^`]+)`|(?:Next|split|with): (mltbench [^,.;()]+)", text):
            hint = Shown(f"{module}:{node.lineno}", " ".join("".join(command).split()))
            # `mltbench study tune | run | worker` names several.
            if hint not in shown and " | " not in hint.text and "..." not in hint.text:
                yield hint


def _any(part):
    """An f-string's value: the options of a store, or anything."""
    return "--out mltbench-results" if "store.options" in ast.unparse(part) else ANY_VALUE


def _strings():
    for module, path in MODULES.items():
        inside = {
            id(part) for node in ast.walk(tree_of(module)) if isinstance(node, ast.JoinedStr) for part in node.values
        }
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.JoinedStr):
                text = "".join(
                    str(part.value) if isinstance(part, ast.Constant) else _any(part) for part in node.values
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
                text = node.value
            else:
                continue
            if "mltbench " in text:
                yield path.relative_to(ROOT).as_posix(), node, text
