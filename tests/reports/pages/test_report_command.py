import errno
import json
import re
import shlex
from pathlib import Path

import pytest
from filelock import FileLock
from mltbench.benchmark.executors.in_process import InProcess
from mltbench.benchmark.executors.run_plan import run_plan
from mltbench.benchmark.executors.settings import RunSettings
from mltbench.benchmark.experiments.plan import build_plan
from mltbench.benchmark.networks.initial_weights import BackboneChoice
from mltbench.errors import InputError
from mltbench.reports.figures import registry
from mltbench.reports.figures.registry import FigureEntry, list_figures
from mltbench.reports.figures.style import NotebookFigure, as_svg
from mltbench.reports.pages.report import DatasetReport, Report, write_report

pytestmark = pytest.mark.usefixtures("own_folder")
QUICK = ("recipe.batch_size=8",)


def test_a_figure_that_fails_costs_the_status_and_not_the_report(call, trained, monkeypatch):
    broken = FigureEntry(
        name="broken", title="Broken", caption="", describe=lambda frame: "One point.", part="labels",
        collect=lambda source: {}["<missing>"], draw=lambda frame: NotebookFigure(),
    )  # fmt: skip
    list_figures()
    monkeypatch.setattr(registry._REGISTERED, "by_name", {"broken": broken})
    status, shown, _ = call("report", "--out", trained.root)
    assert status == 1
    assert "failed: figure broken of tiny: KeyError: '<missing>' (test_report_command.py, line" in shown
    page = (trained.root / "report" / "index.html").read_text()
    assert "1 figure of tiny could not be drawn" in page
    assert "<code>broken</code>: KeyError: &#39;&lt;missing&gt;&#39;" in page
    assert (trained.root / "report" / "table1-tiny.csv").is_file()
    status, shown, _ = call("figures", "draw", "tiny", "--out", trained.root)
    assert (status, "failed   broken: KeyError" in shown) == (1, True)


def test_terminal_and_page_say_what_the_tables_leave_out(call, trained):
    report = ("report", "--no-figures", "--table", "1", "--out", trained.root, "--to", trained.root / "report")
    trained.client.set_tag(trained.runs_of()[0].info.run_id, "mltbench.recipe", "somebody's own")
    sentence = "1 run of recipe somebody's own is not in this table: --recipe 'somebody'\"'\"'s own'"
    status, shown, _ = call(*report)
    assert (status, sentence in shown) == (0, True)
    page = (trained.root / "report" / "index.html").read_text()
    assert "1 run of recipe somebody&#39;s own is not in this table" in page
    tables = json.loads((trained.root / "report" / "results.json").read_text())["tables"]
    assert [table["left_out"] for table in tables] == [[sentence]]
    status, shown, _ = call(*report, "--recipe", "somebody's own")
    assert (status, "1 run of recipe digits is not in this table: --recipe digits" in shown) == (0, True)
    status, _, error = call(*report, "--recipe", "digit")
    assert (status, "did you mean 'digits'" in error) == (2, True)


def test_a_report_is_whole_and_only_what_it_says_it_is(call, trained, monkeypatch):
    """What an earlier report left goes, what is somebody's own stays; a part does not replace the whole."""
    entry = next(entry for entry in list_figures() if entry.name == "groups")  # the others take seconds to draw
    monkeypatch.setattr(registry._REGISTERED, "by_name", {entry.name: entry})

    def written(folder):
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    whole = ("report", "--bootstrap", "0", "--out", trained.root)
    assert call(*whole)[0] == 0
    before = written(trained.root / "report")
    assert {"table1-tiny.md", "table2-tiny.md", "table1-tiny-classes.csv", "figures/tiny/groups.svg"} <= set(before)
    status, shown, _ = call(*whole, "--table", "2", "--without", "erm", "--no-figures")
    assert (status, f"report: {trained.root}/report-table-2-without-erm/index.html" in shown) == (0, True)
    assert written(trained.root / "report") == before
    page = (trained.root / "report-table-2-without-erm" / "index.html").read_text()
    assert "This report shows a part of the results: table 2; without erm." in page
    assert "ERM" not in page.partition("<main")[2]
    (trained.root / "report" / "mine.md").write_text("kept")
    (trained.root / "report" / "figures" / "tiny" / "mine.svg").write_text("kept")
    assert call(*whole, "--table", "2", "--no-figures", "--to", trained.root / "report")[0] == 0
    left = [name for name in written(trained.root / "report") if not name.startswith(".")]
    assert left == ["figures/tiny/mine.svg", "index.html", "mine.md", "results.json", "table2-tiny-classes.csv",
                    "table2-tiny-pairs.csv", "table2-tiny.csv", "table2-tiny.md", "table2-tiny.tex"]  # fmt: skip


