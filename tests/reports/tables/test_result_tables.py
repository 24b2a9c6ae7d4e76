import json
import math
import random
import statistics

import pandas as pd
import pytest
from mltbench.benchmark.training.metrics import SCORE_NAMES
from mltbench.methods.catalogue import TABLES, get_method, list_methods
from mltbench.reports.results.quoted import quoted_rows
from mltbench.reports.results.runs import COLUMNS
from mltbench.reports.tables.build import build_table, left_out_of_figures

TITLES = {method.name: method.title for method in list_methods()}


def record(method, seed, scores=(50.0, 60.0, 50.0, 40.0), **changes):
    """One run as a line of `load_runs`."""
    row = {
        "experiment_id": f"{method}{changes.get('overrides', '')}{seed}",
        "configuration_id": f"c-{method}{changes.get('overrides', '')}",
        "dataset": "digits-mlt", "method": method, "title": TITLES.get(method, method), "overrides": "",
        "recipe": "digits", "seed": seed,
        "state": "finished", **dict(zip(SCORE_NAMES, scores, strict=True)),
    }  # fmt: skip
    return row | changes


def failed(method, seed):
    return record(method, seed, [math.nan] * 4, state="failed")


def table_of(*records, number=1, dataset="digits-mlt", **options):
    return build_table(pd.DataFrame(records, columns=list(COLUMNS)), number, dataset, **options)


def row_of(table, label):
    (row,) = [row for row in table.rows if row.label == label]
    return row


def texts(row):
    return [row.cells[name].text for name in SCORE_NAMES]


@pytest.mark.parametrize("seed", range(8))
def test_a_table_is_what_plain_arithmetic_gives(seed):
    generator = random.Random(seed)
    methods = list(TABLES[1])
    printed = (50, 60, 60, math.nan)  # many means tie as they are printed, and some classes have no positive
    scores = {
        (method, number): [generator.choice(printed) + generator.uniform(-0.004, 0.004) for _ in SCORE_NAMES]
        for method in methods
        for number in range(5)
        if generator.random() < 0.6
    }
    broken = {(m, n) for m in methods for n in range(5) if (m, n) not in scores and generator.random() < 0.5}
    records = [record(*key, values) for key, values in scores.items()] + [failed(*key) for key in broken]
    generator.shuffle(records)
    table = table_of(*records)

    everywhere = sorted({number for _, number in scores})
    expected_means = {}
    assert [row.method for row in table.rows] == methods
    for row in table.rows:
        have = [number for number in range(5) if (row.method, number) in scores]
        assert row.label == get_method(row.method).title
        assert row.seeds == tuple(have)
        assert row.missing == tuple(number for number in everywhere if number not in have)
        assert row.failed == sum(method == row.method for method, _ in broken)
        assert row.experiments == tuple(f"{row.method}{number}" for number in have)
        for i, name in enumerate(SCORE_NAMES):
            values = [x for x in (scores[row.method, number][i] for number in have) if not math.isnan(x)]
            mean = statistics.fmean(values) if values else None
            deviation = statistics.stdev(values) if len(values) > 1 else None
            assert row.cells[name].n == len(values)
            assert row.cells[name].mean == (mean and pytest.approx(mean, abs=1e-9))
            assert row.cells[name].deviation == (deviation and pytest.approx(deviation, abs=1e-9))
            expected_means[row.method, name] = mean
    for name in SCORE_NAMES:
        highest = max(expected_means[m, name] for m in methods if expected_means[m, name] is not None)
        best = [row.method for row in table.best(name)]
        assert best == [m for m in methods if f"{expected_means[m, name] or -1:.2f}" == f"{highest:.2f}"]


def test_the_papers_rows_are_left_out_where_every_run_is_overridden():
    table = table_of(record("db", 0, overrides="backbone=x"), record("erm", 0, overrides="backbone=x"))
    assert [row.label for row in table.rows] == ["DB (backbone=x)", "ERM (backbone=x)"]
    assert table.notes == ("No method was run without overrides; rows without any run are left out.",)


