import json
import os
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from mltbench.errors import InputError
from mltbench.reports.figures import registry
from mltbench.reports.figures.manifest import update_manifest
from mltbench.reports.figures.registry import FigureEntry, draw_figures, get_figure, list_figures, register_figure
from mltbench.reports.figures.source import FigureSource, MissingDataError, TrainingLabels, labels_source
from mltbench.reports.figures.style import NotebookFigure
from mltbench.reports.pages.drawers import open_drawers

HOSTILE = ("<script>alert(1)</script>", "=1+1", "$x_$", "a\nb & c")


@pytest.fixture
def source(small_labels):
    training = TrainingLabels(labels=small_labels, classes=HOSTILE)
    return FigureSource(dataset="<b>mine</b>", open_labels=lambda: training)


def test_figures_with_data_are_written_in_every_format_and_the_others_named(source, tmp_path):
    found = draw_figures(source, tmp_path)
    drawn, without = found.drawn, found.without
    assert not found.failed
    names = {figure.name for figure in drawn}
    assert {"co-occurrence", "class-distribution", "sampling-variance", "negative-gradient", "weight-function"} == names
    assert {entry.name for entry in list_figures() if entry.part in ("results", "studies")} == set(without)
    for name in names:
        for ending, start in (("svg", b"<svg"), ("pdf", b"%PDF"), ("png", b"\x89PNG"), ("csv", b"")):
            content = (tmp_path / f"{name}.{ending}").read_bytes()
            assert content.startswith(start)
            assert len(content) > 200
    listed = json.loads((tmp_path / "figures.json").read_text())
    assert [item["name"] for item in listed] == [figure.name for figure in drawn]
    assert all(item["alternative_text"].endswith(".") and "{" not in item["caption"] for item in listed)


def test_figures_no_longer_drawn_lose_their_files_and_nothing_else_does(source, tmp_path):
    folder, entries = tmp_path / "figures", [get_figure("co-occurrence"), get_figure("weight-function")]
    draw_figures(source, folder, entries=entries)
    for name in ("own.svg", "co-occurrence.txt"):
        (folder / name).write_text("the user's")

    def nothing():
        raise InputError("no labels any more")

    draw_figures(FigureSource(dataset="x", open_labels=nothing), folder, entries=entries[:1])
    names = {path.name for path in folder.iterdir()}
    kept = {f"weight-function.{ending}" for ending in ("svg", "pdf", "png", "csv")}
    assert names == {"figures.json", "own.svg", "co-occurrence.txt"} | kept
    assert [item["name"] for item in json.loads((folder / "figures.json").read_text())] == ["weight-function"]


@pytest.mark.parametrize("names", [["../outside", "/outside", "", None], [["outside"]]])
def test_a_manifest_that_was_tampered_with_removes_nothing_outside(names, tmp_path):
    folder = tmp_path / "figures"
    folder.mkdir()
    (tmp_path / "outside.svg").write_text("the user's")
    (folder / "figures.json").write_text(json.dumps([*[{"name": name} for name in names], 3]))
    update_manifest(folder, [])
    assert (tmp_path / "outside.svg").is_file()


@pytest.mark.parametrize("text", ["{", "[", "3", '{"name": "x"}', "\xff"])
def test_a_damaged_manifest_is_written_anew(text, tmp_path):
    (tmp_path / "figures.json").write_bytes(text.encode("latin-1"))
    update_manifest(tmp_path, [{"name": "one"}])
    assert json.loads((tmp_path / "figures.json").read_text()) == [{"name": "one"}]


def test_the_csv_holds_what_is_drawn(source, tmp_path):
    entry = get_figure("sampling-variance")
    draw_figures(source, tmp_path, entries=[entry])
    written, data = pd.read_csv(tmp_path / "sampling-variance.csv"), entry.collect(source)
    assert np.array_equal(written.variance, data.variance)
    assert set(written.class_name) == {"<script>alert(1)</script>", "'=1+1", "$x_$", "a\nb & c"}


def test_the_same_data_gives_the_same_bytes(source, tmp_path):
    for folder in ("one", "two"):
        draw_figures(source, tmp_path / folder, entries=[get_figure("co-occurrence")])
    for ending in ("svg", "pdf", "png", "csv"):
        one, two = ((tmp_path / folder / f"co-occurrence.{ending}").read_bytes() for folder in ("one", "two"))
        assert one == two, ending


def test_hostile_class_names_stay_text(source, tmp_path):
    draw_figures(source, tmp_path, entries=[get_figure("co-occurrence")])
    root = ElementTree.fromstring((tmp_path / "co-occurrence.svg").read_text())
    assert not [element for element in root.iter() if element.tag.endswith("script")]
    shown = {"".join(element.itertext()) for element in root.iter() if element.tag.endswith("text")}
    assert {"<script>alert(1)</script>", "=1+1", "$x_$", "a b & c"} <= shown


