import math
import random
import statistics

import numpy as np
import pandas as pd
import pytest
from mltbench.benchmark.training.metrics import SCORE_NAMES
from mltbench.methods.catalogue import TABLES, get_method, list_methods
from mltbench.reports.results.quoted import quoted_rows
from mltbench.reports.results.runs import COLUMNS
from mltbench.reports.tables.build import build_table

TITLES = {method.name: method.title for method in list_methods()}


def record(method, seed, marks=(50.0, 60.0, 50.0, 40.0), **changes):
    """One run as `load_runs` tells of it."""
    row = {
        "experiment_id": f"{method}{changes.get('overrides', '')}{seed}",
        "configuration_id": f"c-{method}{changes.get('overrides', '')}",
        "dataset": "digits-mlt", "method": method, "title": TITLES.get(method, method), "overrides": "",
        "recipe": "digits", "seed": seed,
        "state": "finished", **dict(zip(SCORE_NAMES, marks, strict=True)),
    }  # fmt: skip
    return row | changes


def frame(*records):
    return pd.DataFrame(records, columns=list(COLUMNS))


def row_of(table, label):
    (row,) = [row for row in table.rows if row.label == label]
    return row


def texts(row):
    return [row.cells[group].text for group in SCORE_NAMES]


@pytest.mark.parametrize("seed", range(8))
def test_a_table_is_what_plain_arithmetic_gives(seed):
    generator = random.Random(seed)
    methods = list(TABLES[1])
    marks = {
        (method, number): [generator.uniform(0, 100) for _ in SCORE_NAMES]
        for method in methods
        for number in range(5)
        if generator.random() < 0.6
    }
    failed = {(m, n) for m in methods for n in range(5) if (m, n) not in marks and generator.random() < 0.5}
    records = [record(*key, values) for key, values in marks.items()]
    records += [record(*key, [math.nan] * 4, state="failed") for key in failed]
    generator.shuffle(records)
    table = build_table(frame(*records), 1, "digits-mlt")

    everywhere = sorted({number for _, number in marks})
    expected_means = {}
    assert [row.method for row in table.rows] == methods
    for row in table.rows:
        have = [number for number in range(5) if (row.method, number) in marks]
        assert row.label == get_method(row.method).title
        assert row.seeds == tuple(have)
        assert row.missing == tuple(number for number in everywhere if number not in have)
        assert row.failed == sum(method == row.method for method, _ in failed)
        assert row.experiments == tuple(f"{row.method}{number}" for number in have)
        for i, group in enumerate(SCORE_NAMES):
            values = [marks[row.method, number][i] for number in have]
            mean = statistics.fmean(values) if values else None
            deviation = statistics.stdev(values) if len(values) > 1 else None
            assert row.cells[group].mean == (mean and pytest.approx(mean, abs=1e-9))
            assert row.cells[group].deviation == (deviation and pytest.approx(deviation, abs=1e-9))
            expected_means[row.method, group] = mean
    for group in SCORE_NAMES:
        highest = max(expected_means[m, group] for m in methods if expected_means[m, group] is not None)
        best = [row.method for row in table.rows if row.cells[group].best]
        assert best == [m for m in methods if f"{expected_means[m, group] or -1:.2f}" == f"{highest:.2f}"]


def test_ties_as_printed_are_all_best():
    totals = {"erm": 50.004, "rw": 49.996, "focal": 49.994, "rs": 20.0}
    runs = frame(*(record(method, 0, (total, 1, 2, 3)) for method, total in totals.items()))
    table = build_table(runs, 1, "digits-mlt")
    assert [row.label for row in table.rows if row.cells["total"].best] == ["ERM", "RW"]
    assert [row.label for row in table.rows if row.cells["tail"].best] == ["ERM", "RW", "Focal", "RS"]


def test_what_was_not_measured_is_a_dash_and_missing_seeds_are_counted():
    runs = frame(
        *(record("erm", seed) for seed in (0, 1, 2)),
        *(record("rs", seed, (10 + seed, 20, 30, 40)) for seed in (0, 2)),
        record("rs", 1, [math.nan] * 4, state="failed"),
        record("db", 7, [math.nan] * 4, state="failed"),
        record("rw", 1, (12.345, 20, 30, 40)),
    )
    table = build_table(runs, 1, "digits-mlt")
    assert (row_of(table, "ERM").number, texts(row_of(table, "ERM"))[0]) == ("3", "50.00 ± 0.00")
    assert (row_of(table, "RS").number, texts(row_of(table, "RS"))[0]) == ("2 of 3, 1 failed", "11.00 ± 1.41")
    assert (row_of(table, "RW").number, texts(row_of(table, "RW"))[0]) == ("1 of 3", f"{12.345:.2f}")
    assert (row_of(table, "DB").number, texts(row_of(table, "DB"))) == ("0 of 3, 1 failed", ["–"] * 4)
    assert (row_of(table, "LDAM").number, texts(row_of(table, "LDAM"))) == ("0 of 3", ["–"] * 4)
    assert not any(row_of(table, "LDAM").cells[group].best for group in SCORE_NAMES)


