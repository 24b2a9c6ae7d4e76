"""The front door: the `mltbench` command, with the commands of every room."""

import ast
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from cyclopts import App, CycloptsError, Parameter

from . import __version__
from .errors import InputError, require_known
from .terminal import console

HELP = """The benchmark suite for long-tailed multi-label image recognition.

Start with:  mltbench run --table 1 --table 2 --seeds 3  and then  mltbench report
"""
GROUPS = {
    "data": "Datasets: what there is, what they look like, and making your own.",
    "runs": "Runs: what is in MLflow.",
    "study": "Studies: hyper-parameters tuned and swept, on the validation split alone.",
    "figures": "Figures: what there is, and how to draw them.",
    "leaderboard": "Leaderboard: make, check and show submissions.",
    "bench": "Benchmarks of this suite's own speed.",
}
# A command's module, with torch, MLflow and pandas, is loaded when the command is called.
COMMANDS = {
    "methods": "methods.commands:methods",
    "data list": "datasets.commands.show:list_all",
    "data show": "datasets.commands.show:show",
    "data import": "benchmark.commands.import_dataset:import_dataset",
    "data prepare": "datasets.commands.preparing:prepare_dataset",
    "data verify": "datasets.commands.preparing:verify_dataset",
    "data select": "datasets.commands.selecting:select",
    "run": "benchmark.commands.run:run",
    "runs list": "benchmark.commands.runs:list_runs",
    "runs show": "benchmark.commands.runs:show",
    "runs delete": "benchmark.commands.runs:delete",
    "status": "benchmark.commands.status:status",
    "sync": "benchmark.commands.status:sync",
    "verify": "benchmark.commands.verify:verify",
    "study tune": "studies.commands:tune",
    "study run": "studies.commands:run",
    "study worker": "studies.commands:worker",
    "study show": "studies.commands:show",
    "study list": "studies.commands:list_studies",
    "report": "reports.commands.report:report",
    "compare": "reports.commands.compare:compare",
    "predict": "benchmark.commands.predict:predict",
    "figures list": "reports.commands.figures:list_all",
    "figures draw": "reports.commands.figures:draw",
    "leaderboard submit": "reports.commands.leaderboard:submit",
    "leaderboard check": "reports.commands.leaderboard:check",
    "leaderboard build": "reports.commands.leaderboard:build",
    "check": "benchmark.commands.run:check",
    "bench loop": "benchmark.commands.bench:loop",
    "bench breakdown": "benchmark.commands.bench:breakdown",
    "bench metrics": "benchmark.commands.bench:metrics",
    "bench scale": "benchmark.commands.bench:scale",
    "bench rehearsal": "benchmark.commands.bench:rehearsal",
}


def command_line(arguments: Sequence[str]) -> App:
    """The command line, to be called with these arguments.

    Raises:
        InputError: if they name no command; cyclopts would load all of them to say so.
    """
    words = list(takewhile(lambda word: not word.startswith("-"), arguments))
    depth = 2 if words[:1] and words[0] in GROUPS else 1
    for i, word in enumerate(words[:depth]):
        known = dict.fromkeys(name.split()[i] for name in COMMANDS if name.split()[:i] == words[:i])
        require_known(" ".join(["command", *words[:i]]), word, known)
    app = App(
        name="mltbench",
        version=__version__,
        help=HELP,
        help_format="markdown",
        default_parameter=Parameter(negative=(), show_default=_shown_default),
        console=console(),
    )
    groups: dict[str, App] = {}
    for position, (name, path) in enumerate(COMMANDS.items()):
        *above, word = name.split()
        for group in set(above) - set(groups):
            groups[group] = App(name=group, help=GROUPS[group], sort_key=position)
            app.command(groups[group])
        parent = groups[above[0]] if above else app
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


def main() -> None:
    """Run the command line; an error that a user can mend is one paragraph and exit status 2."""
    try:
        command_line(sys.argv[1:])(sys.argv[1:], exit_on_error=False, print_error=False)
    except (InputError, CycloptsError) as error:
        inner = error.__cause__ if isinstance(error, CycloptsError) else None
        sys.stderr.write(f"error: {inner if isinstance(inner, InputError) else error}\n")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
