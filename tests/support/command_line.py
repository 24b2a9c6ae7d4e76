"""The command line in this process."""

import contextlib
import io
import sys
from unittest import mock

from mltbench.__main__ import main


def call(*words):
    """Run a command; give its exit status, standard output and error."""
    out, error = io.StringIO(), io.StringIO()
    return call_printing_to(out, error, *words), out.getvalue(), error.getvalue()


def call_encoded(encoding, *words):
    """As `call`, on a terminal or in a file with another encoding than UTF-8."""
    out, error = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    status = call_printing_to(out, error, *words)
    return status, *(stream.buffer.getvalue().decode(encoding) for stream in (out, error) if not stream.flush())


def call_printing_to(out, error, *words):
    """Run a command with these streams; give its exit status."""
    with (
        mock.patch.object(sys, "argv", ["mltbench", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
    ):
        try:
            main()
        except SystemExit as ended:
            return ended.code or 0
    return 0