def test_a_group_that_the_dataset_lacks_is_a_dash():
    runs = frame(*(record("erm", seed, (50, 60, 70, math.nan)) for seed in (0, 1)))
    assert texts(row_of(build_table(runs, 1, "digits-mlt"), "ERM"))[3] == "–"


def test_only_runs_of_this_dataset_recipe_and_table_count():
    runs = frame(
        record("erm", 0, (10, 10, 10, 10)),
        record("erm", 1, dataset="other"),
        record("erm", 2, recipe="paper"),
        record("rs+rw-focal", 3),
    )
    table = build_table(runs, 1, "digits-mlt")
    assert (row_of(table, "ERM").number, texts(row_of(table, "ERM"))[0]) == ("1", "10.00")
    assert row_of(build_table(runs, 1, "digits-mlt", recipe="paper"), "ERM").seeds == (2,)
    assert [row.method for row in build_table(runs, 2, "digits-mlt").rows] == list(TABLES[2])


def test_an_overridden_method_is_a_row_of_its_own():
    runs = frame(
        record("db", 0, (50, 60, 50, 40)),
        record("db", 0, (90, 60, 50, 40), overrides="mu=0.2"),
        record("db", 0, (80, 60, 50, 40), overrides="mu=0.1"),
    )
    table = build_table(runs, 1, "digits-mlt")
    assert [row.label for row in table.rows[len(TABLES[1]) :]] == ["DB (mu=0.2)", "DB (mu=0.1)"]
    assert texts(row_of(table, "DB"))[0] == "50.00"
    assert texts(row_of(table, "DB (mu=0.2)"))[0] == "90.00"
    assert row_of(table, "DB (mu=0.2)").cells["total"].best


def test_the_papers_rows_are_left_out_where_every_run_is_overridden():
    runs = frame(record("db", 0, overrides="backbone=x"), record("erm", 0, overrides="backbone=x"))
    table = build_table(runs, 1, "digits-mlt")
    assert [row.label for row in table.rows] == ["DB (backbone=x)", "ERM (backbone=x)"]
    assert table.notes == ("No method was run without overrides; rows without any run are left out.",)


def test_other_methods_follow_the_rows_of_table_1():
    runs = frame(
        record("erm", 0),
        record("own-loss", 0),
        record("nt-bce", 1),
        record("hers", 0, overrides="margin=2"),
        record("rs+rw-focal", 0),
    )
    rows = build_table(runs, 1, "digits-mlt").rows[len(TABLES[1]) :]
    assert [row.label for row in rows] == ["own-loss", "NT-BCE", "hers (margin=2)"]
    assert [row.number for row in rows] == ["1 of 2", "1 of 2", "1 of 2"]
    assert [row.method for row in build_table(runs, 2, "digits-mlt").rows] == list(TABLES[2])


def test_two_configurations_of_one_name_are_two_rows():
    runs = frame(
        record("erm", 0, configuration_id="aaaaaaaaaa"),
        record("erm", 0, (70, 1, 2, 3), configuration_id="bbbbbbbbbb", experiment_id="x"),
    )
    table = build_table(runs, 1, "digits-mlt")
    assert [row.label for row in table.rows[:2]] == ["ERM [aaaaaa]", "ERM [bbbbbb]"]
    assert [texts(row)[0] for row in table.rows[:2]] == ["50.00", "70.00"]


def test_no_run_at_all_is_a_table_of_dashes():
    table = build_table(frame(), 2, "digits-mlt")
    assert [texts(row) for row in table.rows] == [["–"] * 4] * 5
    assert {row.number for row in table.rows} == {"0"}


@pytest.mark.parametrize(("dataset", "suspects"), [("voc-mlt", ["LDAM", "CB-Focal"]), ("coco-mlt", ["ERM", "RS"])])
def test_quoted_rows_stand_beside_ours_with_their_doubts(dataset, suspects):
    runs = frame(record("erm", 0, dataset=dataset, recipe="paper"), record("db", 0, dataset=dataset, recipe="paper"))
    table = build_table(runs, 1, dataset, recipe="paper")
    assert [row.title for row in table.quoted if table.note_number(row)] == suspects
    assert [note.partition(",")[0] for note in table.notes] == suspects
    assert [table.note_number(row) for row in table.quoted if row.title in suspects] == [1, 2]
    quoted = [row for row in quoted_rows() if (row.table, row.dataset) == (1, dataset)]
    assert list(table.quoted) == quoted
    assert [row.title for row in quoted] == [row.label for row in table.rows]