def test_a_folder_that_cannot_be_written_is_an_error(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write figures to .*--to"):
        draw_figures(source, tmp_path / "file" / "x", entries=[get_figure("weight-function")])


def test_missing_labels_leave_out_the_figures_that_need_them(tmp_path):
    def nothing():
        raise InputError("voc-mlt is not prepared")

    found = draw_figures(FigureSource(dataset="voc-mlt", open_labels=nothing), tmp_path)
    assert [figure.name for figure in found.drawn] == ["negative-gradient", "weight-function"]
    assert re.search("voc-mlt is not prepared", found.without["co-occurrence"])


def test_a_figure_of_ones_own_is_one_call(source, tmp_path, monkeypatch):
    list_figures()
    monkeypatch.setattr(registry._REGISTERED, "by_name", dict(registry._REGISTERED.by_name))
    entry = FigureEntry(
        name="mine", title="Mine", caption="Of {dataset}", describe=lambda frame: f"{len(frame)} points.",
        part="labels", collect=lambda source: pd.DataFrame({"x": [1]}), draw=lambda frame: NotebookFigure(), place=1,
    )  # fmt: skip
    register_figure(entry)
    drawing = draw_figures(source, tmp_path)
    mine = next(figure for figure in drawing.drawn if figure.name == "mine")
    assert (mine.caption, mine.alternative_text) == ("Of <b>mine</b>", "1 points.")
    with pytest.raises(InputError, match="'mine' is registered already"):
        register_figure(entry)
    with pytest.raises(InputError, match="did you mean 'co-occurrence'"):
        get_figure("co-ocurrence")


def test_what_is_not_missing_data_is_no_silence(source, tmp_path):
    def fail(_):
        raise InputError("a fault")

    def entry(name, *, collect=lambda source: pd.DataFrame({"x": [1]}), draw=lambda frame: NotebookFigure()):
        return FigureEntry(name=name, title="", caption="", describe=str, part="labels", collect=collect, draw=draw)

    entries = [entry("unread", collect=fail), entry("undrawn", draw=lambda frame: {}["y"]), entry("whole")]
    found = draw_figures(source, tmp_path, entries=entries)
    assert [figure.name for figure in found.drawn] == ["whole"]
    assert (found.without, found.failed["unread"]) == ({}, "a fault")
    assert re.fullmatch(r"KeyError: 'y' \(test_figure_registry.py, line \d+\)", found.failed["undrawn"])


def test_a_figure_that_fails_in_a_process_is_named_like_any_other(source, tmp_path):
    def unlike(_):
        return pd.DataFrame({"x": [1]})

    entries = [replace(get_figure("co-occurrence"), collect=unlike), get_figure("sampling-variance")]
    with open_drawers(1) as drawers:
        found = draw_figures(source, tmp_path, entries=entries, drawers=drawers)
    assert [figure.name for figure in found.drawn] == ["sampling-variance"]
    assert re.fullmatch(r"AttributeError: .* \(\w+\.py, line \d+\)", found.failed["co-occurrence"])


def test_processes_that_die_are_named_and_nothing_hangs(source, tmp_path):
    with open_drawers(1) as drawers:
        drawers.submit(os._exit, 1)
        found = draw_figures(source, tmp_path, entries=[get_figure("sampling-variance")], drawers=drawers)
    assert found.failed == {
        "sampling-variance": "a process that draws has died, perhaps for want of memory; give the command again"
    }


def test_a_figure_shows_itself_in_a_notebook(source):
    entry = get_figure("sampling-variance")
    assert entry.draw(entry.collect(source))._repr_png_().startswith(b"\x89PNG")


def test_labels_come_from_a_file_alone(small_labels, tmp_path):
    np.savez(tmp_path / "own.npz", ids=np.arange(7), labels=small_labels, classes=["a", "b", "c", "d"])
    source = labels_source("own", tmp_path / "own.npz")
    assert source.training.classes == ("a", "b", "c", "d")
    with pytest.raises(MissingDataError, match="no MLflow store"):
        source.need_store()


def test_processes_draw_the_same_bytes(small_labels, tmp_path):
    source = FigureSource(
        dataset="own", open_labels=lambda: TrainingLabels(labels=small_labels, classes=("a", "b", "c", "d"))
    )
    entries = [get_figure(name) for name in ("co-occurrence", "class-distribution", "sampling-variance")]
    here = draw_figures(source, tmp_path / "here", entries=entries)
    with open_drawers(2) as drawers:
        there = draw_figures(source, tmp_path / "there", entries=entries, drawers=drawers)
    assert here == there
    files = sorted(file.name for file in (tmp_path / "here").iterdir())
    assert len(files) == 13
    for name in files:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes(), name