def test_only_runs_that_are_shown_are_resampled(call, trained):
    assert call("report", "--no-figures", "--bootstrap", 5, "--method", "erm", "--out", trained.root)[0] == 0
    of_erm = {
        run.data.tags["mltbench.experiment_id"]
        for run in trained.runs_of()
        if run.data.tags["mltbench.method"] == "erm"
    }
    kept = {path.name.removesuffix("-5.npz") for path in trained.root.rglob("*-5.npz")}
    assert kept == of_erm != {run.data.tags["mltbench.experiment_id"] for run in trained.runs_of()}
    page = (trained.root / "report-method-erm" / "index.html").read_text()
    assert "resamples of the test images" not in page  # without a second row there is nothing that they are for


def test_own_images_with_another_network_have_rows_figures_and_plain_names(call, dataset, store, settings, monkeypatch):
    """As after `run --backbone NAME --weights FILE`: every run has settings that differ from the dataset's own."""

    def write_quickly(figure, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(f"{path.name}.svg").write_text(as_svg(figure))

    monkeypatch.setattr(registry, "write_figure", write_quickly)  # the fonts of a PDF take a second a figure
    choice = BackboneChoice(weights="random")
    plan = build_plan(dataset, ["erm", "rs"], seeds=[0], overrides=QUICK, recipe="digits-smoke", backbone=choice)
    assert not run_plan(plan, store, settings).failed
    status, shown, _ = call("report", "--out", store.root)
    assert status == 0, shown
    assert "recipe digits-smoke, weights=random, batch_size=8" in " ".join(shown.split())
    tables = json.loads((store.root / "report" / "results.json").read_text())["tables"]
    assert [[row["label"] for row in table["rows"]] for table in tables] == [["ERM", "RS"], ["RS"]], tables
    assert (store.root / "report" / "figures" / "tiny" / "groups.svg").is_file()
    assert (store.root / "report" / "figures" / "tiny" / "class-size.svg").is_file()


def test_two_reports_do_not_write_to_one_folder(call, trained):
    (trained.root / "report").mkdir()
    with FileLock(trained.root / "report" / ".report.lock"):
        status, _, error = call("report", "--no-figures", "--out", trained.root)
    assert (status, "another `mltbench report` is writing to" in error, "--to" in error) == (2, True, True)
    assert call("report", "--no-figures", "--out", trained.root)[0] == 0


def test_a_folder_in_the_way_is_reported_before_anything_is_drawn(call, trained):
    (trained.root / "report").write_text("in the way")
    status, shown, error = call("report", "--out", trained.root)
    assert (status, shown) == (2, "")
    assert error.startswith("error: cannot write the report to")


def test_a_store_without_a_run_says_what_makes_one(call, out):
    status, _, error = call("report", "--out", out)
    assert (status, "no finished run" in error, "mltbench run --dataset digits-mlt --table 1" in error) == (
        2,
        True,
        True,
    )


def test_a_report_that_cannot_be_written_says_so_and_keeps_the_old_page(tmp_path, monkeypatch):
    report = Report(datasets=(DatasetReport(dataset="digits-mlt", sections=()),), configurations=())
    page = write_report(report, tmp_path / "report")
    before = page.read_bytes()
    opened = Path.open

    def full(path, *mode, **more):
        if path.name.startswith(".index.html"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, *mode, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(InputError, match=r"cannot write the report to .*No space left on device.*--to"):
        write_report(report, tmp_path / "report")
    assert page.read_bytes() == before
    assert not list((tmp_path / "report").glob(".*"))


def test_rows_that_are_named_are_taken_from_the_datasets_that_have_them(call, trained):
    report = ("report", "--no-figures", "--bootstrap", "0", "--table", "1", "--out", trained.root)
    moved = next(run for run in trained.runs_of() if run.data.tags["mltbench.method"] == "rs")
    trained.client.set_tag(moved.info.run_id, "mltbench.dataset", "elsewhere")
    assert "mAP on elsewhere" in call(*report)[1]
    status, shown, _ = call(*report, "--method", "erm")
    assert (status, "mAP on tiny" in shown, "mAP on elsewhere" in shown) == (0, True, False)
    status, shown, _ = call(*report, "--without", "erm")
    assert (status, "mAP on elsewhere" in shown) == (0, True)
    status, _, error = call(*report, "--method", "rss")
    assert (status, "did you mean 'rs'" in error) == (2, True)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("--dataset digits-mlt-12to1", "`mltbench run --dataset digits-mlt-12to1 --table 1 --out"),
        ("--recipe digits-smoke", "--recipe digits-smoke --out"),
        ("--dataset tiny --recipe paper", "--recipe paper --out"),
        ("--dataset tiny --dataset digits-mlt", "for dataset tiny, digits-mlt"),
        ("--dataset voc-mlt --recipe digits", "for dataset voc-mlt; recipe digits"),
        ("--table 2 --method erm", "Table 2 is rs, rs-focal, rs+rw-focal, rs+cb-focal, r-bce-focal"),
        ("--without erm --without rs", "for without erm, rs"),
    ],
)
def test_a_report_of_nothing_is_an_error_with_the_choices_and_is_not_written(asked, said, call, trained):
    old = trained.root / "report"
    old.mkdir()
    (old / "index.html").write_text("old")
    for to in ((), ("--to", old)):
        status, shown, error = call("report", *asked.split(), "--out", trained.root, *to)
        assert (status, shown) == (2, ""), shown
        assert said in error
        assert "there are tiny, recipe digits: erm, rs" in error
        assert str(trained.root) in error
    assert [path.name for path in trained.root.glob("report*")] == ["report"]
    assert [path.name for path in old.iterdir()] == ["index.html"]
    assert (old / "index.html").read_text() == "old"


