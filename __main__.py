"""The front door: the `mltbench` command, with the commands of every room."""

from __future__ import annotations

import sys

import typer

from .benchmark.commands.predict import predict
from .benchmark.commands.rehearsal_command import bench
from .benchmark.commands.run import check, run
from .benchmark.commands.runs import runs
from .benchmark.commands.start_up_command import start_up
from .benchmark.commands.state import status, sync
from .benchmark.commands.verify import verify
from .datasets.commands.data import data
from .methods.commands import methods
from .reports.commands.bench import bench_report
from .reports.commands.figures import figures
from .reports.commands.leaderboard import leaderboard
from .reports.commands.report import report
from .studies.commands import study

app = typer.Typer(
    name="mltbench",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="The benchmark suite for long-tailed multi-label image recognition.\n\n"
    "Start with:  mltbench run --table 1 --table 2 --seeds 3  and then  mltbench report",
)
app.command()(methods)
app.add_typer(data, name="data")
app.command()(run)
app.add_typer(runs, name="runs")
app.command()(status)
app.command()(sync)
app.command()(verify)
app.add_typer(study, name="study")
app.command()(report)
app.command()(predict)
app.add_typer(figures, name="figures")
app.add_typer(leaderboard, name="leaderboard")
app.command()(check)
bench.command("start-up")(start_up)
bench.command("report")(bench_report)
app.add_typer(bench, name="bench")


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context,
    show_version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    """Print the version when asked; otherwise hand on to the command."""
    if show_version:
        from . import __version__

        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line; an error that a user can mend is one paragraph and exit status 2."""
    from .errors import InputError

    try:
        app()
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
