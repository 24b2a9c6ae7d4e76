"""The command line in this process."""

import contextlib
import io
import sys
from unittest import mock

from mltbench.__main__ import main


def call(*words):
    """Run a command; give its exit status, standard output and error."""
    with (
        mock.patch.object(sys, "argv", ["mltbench", *map(str, words)]),
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as error,
    ):
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = ended.code or 0
    return status, out.getvalue(), error.getvalue()
