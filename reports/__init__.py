"""What is shown: tables, figures and pages made from what MLflow holds.

In a notebook:

    from mltbench import reports
    runs, per_class = reports.load_runs("mltbench-results"), reports.load_per_class("mltbench-results")
    runs.groupby("title")[["total", "head", "medium", "tail"]].mean()
    reports.build_table(runs, 1, "digits-mlt", per_class=per_class)
    reports.draw_step_wise(reports.step_wise(per_class))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .figures.registry import list_figures as list_figures
    from .figures.step_wise import draw_step_wise as draw_step_wise
    from .figures.step_wise import step_wise as step_wise
    from .results.per_class import load_per_class as load_per_class
    from .results.quoted import read_quoted as read_quoted
    from .results.results import load_runs as load_runs
    from .results.significance import average_ranks as average_ranks
    from .results.significance import paired_difference as paired_difference
    from .results.significance import pairwise_differences as pairwise_differences
    from .tables.formats import comma_separated as comma_separated
    from .tables.formats import latex as latex
    from .tables.formats import markdown as markdown
    from .tables.pairs import pairs_frame as pairs_frame
    from .tables.table import build_table as build_table

# Public names load on first use: nobody who asks for `--help` waits for pandas or matplotlib.
_HOMES = {
    "average_ranks": "results.significance",
    "build_table": "tables.table",
    "comma_separated": "tables.formats",
    "draw_step_wise": "figures.step_wise",
    "latex": "tables.formats",
    "list_figures": "figures.registry",
    "load_per_class": "results.per_class",
    "load_runs": "results.results",
    "markdown": "tables.formats",
    "paired_difference": "results.significance",
    "pairs_frame": "tables.pairs",
    "pairwise_differences": "results.significance",
    "read_quoted": "results.quoted",
    "step_wise": "figures.step_wise",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; public names: {', '.join(_HOMES)}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
