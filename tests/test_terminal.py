"""Tables that fit, and text for every encoding."""

import io
import sys

import pytest
from mltbench.terminal import accept_any_text, console, print_line, table_of
from rich.console import Console

NAMES = ("method", "dataset", "state", "score", "settings")
ROWS = [
    ("distribution-balanced", "digits-mlt-12to1", "finished", 12345.678, "mu=0.2, epochs=3"),
    ("erm", "coco-mlt", "finished", 9.5, "learning_rate=0.123456, warmup_iterations=500, and twelve others besides"),
]


def printed(table, width):
    console = Console(width=width, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def fitted(width, optional=("dataset", "state"), rows=ROWS):
    return printed(table_of(NAMES, rows, numbers=("score",), prose=("settings",), optional=optional), width)


def test_prose_alone_wraps_and_only_between_words():
    for width in range(56, 140):
        shown = fitted(width)
        assert max(len(line.rstrip()) for line in shown.splitlines()) <= width
        for whole in ("distribution-balanced", "12345.68", "9.50", "learning_rate=0.123456,", "warmup_iterations=500,"):
            assert whole in shown, width
        shown_or_said = "digits-mlt-12to1" in shown or "left out at this width: dataset" in shown
        assert shown_or_said, width


def test_what_is_the_same_in_every_row_is_left_out_first_and_said_once():
    assert "state" in fitted(90).splitlines()[0]
    assert "in every row" not in fitted(90)
    narrow = fitted(80).splitlines()
    assert "state" not in narrow[0]
    assert "dataset" in narrow[0]
    assert narrow[-1].strip() == "in every row: state finished"
    narrowest = fitted(60)
    assert [line.strip() for line in narrowest.splitlines()[-2:]] == [
        "in every row: state finished",
        "left out at this width: dataset",
    ]


def test_names_are_cut_short_where_nothing_is_left_to_leave_out_but_numbers_never_are():
    shown = fitted(62, optional=())
    assert "…" in shown
    assert "12345.68" in shown
    assert max(map(len, shown.splitlines())) <= 62


def test_an_empty_column_is_left_out_and_an_empty_table_has_its_headers():
    assert "settings" not in fitted(120, rows=[(*row[:4], "") for row in ROWS])
    assert "settings" in fitted(120, rows=[])


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "90.12 ± .3 ≈ Kühe 4 × 3 \\udce9 中"),
        ("cp1252", "90.12 ± .3 ~ Kühe 4 × 3 \\udce9 \\u4e2d"),
        ("latin-1", "90.12 ± .3 ~ Kühe 4 × 3 \\udce9 \\u4e2d"),
        ("ascii", "90.12 +- .3 ~ Kuhe 4 x 3 \\udce9 \\u4e2d"),
    ],
)
def test_text_is_printed_in_every_encoding(encoding, shown, monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    accept_any_text()
    print_line("90.12 ± .3 ≈ Kühe 4 × 3 \udce9 中")
    sys.stdout.flush()
    assert written.getvalue().decode(encoding) == f"{shown}\n"


def test_tables_have_no_box_characters_where_there_are_none(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    accept_any_text()
    console().print(table_of(NAMES, ROWS, prose=("settings",)))
    sys.stdout.flush()
    assert "-----" in written.getvalue().decode("ascii")
    assert "\\u" not in written.getvalue().decode("ascii")