def test_digits_mlt_quotes_nothing():
    table = build_table(frame(record("erm", 0)), 1, "digits-mlt")
    assert table.quoted == ()
    assert table.notes == ()


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(("dataset", "sizes"), [("voc-mlt", (6, 6, 8)), ("coco-mlt", (22, 33, 25))])
def test_quoted_totals_are_the_means_of_their_classes(number, dataset, sizes):
    rows = [row for row in quoted_rows() if (row.table, row.dataset) == (number, dataset)]
    assert [row.title for row in rows] == [get_method(name).title for name in TABLES[number]]
    for row in rows:
        mean = np.average([row.values[group] for group in ("head", "medium", "tail")], weights=sizes)
        assert bool(row.suspect) or row.values["total"] == pytest.approx(mean, abs=0.02), row


def test_rows_quoted_in_both_tables_agree_or_are_marked():
    first, second = ({(r.title, r.dataset): r for r in quoted_rows() if r.table == number} for number in (1, 2))
    shared = first.keys() & second.keys()
    assert len(shared) == 6
    for key in shared:
        assert first[key].values == second[key].values or (first[key].suspect and second[key].suspect), key


@pytest.mark.parametrize("dataset", ["voc-mlt", "coco-mlt"])
def test_without_runs_the_paper_stands_beside_dashes(dataset):
    table = build_table(frame(record("erm", 0)), 1, dataset)
    assert len(table.quoted) == 12
    assert [row.method for row in table.rows] == list(TABLES[1])
    assert {text for row in table.rows for text in texts(row)} == {"–"}
    assert {row.number for row in table.rows} == {"0"}


def per_class_of(*experiments, groups=("head", "medium", "tail", "tail")):
    lines = [
        {"experiment_id": name, "split": split, "group": group, "ap": 50.0}
        for name in experiments
        for split in ("test", "validation")
        for group in groups
    ]
    return pd.DataFrame(lines)


def test_stored_totals_that_do_not_add_up_are_noted():
    runs = frame(record("erm", 0, (37.5, 60, 50, 20)), record("rs", 0, (45.0, 60, 50, 20)))
    table = build_table(runs, 1, "digits-mlt", per_class=per_class_of("erm0", "rs0"))
    (note,) = table.notes
    assert note.startswith(
        "RS, experiment rs0: the stored total 45.0000 is not the class-weighted mean of its groups (37.5"
    )
    without_tail = frame(record("erm", 0, (55, 60, 50, math.nan)))
    assert (
        build_table(without_tail, 1, "digits-mlt", per_class=per_class_of("erm0", groups=("head", "medium"))).notes
        == ()
    )


def test_standing_is_decided_by_the_paired_interval():
    noisy = {0: 50.0, 1: 60.0, 2: 70.0}
    runs = frame(
        *(record("db", seed, (total, 1, 1, 1)) for seed, total in noisy.items()),
        # One point behind on every seed: told apart, although the spread over seeds is ten points.
        *(record("rs", seed, (total - 1 - 0.01 * seed, 1, 1, 1)) for seed, total in noisy.items()),
        *(record("erm", seed, (total - 3 + 5 * (-1) ** seed, 1, 1, 1)) for seed, total in noisy.items()),
        record("ldam", 0, (40.0, 1, 1, 1)),
        record("rw", 7, (40.0, 1, 1, 1)),
    )
    table = build_table(runs, 1, "digits-mlt")
    standings = {row.label: row.cells["total"].standing for row in table.rows if row.seeds}
    assert standings == {
        "ERM": "within noise of the best",
        "RW": "no shared seed with the best",
        "RS": "1.01 behind [0.99, 1.03]",
        "LDAM": "10.00 behind; noise unknown from one shared seed",
        "DB": "best",
    }
    assert [row.label for row in table.rows if row.cells["total"].within_noise] == ["ERM"]


def test_a_best_mean_over_other_seeds_may_be_behind_on_the_shared_ones():
    runs = frame(
        *(record("db", seed, (total, 1, 1, 1)) for seed, total in enumerate((50, 50.1, 99))),
        *(record("rs", seed, (total, 1, 1, 1)) for seed, total in enumerate((60, 60.1))),
    )
    table = build_table(runs, 1, "digits-mlt")
    assert row_of(table, "RS").cells["total"].standing == "10.00 ahead on shared seeds [10.00, 10.00]"