def test_other_methods_and_then_overridden_ones_follow_the_rows_of_table_1():
    records = [*(record(name, 0) for name in ("erm", "own-loss", "rs+rw-focal", "db")), record("nt-bce", 1)]
    records += [record("db", 0, (total, 6, 5, 4), overrides=o) for total, o in ((90, "mu=0.2"), (80, "mu=0.1"))]
    table = table_of(*records)
    assert [(row.label, row.number, texts(row)[0]) for row in table.rows[len(TABLES[1]) :]] == [
        ("own-loss", "1 of 2", "50.00"), ("NT-BCE", "1 of 2", "50.00"),
        ("DB (mu=0.2)", "1 of 2", "90.00"), ("DB (mu=0.1)", "1 of 2", "80.00"),
    ]  # fmt: skip
    assert texts(row_of(table, "DB"))[0] == "50.00"
    assert [row.label for row in table.best("total")] == ["DB (mu=0.2)"]
    assert [row.method for row in table_of(*records, number=2).rows] == list(TABLES[2])


def test_a_note_says_what_differs_between_configurations_of_one_name(small_runs):
    rs = small_runs[small_runs.method == "rs"]
    settings = json.loads(rs.settings.iloc[0])

    def notes(**changes):
        other = rs.assign(configuration_id="a" * 16, experiment_id=[f"other-{seed}" for seed in rs.seed], **changes)
        table = build_table(pd.concat([rs, other], ignore_index=True), 1, "digits-mlt")
        assert [row.experiments[0][:5] for row in table.measured] == ["rs-00", "other"]
        return table.notes

    assert build_table(small_runs, 1, "digits-mlt").notes == ()
    assert notes(settings=json.dumps({**settings, "backbone": "resnet-50", "seed": "7"})) == (
        "RS [rs0000] has backbone –; RS [aaaaaa] has backbone resnet-50.",
    )
    assert notes(numerics_version="2", dataset_digest="e" * 64) == (
        "RS [rs0000] has dataset_digest dddddddddddddddddddd, numerics_version 1; "
        "RS [aaaaaa] has dataset_digest eeeeeeeeeeeeeeeeeeee, numerics_version 2.",
    )
    (many,) = notes(settings=json.dumps({**settings, **dict.fromkeys("abcdef", "1")}))
    assert many.endswith("has a 1, b 1, c 1, d 1; and 2 more differences.")
    assert notes() == ("RS [rs0000]; RS [aaaaaa]: their runs name no difference; `mltbench runs show ID` prints them.",)


@pytest.mark.parametrize(
    ("number", "dataset", "suspects"),
    [
        (1, "voc-mlt", ["LDAM", "CB-Focal"]),
        (1, "coco-mlt", ["ERM", "RS"]),
        (2, "voc-mlt", ["RS+CB-Focal"]),
        (2, "coco-mlt", ["RS", "RS+CB-Focal"]),
    ],
)
def test_quoted_rows_are_listed_with_their_doubts_beside_dashes_where_nothing_was_run(number, dataset, suspects):
    table = table_of(number=number, dataset=dataset)
    assert [row.title for row in table.quoted if table.note_number(row)] == suspects
    assert [note.partition(",")[0] for note in table.notes] == suspects
    assert [table.note_number(row) for row in table.quoted if row.title in suspects] == list(
        range(1, len(suspects) + 1)
    )
    assert list(table.quoted) == [row for row in quoted_rows() if (row.table, row.dataset) == (number, dataset)]
    assert [row.title for row in table.quoted] == [row.label for row in table.rows]
    assert {(*texts(row), row.number) for row in table.rows} == {("–", "–", "–", "–", "0")}


def test_rows_quoted_in_both_tables_agree_or_are_suspect():
    first, second = ({(r.title, r.dataset): r for r in quoted_rows() if r.table == number} for number in (1, 2))
    shared = first.keys() & second.keys()
    assert len(shared) == 6
    for key in shared:
        assert first[key].values == second[key].values or (first[key].suspect and second[key].suspect), key


