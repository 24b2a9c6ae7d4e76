import json
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from mltbench.errors import InputError
from mltbench.reports.figures import registry
from mltbench.reports.figures.registry import (
    FigureEntry,
    draw_figures,
    get_figure,
    list_figures,
    register_figure,
)
from mltbench.reports.figures.source import FigureSource
from mltbench.reports.figures.style import NotebookFigure

HOSTILE = ("<script>alert(1)</script>", "=1+1", "$x_$", "a\nb & c ]]>-->")
FORMATS = {"svg": b"<svg", "pdf": b"%PDF", "png": b"\x89PNG", "csv": b""}


@pytest.fixture
def source(small_labels):
    return FigureSource(dataset="<b>mine</b>", labels=(small_labels, HOSTILE))


def about(name, *, collect=lambda source: pd.DataFrame({"x": [1]})):
    texts = {"title": "Mine", "caption": "Of {dataset}", "describe": lambda frame: f"{len(frame)} points."}
    return {"name": name, **texts, "part": "labels", "collect": collect}


def entry(name, *, draw=lambda frame: NotebookFigure(), **fields):
    return FigureEntry(**about(name, **fields), draw=draw)


def test_figures_with_data_are_written_in_every_format_as_the_same_bytes_and_the_others_named(source, tmp_path):
    found, again = (draw_figures(source, tmp_path / name) for name in ("one", "two"))
    names = {figure.name for figure in found.drawn}
    assert names == {"co-occurrence", "class-distribution", "sampling-variance", "negative-gradient", "weight-function"}
    assert {entry.name for entry in list_figures() if entry.part in ("results", "studies")} == set(found.without)
    assert not found.failed
    for name in names:
        for ending, start in FORMATS.items():
            content = (tmp_path / "one" / f"{name}.{ending}").read_bytes()
            assert content.startswith(start)
            assert len(content) > 200
            assert content == (tmp_path / "two" / f"{name}.{ending}").read_bytes(), name
    assert len(list((tmp_path / "one").iterdir())) == 4 * len(names) + 1
    listed, listed_again = (json.loads((tmp_path / name / "figures.json").read_text()) for name in ("one", "two"))
    assert (again, listed_again) == (found, listed)
    assert [item["name"] for item in listed] == [figure.name for figure in found.drawn]
    assert all(item["alternative_text"].endswith(".") and "{" not in item["caption"] for item in listed)
    for item in listed:
        root = ElementTree.parse(tmp_path / "one" / f"{item['name']}.svg").getroot()
        points = (float(root.get(side).removesuffix("pt")) for side in ("width", "height"))
        assert [item["width"], item["height"]] == pytest.approx([length * 96 / 72 for length in points], abs=0.6)


def test_figures_no_longer_drawn_lose_their_files_and_nothing_else_does(source, tmp_path):
    folder, entries = tmp_path / "figures", [get_figure("co-occurrence"), get_figure("weight-function")]
    draw_figures(source, folder, entries=entries)
    for name in ("own.svg", "co-occurrence.txt"):
        (folder / name).write_text("the user's")
    nowhere = FigureSource(dataset="nowhere")
    assert "unknown dataset 'nowhere'" in draw_figures(nowhere, folder, entries=entries[:1]).without["co-occurrence"]
    kept = {f"weight-function.{ending}" for ending in FORMATS}
    assert {path.name for path in folder.iterdir()} == {"figures.json", "own.svg", "co-occurrence.txt"} | kept
    assert [item["name"] for item in json.loads((folder / "figures.json").read_text())] == ["weight-function"]
    assert [figure.name for figure in draw_figures(nowhere, tmp_path, entries=entries).drawn] == ["weight-function"]


