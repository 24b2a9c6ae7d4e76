"""What is shown: tables, figures and pages made from what MLflow holds.

In a notebook:

    from mltbench import reports
    reports.load_results("mltbench-results").groupby("row").mean()
    runs = reports.load_runs("mltbench-results")
    reports.build_table(runs, 1, "digits-mlt")
    reports.draw_step_wise(reports.step_wise(reports.load_per_class("mltbench-results")))
"""

from .figures.registry import list_figures as list_figures
from .figures.step_wise import draw_step_wise as draw_step_wise
from .figures.step_wise import step_wise as step_wise
from .results.quoted import read_quoted as read_quoted
from .results.rows import load_results as load_results
from .results.runs import load_per_class as load_per_class
from .results.runs import load_runs as load_runs
from .results.significance import average_ranks as average_ranks
from .results.significance import paired_difference as paired_difference
from .results.significance import pairwise_differences as pairwise_differences
from .tables.build import build_table as build_table
from .tables.build import pairs_frame as pairs_frame
from .tables.result_table import comma_separated as comma_separated
from .tables.result_table import latex as latex
from .tables.result_table import markdown as markdown
