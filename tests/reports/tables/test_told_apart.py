"""Rows of one method in several configurations: a note says what differs."""

import json

import pandas as pd
import pytest
from mltbench.reports.tables.build import build_table


@pytest.fixture
def rs(small_runs):
    return small_runs[small_runs.method == "rs"]


def note_of(rs, **changes):
    """The notes of a table with RS as it is, and again as another configuration with these changes."""
    other = rs.assign(configuration_id="a" * 16, experiment_id=[f"other-{seed}" for seed in rs.seed], **changes)
    return build_table(pd.concat([rs, other], ignore_index=True), 1, "digits-mlt").notes


def test_the_note_names_what_differs_and_nothing_else(rs, small_runs):
    settings = json.dumps({**json.loads(rs.settings.iloc[0]), "backbone": "resnet-50", "seed": "7"})
    assert note_of(rs, settings=settings) == ("RS [rs0000] has backbone –; RS [aaaaaa] has backbone resnet-50.",)
    assert note_of(rs, numerics_version="2", dataset_digest="e" * 64) == (
        "RS [rs0000] has dataset_digest dddddddddddddddddddd, numerics_version 1; "
        "RS [aaaaaa] has dataset_digest eeeeeeeeeeeeeeeeeeee, numerics_version 2.",
    )
    assert build_table(small_runs, 1, "digits-mlt").notes == ()


def test_many_differences_are_counted(rs):
    (note,) = note_of(rs, settings=json.dumps({**json.loads(rs.settings.iloc[0]), **dict.fromkeys("abcdef", "1")}))
    assert note.endswith("has a 1, b 1, c 1, d 1; and 2 more differences.")


def test_runs_that_name_no_difference_are_told_as_such(rs):
    assert note_of(rs) == (
        "RS [rs0000]; RS [aaaaaa]: their runs name no difference; `mltbench runs show ID` prints them.",
    )