@pytest.mark.parametrize(
    "text",
    ["{", "[", "3", '{"name": "x"}', "\xff", '[3, {"name": null}, {"name": ["outside"]}]',
     *(f'[{{"name": "{name}"}}]' for name in ("../outside", "/outside", "", "x/../../outside"))],
)  # fmt: skip
def test_a_damaged_manifest_is_written_anew_and_removes_nothing_outside(text, tmp_path):
    folder = tmp_path / "figures"
    folder.mkdir()
    (tmp_path / "outside.svg").write_text("the user's")
    (folder / "figures.json").write_bytes(text.encode("latin-1"))
    registry.update_manifest(folder, [{"name": "one"}])
    assert (tmp_path / "outside.svg").is_file()
    assert json.loads((folder / "figures.json").read_text()) == [{"name": "one"}]


def test_the_csv_holds_what_is_drawn_and_hostile_class_names_stay_text(source, tmp_path):
    entry = get_figure("sampling-variance")
    draw_figures(source, tmp_path, entries=[entry])
    written = pd.read_csv(tmp_path / "sampling-variance.csv")
    assert np.array_equal(written.variance, entry.collect(source).variance)
    assert set(written.class_name) == {"<script>alert(1)</script>", "'=1+1", "$x_$", "a\nb & c ]]>-->"}
    root = ElementTree.fromstring((tmp_path / "sampling-variance.svg").read_text())
    assert not [element for element in root.iter() if element.tag.endswith("script")]
    shown = {"".join(element.itertext()) for element in root.iter() if element.tag.endswith("text")}
    assert {"<script>alert(1)</script>", "=1+1", "$x_$", "a b & c ]]>-->"} <= shown
    assert entry.draw(entry.collect(source))._repr_png_().startswith(b"\x89PNG")  # as a notebook shows it


def test_a_manifest_of_an_earlier_version_is_kept(source, tmp_path):
    old = {"name": "groups", "title": "x", "caption": "y", "alternative_text": "z", "part": "results"}
    (tmp_path / "figures.json").write_text(json.dumps([old]))
    draw_figures(source, tmp_path, entries=[get_figure("weight-function")])
    first, second = json.loads((tmp_path / "figures.json").read_text())
    assert (first, second["name"], second["width"]) == (old, "weight-function", 660)


def test_letters_of_a_pdf_are_truetype(source, tmp_path):
    draw_figures(source, tmp_path, entries=[get_figure("weight-function")])
    content = (tmp_path / "weight-function.pdf").read_bytes()
    assert b"/CIDFontType2" in content
    assert b"/Type3" not in content


def test_a_folder_that_cannot_be_written_is_an_error(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write figures to .*--to"):
        draw_figures(source, tmp_path / "file" / "x", entries=[get_figure("weight-function")])


def test_a_figure_of_your_own_is_one_decorated_function(source, tmp_path, monkeypatch):
    last = [figure.name for figure in list_figures() if figure.part == "labels"][-1]
    monkeypatch.setattr(registry._REGISTERED, "by_name", dict(registry._REGISTERED.by_name))

    @register_figure(**about("mine"))
    def draw(frame):
        return NotebookFigure()

    assert [figure.name for figure in list_figures() if figure.part == "labels"][-2:] == [last, "mine"]
    mine = next(figure for figure in draw_figures(source, tmp_path).drawn if figure.name == "mine")
    assert (mine.caption, mine.alternative_text) == ("Of <b>mine</b>", "1 points.")
    with pytest.raises(InputError, match="'mine' is registered already"):
        register_figure(**about("mine"))(draw)
    with pytest.raises(InputError, match="did you mean 'co-occurrence'"):
        get_figure("co-ocurrence")


def test_what_is_not_missing_data_is_reported_as_a_failure(source, tmp_path):
    def fail(_):
        raise InputError("a fault")

    entries = [entry("unread", collect=fail), entry("undrawn", draw=lambda frame: {}["y"]), entry("whole")]
    found = draw_figures(source, tmp_path, entries=entries)
    assert [figure.name for figure in found.drawn] == ["whole"]
    assert (found.without, found.failed["unread"]) == ({}, "a fault")
    assert re.fullmatch(r"KeyError: 'y' \(test_figure_registry.py, line \d+\)", found.failed["undrawn"])
