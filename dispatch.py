"""How the words of a command line become a call: a command is imported when it is called."""

import ast
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

from cyclopts import App, CycloptsError, Parameter

from . import __version__
from .errors import InputError, require_known
from .terminal import accept_any_text, console, lost_output

HELP = """The benchmark suite for long-tailed multi-label image recognition.

Start with:  mltbench run --table 1 --table 2 --seeds 3  and then  mltbench report
"""


def run_command(
    arguments: Sequence[str], commands: Mapping[str, str], groups: Mapping[str, str], *, on_start: Callable[[], object]
) -> int:
    """Run the command that the arguments name; return its exit status.

    Args:
        arguments: words of the command line.
        commands: where each command is defined, as `module:function`; it is imported when it is called, because torch,
            MLflow and pandas take seconds.
        groups: what the commands of each first word have in common.
        on_start: called when everything is imported, right before the command.
    """
    accept_any_text()
    try:
        app = command_line(arguments, commands, groups)
        command, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
        on_start()
        status = int(command(*bound.args, **bound.kwargs) or 0)
        if reason := lost_output():
            raise InputError(f"standard output could not be written: {reason}; everything else was done")
        return status
    except (InputError, CycloptsError) as error:
        inner = error.__cause__ if isinstance(error, CycloptsError) else None
        sys.stderr.write(f"error: {inner if isinstance(inner, InputError) else error}\n")
        return 2


def command_line(arguments: Sequence[str], commands: Mapping[str, str], groups: Mapping[str, str]) -> App:
    """The command line, to be called with these arguments.

    Raises:
        InputError: if they name no command; cyclopts would load all of them to say so.
    """
    words = list(takewhile(lambda word: not word.startswith("-"), arguments))
    depth = 2 if words[:1] and words[0] in groups else 1
    for i, word in enumerate(words[:depth]):
        known = dict.fromkeys(name.split()[i] for name in commands if name.split()[:i] == words[:i])
        require_known(" ".join(["command", *words[:i]]), word, known)
    app = App(
        name="mltbench",
        version=__version__,
        help=HELP,
        help_format="markdown",
        default_parameter=Parameter(negative=(), show_default=_shown_default),
        console=console(),
    )
    parents: dict[str, App] = {}
    for position, (name, path) in enumerate(commands.items()):
        *above, word = name.split()
        for group in set(above) - set(parents):
            parents[group] = App(name=group, help=groups[group], sort_key=position)
            app.command(parents[group])
        parent = parents[above[0]] if above else app
        summary = _summary(path) if above == words else None  # only a list of commands needs it
        parent.command(f"{__package__}.{path}", name=word, help=summary, sort_key=position)
    return app


def _summary(path: str) -> str:
    """The first line of a command's docstring, read from its source, because to import it takes seconds."""
    module, _, function = path.partition(":")
    file = Path(__file__).parent / f"{module.replace('.', '/')}.py"
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    raise LookupError(path)


def _shown_default(value: object) -> str | None:
    return None if value is None or value is False or value == () else str(value)
