"""Nothing is left out in silence: runs that a table or a figure does not show are counted in words."""

import json

import pandas as pd
import pytest
from made_up_runs import make_up_runs
from mltbench.benchmark.tracking.store import open_store
from mltbench.datasets.registry import load_dataset
from mltbench.reports.results.runs import runs_frame
from mltbench.reports.tables.build import build_table, left_out_of_figures

SHORT = "3 runs of recipe photos-short are not in this table: --recipe photos-short"


@pytest.fixture
def with_others(small_runs):
    """The small runs, three of another recipe, one of another recipe on another dataset, and one that still runs."""
    extra = small_runs[small_runs.method == "db"].head(1)
    short = [extra.assign(recipe="photos-short", experiment_id=f"short-{i}", seed=i) for i in range(3)]
    elsewhere = extra.assign(recipe="photos-short", dataset="voc-mlt", experiment_id="elsewhere")
    running = extra.assign(state="running", experiment_id="running", seed=9)
    return pd.concat([small_runs, *short, elsewhere, running], ignore_index=True)


def test_runs_of_other_recipes_and_unfinished_ones_are_counted(with_others, small_runs):
    assert build_table(small_runs, 1, "digits-mlt").left_out == ()
    table = build_table(with_others, 1, "digits-mlt")
    assert table.left_out == (SHORT, "1 run is not finished, and not in this table: mltbench status")
    # DB is no method of Table 2.
    assert build_table(with_others, 2, "digits-mlt").left_out == ()


def test_each_run_is_shown_or_counted_whichever_recipe_is_asked_for(with_others):
    finished = with_others[(with_others.dataset == "digits-mlt") & (with_others.state == "finished")]
    of_table = finished[~finished.method.isin(["rs-rw-focal", "rs-cb-focal"])]
    for recipe in ("digits", "photos-short", "paper"):
        table = build_table(with_others, 1, "digits-mlt", recipe=recipe)
        shown = sum(len(row.experiments) for row in table.rows)
        told = sum(int(text.split()[0]) for text in table.left_out if "recipe" in text)
        assert shown + told == len(of_table)


def test_figures_tell_how_many_runs_they_do_not_draw(small_runs):
    finished = small_runs[small_runs.state == "finished"]
    assert left_out_of_figures(small_runs, "digits-mlt", finished) == ()
    assert left_out_of_figures(small_runs, "digits-mlt", finished.iloc[2:])[0].startswith("2 runs are not in the fig")


def test_terminal_and_page_say_what_the_tables_leave_out(call, own_folder, out, data_root):
    make_up_runs(open_store(out), load_dataset("digits-mlt", data_root=data_root), number=6)
    store = open_store(out)
    moved = runs_frame(store).run_id.iloc[:2]
    for run_id in moved:
        store.client.set_tag(run_id, "mltbench.recipe", "somebody's own")
    sentence = "2 runs of recipe somebody's own are not in this table: --recipe 'somebody'\"'\"'s own'"
    status, shown, _ = call("report", "--no-figures", "--table", "1", "--out", out)
    assert status == 0
    assert sentence in shown
    page = (out / "report" / "index.html").read_text()
    assert "2 runs of recipe somebody&#39;s own are not in this table" in page
    tables = json.loads((out / "report" / "results.json").read_text())["tables"]
    assert [table["left_out"] for table in tables] == [[sentence]]
    status, shown, _ = call("report", "--no-figures", "--table", "1", "--recipe", "somebody's own", "--out", out)
    assert status == 0
    assert "4 runs of recipe digits are not in this table: --recipe digits" in shown
    status, _, error = call("report", "--no-figures", "--recipe", "digit", "--out", out)
    assert status == 2
    assert "did you mean 'digits'" in error