def test_stored_totals_that_do_not_add_up_are_noted():
    def per_class(*experiments, groups=("head", "medium", "tail", "tail")):
        keys = [(name, split, group) for name in experiments for split in ("test", "validation") for group in groups]
        return pd.DataFrame(keys, columns=["experiment_id", "split", "group"]).assign(ap=50.0)

    records = record("erm", 0, (37.5, 60, 50, 20)), record("rs", 0, (45.0, 60, 50, 20))
    (note,) = table_of(*records, per_class=per_class("erm0", "rs0")).notes
    assert note.startswith(
        "RS, experiment rs0: the stored total 45.0000 is not the class-weighted mean of its groups (37.5"
    )
    without_tail = record("erm", 0, (55, 60, 50, math.nan))
    assert table_of(without_tail, per_class=per_class("erm0", groups=("head", "medium"))).notes == ()


def test_standing_is_decided_by_the_paired_interval():
    noisy = {0: 50.0, 1: 60.0, 2: 70.0}
    table = table_of(
        *(record("db", seed, (total, 1, 1, 1)) for seed, total in noisy.items()),
        # One point behind on every seed: no noise, although the spread over seeds is ten points.
        *(record("rs", seed, (total - 1 - 0.01 * seed, 1, 1, 1)) for seed, total in noisy.items()),
        record("ldam", 0, (40.0, 1, 1, 1)),
    )
    assert {row.label: row.cells["total"].standing for row in table.measured} == {
        "RS": "1.01 behind [0.99, 1.03]",
        "LDAM": "10.00 behind; noise unknown from one shared seed",
        "DB": "best",
    }
    # The best mean over other seeds may be behind on the shared ones.
    table = table_of(
        *(record("db", seed, (total, 1, 1, 1)) for seed, total in enumerate((50, 50.1, 99))),
        *(record("rs", seed, (total, 1, 1, 1)) for seed, total in enumerate((60, 60.1))),
    )
    assert row_of(table, "RS").cells["total"].standing == "10.00 ahead on shared seeds [10.00, 10.00]"


def test_every_run_is_shown_or_counted_whichever_recipe_is_asked_for(small_runs):
    extra = small_runs[small_runs.method == "db"].head(1)
    short = [extra.assign(recipe="photos-short", experiment_id=f"short-{i}", seed=i) for i in range(3)]
    elsewhere = extra.assign(recipe="photos-short", dataset="voc-mlt", experiment_id="elsewhere")
    running = extra.assign(state="running", experiment_id="running", seed=9)
    runs = pd.concat([small_runs, *short, elsewhere, running], ignore_index=True)
    assert build_table(small_runs, 1, "digits-mlt").left_out == ()
    assert build_table(runs, 1, "digits-mlt").left_out == (
        "3 runs of recipe photos-short are not in this table: --recipe photos-short",
        "1 run is not finished, and not in this table: mltbench status",
    )
    # DB is no method of Table 2.
    assert build_table(runs, 2, "digits-mlt").left_out == ()
    finished = runs[(runs.dataset == "digits-mlt") & (runs.state == "finished")]
    for recipe in ("digits", "photos-short", "paper"):
        table = build_table(runs, 1, "digits-mlt", recipe=recipe)
        shown = sum(len(row.experiments) for row in table.rows)
        counted = sum(int(text.split()[0]) for text in table.left_out if "recipe" in text)
        assert shown + counted == len(finished)
    assert row_of(build_table(runs, 1, "digits-mlt", recipe="photos-short"), "DB").seeds == (0, 1, 2)
    drawn = small_runs[small_runs.state == "finished"]
    assert left_out_of_figures(small_runs, "digits-mlt", drawn) == ()
    assert left_out_of_figures(small_runs, "digits-mlt", drawn[2:])[0].startswith("2 runs are not in the figures")