def test_following_the_error_of_a_report_of_nothing_makes_one(call, trained, settings, monkeypatch):
    monkeypatch.setattr(RunSettings, "make_executor", lambda settings: InProcess())
    report = ("report", "--no-figures", "--bootstrap", "0", "--recipe", "digits-smoke", "--dataset", "tiny")
    error = call(*report, "--out", trained.root)[2]
    words = shlex.split(re.search(r"`mltbench (run .+?)`", error).group(1))
    words[words.index("--table") : words.index("--table") + 2] = ["--method", "erm", "--workers", "1"]
    status, shown, error = call(*words)
    assert status == 0, shown + error
    status, shown, _ = call(*report, "--out", trained.root)
    assert (status, "ERM" in shown) == (0, True)


def test_published_rows_alone_are_said_to_be_alone(call, trained):
    status, shown, _ = call("report", "--no-figures", "--dataset", "voc-mlt", "--out", trained.root)
    assert (status, "no run on voc-mlt is here: the report shows published numbers alone" in shown) == (0, True)


def test_a_report_says_which_finished_runs_mlflow_lacks(call, trained):
    run = next(run for run in trained.runs_of() if run.data.tags["mltbench.method"] == "rs")
    trained.client.delete_run(run.info.run_id)
    report = ("report", "--no-figures", "--bootstrap", "0", "--out", trained.root)
    status, shown, _ = call(*report)
    assert (status, f"1 ended run is not in MLflow: mltbench sync --out {trained.root}" in shown) == (0, True)
    assert call("sync", "--out", trained.root)[0] == 0
    assert "not in MLflow" not in call(*report)[1]
