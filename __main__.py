"""The front door: the `mltbench` command, with the commands of every room."""

import os
import signal
import sys
from types import FrameType

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
    "recipes": "benchmark.commands.recipes:recipes",
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
    "bench import": "benchmark.commands.bench:importing",
    "bench rehearsal": "benchmark.commands.bench:rehearsal",
}


def main() -> None:
    """Run the command line.

    An error that a user can mend is one paragraph and exit status 2; Ctrl-C is one line and exit status 130, from the
    first moment on.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_at_once)
    try:
        from .dispatch import run_command

        status = run_command(sys.argv[1:], COMMANDS, GROUPS, on_start=lambda: signal.signal(signal.SIGINT, handler))
    except KeyboardInterrupt as error:
        sys.stderr.write("interrupted\n")
        status = getattr(error, "exit_status", 130)
    finally:
        signal.signal(signal.SIGINT, handler)
    raise SystemExit(status)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """End while modules are imported, whatever they make of an exception; nothing has begun."""
    os.write(2, b"interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    main()
