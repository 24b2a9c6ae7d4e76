"""A table in sentences, and as wide as a terminal: by hand, on a table whose numbers all differ."""

import io
import math

import pytest
from made_up_runs import frame_of, record
from mltbench.reports.tables.build import build_table
from mltbench.reports.tables.summary import describe_seeds, listed, summarise
from mltbench.reports.tables.terminal import terminal
from rich.console import Console

LONG = "mu=0.4375, kappa=0.2408, alpha=0.2"


def seeds_of(method, *scores, **changes):
    return [record(method, seed, of_seed, **changes) for seed, of_seed in enumerate(scores)]


def table_of(*records, **options):
    return build_table(frame_of(*records), 1, "digits-mlt", **options)


@pytest.fixture
def table():
    """By total DB is the best; RW is not told apart, ERM, Focal and RS are behind, R-BCE lacks two seeds."""
    db = (60.0, 70, 50, 40), (61, 71, 51, 41), (62, 72, 52, 42)
    return table_of(
        *seeds_of("db", *db),
        *seeds_of("rw", (57.5, 71, 50, 30), (62, 70, 51, 31), (61, 72, 52, 32)),
        *seeds_of("erm", (50, 70, 49, 39.75), (51.25, 71, 50, 40.25), (52, 72, 51, 41.5)),
        *seeds_of("focal", (56, 69, 48, 38), (57, 70, 49, 39), (58, 71, 50, 40)),
        *seeds_of("rs", (53, 68, 50, math.nan), (54, 69, 51, math.nan), (55, 70, 52, math.nan)),
        record("r-bce", 1, (70, 80, 90, 95)),
        *(record("ldam", seed, [math.nan] * 4, state="failed") for seed in (0, 1)),
        record("db", 0, (99, 99, 99, 99), overrides="mu=1"),
        record("nt-bce", 0, [math.nan] * 4, state="failed"),
    )


def test_the_best_is_named_and_how_far_the_others_are(table):
    assert summarise(table) == [
        {"group": "total", "what": "best", "number": "61.00 ± 1.00", "best": "DB",
         "rest": "Not told apart from it: RW (0.83). 3 methods behind by 4.00 to 9.92. "
                 "1 method cannot compete: too few shared seeds."},
        {"group": "head", "what": "best", "number": "71.00 ± 1.00", "best": "ERM, RW and DB",
         "rest": "Every other row is told apart from it. 2 methods behind by 1.00 to 2.00. "
                 "1 method cannot compete: too few shared seeds."},
        {"group": "medium", "what": "best", "number": "51.00 ± 1.00", "best": "RW, RS and DB",
         "rest": "Every other row is told apart from it. 2 methods behind by 1.00 to 2.00. "
                 "1 method cannot compete: too few shared seeds."},
        {"group": "tail", "what": "best", "number": "41.00 ± 1.00", "best": "DB",
         "rest": "Not told apart from it: ERM (0.50). 2 methods behind by 2.00 to 10.00. "
                 "1 method cannot compete: too few shared seeds."},
    ]  # fmt: skip


def test_what_is_there_and_what_is_missing_is_counted(table):
    assert describe_seeds(table) == "6 methods, 1 to 3 seeds each. Seeds are missing of R-BCE. 2 runs failed."
    assert describe_seeds(table_of()) == "Nothing was measured yet."
    assert describe_seeds(table_of(record("erm", 0), record("rs", 4))) == (
        "2 methods, 1 seed each. Seeds are missing of ERM."
    )
    assert describe_seeds(table_of(record("erm", 0))) == "1 method, 1 seed each."


def test_without_shared_seeds_the_highest_is_named_and_nobody_is_the_best():
    table = table_of(record("erm", 0, (50, 60, 70, math.nan)), record("rs", 1, (55, 59, 70.5, math.nan)),
                     *seeds_of("db", (0.0, 1, 70.25, math.nan), (2.0, 4, 70.25, math.nan), overrides=""))  # fmt: skip
    rest = "No row is the best: that takes 3 seeds that rows share."
    assert summarise(table) == [
        {"group": "total", "what": "highest", "number": "55.00", "best": "RS", "rest": rest},
        {"group": "head", "what": "highest", "number": "60.00", "best": "ERM", "rest": rest},
        {"group": "medium", "what": "highest", "number": "70.50", "best": "RS", "rest": rest},
    ]  # fmt: skip


def test_one_that_is_behind_and_many_that_are_not_told_apart():
    best = seeds_of("db", (60, 60, 60, 60), (61, 61, 61, 61), (62, 62, 62, 62))
    names = ["erm", "rw", "focal", "rs", "rs-focal", "ldam", "r-bce"]
    noisy = [record(name, seed, (total + i / 50, 1, 1, 1)) for i, name in enumerate(names)
             for seed, total in enumerate((61, 59, 61.5))]  # fmt: skip
    one = seeds_of("db-focal", (58, 1, 1, 1), (59, 1, 1, 1), (60, 1, 1, 1))
    found = summarise(table_of(*best, *noisy, *one))[0]
    assert found["rest"] == (
        "Not told apart from it: ERM (0.50), RW (0.48), Focal (0.46), RS (0.44), RS-Focal (0.42), LDAM (0.40) and 1 "
        "more. 1 method behind by 2.00."
    )
    found = summarise(table_of(*best, *noisy[:-3], *one))[0]
    assert "RS-Focal (0.42) and LDAM (0.40). 1 method" in found["rest"]
    assert summarise(table_of(*best))[0]["rest"] == ""


def test_names_in_a_sentence_count_long_overrides():
    table = table_of(*seeds_of("db", *[(1, 1, 1, 1)] * 3, overrides=LONG), record("erm", 0), methods=(f"DB ({LONG})",))
    assert [row.short for row in table.every_row] == ["DB (3 overrides)"]
    # Thirty characters are written out.
    for text, short in (("a" * 28 + "=1", "a" * 28 + "=1"), ("a" * 29 + "=1", "1 overrides")):
        table = table_of(record("erm", 0), record("db", 0, overrides=text))
        assert table.every_row[-1].short == f"DB ({short})"
    assert [listed(list(names)) for names in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]


def in_terminal(table, width):
    console = Console(width=200, file=io.StringIO(), color_system=None)
    console.print(terminal(table, width=width))
    return console.file.getvalue()


def test_signs_are_spaced_and_differences_printed_where_there_is_room(table, quoted_examples):
    assert "61.00 ± 1.00*" in in_terminal(table, 89)
    assert "61.00 ± 1.00 *" in in_terminal(table, 90)
    quoted = [row.__class__(**{**vars(row), "title": "DB"}) for row in quoted_examples]
    table = table_of(*seeds_of("db", *[(60, 70, 50, 40)] * 3), quoted=quoted)
    for width, heads in ((117, "method total quoted difference tail quoted difference source"),
                         (118, "method total quoted difference head quoted difference medium quoted difference tail "
                               "quoted difference source")):  # fmt: skip
        assert heads in [" ".join(line.split()) for line in in_terminal(table, width).splitlines()]
