import shutil
import sqlite3

import pytest
from filelock import FileLock
from made_up_runs import make_up_runs
from mltbench.benchmark.tracking.store import open_store
from mltbench.datasets.registry import load_dataset
from mltbench.reports.figures import registry
from mltbench.reports.figures.registry import FigureEntry, list_figures
from mltbench.reports.figures.style import NotebookFigure

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture
def made_up(out, data_root):
    make_up_runs(open_store(out), load_dataset("digits-mlt", data_root=data_root), number=2)
    return out


def entry(name, collect):
    return FigureEntry(
        name=name, title=name, caption="", describe=lambda frame: "One point.", part="labels", collect=collect,
        draw=lambda frame: NotebookFigure(),
    )  # fmt: skip


def test_a_figure_that_fails_costs_the_status_and_not_the_report(call, made_up, monkeypatch):
    list_figures()
    broken = entry("broken", lambda source: {}["<missing>"])
    monkeypatch.setattr(registry._REGISTERED, "by_name", {"broken": broken})
    status, shown, _ = call("report", "--out", made_up)
    assert status == 1
    assert "failed: figure broken of digits-mlt: KeyError: '<missing>' (test_report_command.py, line" in shown
    page = (made_up / "report" / "index.html").read_text()
    assert "1 figure of digits-mlt could not be drawn" in page
    assert "<code>broken</code>: KeyError: &#39;&lt;missing&gt;&#39;" in page
    assert (made_up / "report" / "table1-digits-mlt.csv").is_file()
    status, shown, _ = call("figures", "draw", "digits-mlt", "--out", made_up)
    assert (status, "failed   broken: KeyError" in shown) == (1, True)


def test_two_reports_do_not_write_to_one_folder(call, made_up):
    (made_up / "report").mkdir()
    with FileLock(made_up / "report" / ".report.lock"):
        status, _, error = call("report", "--no-figures", "--out", made_up)
    assert status == 2
    assert "another `mltbench report` is writing to" in error
    assert "--to" in error
    assert call("report", "--no-figures", "--out", made_up)[0] == 0


def test_a_folder_in_the_way_is_told_before_anything_is_drawn(call, made_up):
    (made_up / "report").write_text("in the way")
    status, shown, error = call("report", "--out", made_up)
    assert (status, shown) == (2, "")
    assert error.startswith("error: cannot write the report to")


def test_a_store_without_a_run_says_what_makes_one(call, out):
    status, _, error = call("report", "--out", out)
    assert status == 2
    assert "no finished run" in error
    assert "mltbench run --table 1" in error


def test_a_store_of_another_version_of_mlflow_is_a_clear_error(call, out, tmp_path):
    # A copy: MLflow looks at a database once in a process.
    other = tmp_path / "other"
    shutil.copytree(out, other)
    with sqlite3.connect(other / "mlflow.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'fromthefuture'")
    database.close()
    status, _, error = call("report", "--out", other)
    assert status == 2
    assert error.startswith("error: MLflow cannot open sqlite:///")


@pytest.mark.parametrize(
    ("name", "content"), [("per_class.json", "{}"), ("experiment.json", '{"version": 9}'), ("per_class.json", "[1]")]
)
def test_files_of_another_version_of_the_suite_are_a_clear_error(call, made_up, name, content):
    for file in made_up.rglob(name):
        file.write_text(content)
    status, _, error = call("report", "--no-figures", "--out", made_up)
    assert status == 2
    assert name in error
    assert "another version of mltbench" in error
