"""Tables that fit, and text for every encoding."""

import io
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from cyclopts import App
from mltbench import dispatch
from mltbench.dispatch import run_command
from mltbench.terminal import (
    LEAST_WIDTH,
    WIDTH_WITHOUT_TERMINAL,
    accept_any_text,
    console,
    lost_output,
    print_line,
    table_of,
)
from product import MODULES
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


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_path_that_the_locale_does_not_know_is_printed_so_that_it_can_be_copied(encoding, monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    accept_any_text()
    print_line("Kühe".encode().decode("ascii", "surrogateescape"))
    sys.stdout.flush()
    assert written.getvalue().decode("utf-8") == "Kühe\n"


def test_tables_have_no_box_characters_where_there_are_none(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    accept_any_text()
    console().print(table_of(NAMES, ROWS, prose=("settings",)))
    sys.stdout.flush()
    assert "-----" in written.getvalue().decode("ascii")
    assert "\\u" not in written.getvalue().decode("ascii")


def test_every_sign_that_the_suite_prints_has_a_plain_form(monkeypatch):
    signs = {sign for path in MODULES.values() for sign in path.read_text(encoding="utf-8") if not sign.isascii()}
    assert len(signs) > 5
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    accept_any_text()
    plain = {sign: sign.encode("ascii", "plain").decode() for sign in signs}
    assert {sign: text for sign, text in plain.items() if "\\" in text} == {}


@pytest.mark.parametrize("columns", ["0", "1", "7", "", "many"])
def test_a_terminal_of_any_width_gets_a_table(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    found = console.__wrapped__()
    assert found.width == (LEAST_WIDTH if columns in ("1", "7") else WIDTH_WITHOUT_TERMINAL)
    with found.capture() as shown:
        found.print(table_of(NAMES, ROWS, prose=("settings",)))
    assert "12345.68" in shown.get()


def closed_pipe():
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w", encoding="utf-8")


def full_disk():
    return Path("/dev/full").open("w", encoding="utf-8")


@pytest.mark.parametrize(("output", "reason"), [(closed_pipe, ""), (full_disk, "No space left on device")])
def test_what_cannot_be_printed_is_lost_and_nothing_else(output, reason, monkeypatch, tmp_path):
    if output is full_disk and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")

    def work():
        for _ in range(3):
            print_line("long" * 10_000)
            sys.stderr.write("long" * 10_000)
        (tmp_path / "written").write_text("whole")
        return 0

    with output() as out, output() as error:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", error)
        monkeypatch.setattr(dispatch, "command_line", lambda *words: App(default_command=work))
        status = run_command([], {}, {}, on_start=lambda: None)
        assert lost_output() == reason
    assert status == (2 if reason else 0)
    assert (tmp_path / "written").read_text() == "whole"


def test_streams_that_were_closed_from_the_beginning_take_no_file_number():
    code = "import os; from mltbench.terminal import accept_any_text; accept_any_text(); print('lost')"
    code += "; number = os.open(os.devnull, 0); print(number, file=open('{}', 'w'))"
    with tempfile.NamedTemporaryFile("r") as said:
        closing = f"{shlex.quote(sys.executable)} -c {shlex.quote(code.format(said.name))} <&- >&- 2>&-"
        subprocess.run(["sh", "-c", closing], check=True)
        assert int(said.read()) > 2
