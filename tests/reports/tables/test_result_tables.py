import collections
import csv
import io
import itertools
import json
import math
import random
import statistics
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_up_runs import frame_of, record, seeds_of
from mltbench.benchmark.training.metrics import SCORE_NAMES
from mltbench.errors import InputError
from mltbench.methods.catalogue import TABLES, get_method
from mltbench.reports.results.quoted import quoted_rows
from mltbench.reports.results.rows import select_runs
from mltbench.reports.results.significance import Difference
from mltbench.reports.tables.build import build_table, classes_frame, pairs_frame, results_by_seed
from mltbench.reports.tables.result_table import Cell, comma_separated, markdown, quoted_frame
from scipy import stats

UNFINISHED = ("running", "stopped", "interrupted", "pending")


def failed(method, seed):
    return record(method, seed, [math.nan] * 4, state="failed")


def table_of(*records, number=1, dataset="digits-mlt", **options):
    return build_table(frame_of(*records), number, dataset, **options)


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

    def drawn(method):
        return {
            (method, number): [generator.choice(printed) + generator.uniform(-0.004, 0.004) for _ in SCORE_NAMES]
            for number in range(5)
            if generator.random() < 0.6
        }

    scores = {key: values for method in methods for key, values in drawn(method).items()}
    broken = {(m, n) for m in methods for n in range(5) if (m, n) not in scores and generator.random() < 0.5}
    records = [record(*key, values) for key, values in scores.items()] + [failed(*key) for key in broken]
    # Two rows that compete with nobody.
    others = drawn("DB (mu=9)") | drawn("mine")
    for (label, number), values in others.items():
        method, overrides = ("mine", "") if label == "mine" else ("db", "mu=9")
        records.append(record(method, number, values, overrides=overrides))
    for one in [one for one in records if generator.random() < 0.1]:
        again = {name: one[name] for name in ("method", "seed", "overrides")}
        records += [record(**again, state=state, experiment_id=f"{state} {again}") for state in UNFINISHED]
    generator.shuffle(records)
    images = {
        one["experiment_id"]: {"total": np.array([generator.gauss(50, 3) for _ in range(20)])}
        for one in records
        if generator.random() < 0.8
    }
    table = table_of(*records, resampled=images)

    run = {method for method, _ in {*scores, *broken}}
    assert [row.method for row in table.rows] == [method for method in methods if method in run]
    assert table.absent == tuple(get_method(method).title for method in methods if method not in run)
    have = {m: tuple(n for n in range(5) if (m, n) in scores) for m in run}
    # By counting, over every set of three seeds and more: most rows first, then most seeds.
    sets = [set(c) for size in (3, 4, 5) for c in itertools.combinations(range(5), size)]
    shared = max(sets, key=lambda c: (sum(c <= set(h) for h in have.values()), len(c), sorted(c, reverse=True)))
    rivals = {m for m in run if shared <= set(have[m])}
    assert table.seeds == tuple(sorted(shared)) * bool(rivals)
    usual = collections.Counter(h for h in have.values() if h)
    expected = max(usual, key=lambda h: (usual[h], len(h), sorted(h, reverse=True)))
    for row in table.rows:
        assert row.label == get_method(row.method).title
        assert row.seeds == have[row.method]
        assert row.missing == tuple(number for number in expected if number not in have[row.method])
        assert row.failed == sum(method == row.method for method, _ in broken)
        assert row.experiments == tuple(f"{row.method}{number}" for number in have[row.method])
        for i, name in enumerate(SCORE_NAMES):
            values = [x for x in (scores[row.method, number][i] for number in have[row.method]) if not math.isnan(x)]
            mean = statistics.fmean(values) if values else None
            deviation = statistics.stdev(values) if len(values) > 1 else None
            assert row.cells[name].n == len(values)
            assert row.cells[name].mean == (mean and pytest.approx(mean, abs=1e-9))
            assert row.cells[name].deviation == (deviation and pytest.approx(deviation, abs=1e-9))
    for i, name in enumerate(SCORE_NAMES):
        means = {}
        for m in rivals:
            values = [x for x in (scores[m, n][i] for n in shared) if not math.isnan(x)]
            means |= {m: f"{statistics.fmean(values):.2f}"} if values else {}
        best = [row.method for row in table.best(name)]
        assert best == [m for m in methods if m in means and means[m] == max(means.values())]
        # Every other row is that much behind the first of these, on seeds that both have.
        for row in table.every_row:
            cell, own = row.cells[name], scores if row in table.rows else others
            key = row.method if row in table.rows else row.label
            assert cell.competes == (
                cell.best or (row.method in rivals and row in table.rows and cell.n > 0 and bool(best))
            )
            assert cell.best == (row in table.rows and row.method in best)
            numbers = [n for n in (sorted(shared) if cell.competes else range(5)) if (key, n) in own]
            pairs = [(n, scores[best[0], n][i], own[key, n][i]) for n in numbers if best and (best[0], n) in scores]
            known = [(one, other) for _, one, other in pairs if not math.isnan(one - other)]
            if cell.best or not known or not cell.n:
                assert cell.behind is None
                continue
            assert (cell.behind.n, cell.behind.mean) == pytest.approx(
                (len(known), np.subtract(*np.mean(known, axis=0)))
            )
            if len(known) > 1:
                interval = stats.ttest_rel(*np.transpose(known)).confidence_interval(0.95)
                assert (cell.behind.low, cell.behind.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
            drawn_images = [
                images[one]["total"] - images[other]["total"]
                for one, other in ((f"{best[0]}{n}", f"{row.method}{row.overrides}{n}") for n, *_ in pairs)
                if name == "total" and one in images and other in images
            ]
            ends = np.percentile(np.mean(drawn_images, axis=0), [2.5, 97.5]) if drawn_images else None
            assert cell.images == (ends if ends is None else pytest.approx(tuple(ends)))


def test_one_exploratory_run_changes_no_row_of_the_table():
    """Somebody's plug-in, an override, another version, other seeds, one row with a single seed: nothing moves."""
    usual = [*seeds_of("erm", {0: 50, 1: 51, 2: 52}), *seeds_of("db", {0: 56, 1: 57, 2: 58.5})]
    before = table_of(*usual)
    assert [row.label for row in before.best("total")] == ["DB"]
    for stray in (
        record("mine", 7, (99.0, 99, 99, 99)),
        record("db", 0, (99.0, 99, 99, 99), overrides="mu=0.2"),
        record("db", 9, (99.0, 99, 99, 99), numerics_version="2", configuration_id="newer"),
        record("rs", 7, (99.0, 99, 99, 99)),
        record("erm", 9, (99.0, 99, 99, 99), overrides="backbone=resnet50"),
    ):
        table = table_of(*usual, stray)
        kept = [row for row in table.rows if row.method in ("erm", "db")]
        assert kept == list(before.rows), stray
        (other,) = {row.label: row for row in table.every_row if row not in kept}.values()
        assert not any(cell.best or cell.is_noise for cell in other.cells.values())
        assert other.cells["total"].standing in (
            "", "41.50 ahead (1 seed: noise unknown)", "43.00 ahead (1 seed: noise unknown)"
        )  # fmt: skip


def test_rows_that_share_fewer_than_three_seeds_have_no_best():
    table = table_of(*seeds_of("erm", {0: 50, 1: 51}), *seeds_of("db", {0: 56, 1: 57}))
    assert table.seeds == ()
    assert [table.best(name) for name in SCORE_NAMES] == [()] * 4
    assert {row.cells["total"].standing for row in table.rows} == {""}
    assert "No row is marked as best: that takes 3 seeds that rows share." in table.legend()[0]


def test_what_all_rows_share_stands_in_the_caption_and_rows_have_plain_names():
    network = {"recipe": "photos-short", "dataset": "photos"}
    records = [
        *seeds_of("erm", {0: 50}, overrides="backbone=mobilenet_v2, weights=m.pt", **network),
        *seeds_of("db", {0: 56}, overrides="backbone=mobilenet_v2, weights=m.pt", **network),
        *seeds_of("db", {0: 57}, overrides="backbone=mobilenet_v2, weights=m.pt, mu=0.2", **network),
        *seeds_of("db", {0: 58}, overrides="backbone=mobilenet_v2, weights=other.pt", **network),
        *seeds_of(
            "rs", {0: 58}, overrides="backbone=mobilenet_v2, weights=m.pt, mu=0.1, kappa=2", role="tuned", **network
        ),
    ]
    table = table_of(*records, dataset="photos")
    assert table.title == (
        "Table 1: mAP on photos (test split, percent, last epoch; recipe photos-short, backbone=mobilenet_v2, "
        "weights=m.pt)"
    )
    assert [row.label for row in table.rows] == ["ERM", "DB"]
    assert [row.label for row in table.further] == ["RS (tuned)", "DB (mu=0.2)", "DB (weights=other.pt)"]
    # An override that every run has is no override of any row.
    table = table_of(record("erm", 0, overrides="learning_rate=0.1"), record("db", 0, overrides="learning_rate=0.1"))
    assert table.protocol.text == "recipe digits, learning_rate=0.1"
    assert ([row.label for row in table.rows], table.further) == (["ERM", "DB"], ())


def test_other_methods_and_then_overridden_ones_follow_the_rows_of_table_1():
    records = [*(record(name, 0) for name in ("erm", "own-loss", "rs+rw-focal", "db")), record("nt-bce", 1)]
    records += [record("db", 0, (total, 6, 5, 4), overrides=o) for total, o in ((90, "mu=0.2"), (80, "mu=0.1"))]
    table = table_of(*records)
    assert [row.label for row in table.rows] == ["ERM", "DB"]
    assert [(row.label, row.seeds_of, texts(row)[0]) for row in table.further] == [
        ("DB (mu=0.1)", "1", "80.00"), ("DB (mu=0.2)", "1", "90.00"), ("NT-BCE", "1", "50.00"),
        ("own-loss", "1", "50.00"),
    ]  # fmt: skip
    assert [row.label for row in table_of(*records, number=2).every_row] == ["RS+RW-Focal"]


def test_rows_are_chosen_by_method_and_by_label():
    records = [*seeds_of("erm", {0: 50, 1: 51, 2: 52}), *seeds_of("mine", {0: 60, 1: 61, 2: 62})]
    records += seeds_of("db", {0: 56, 1: 57, 2: 58}, overrides="mu=0.2") + seeds_of("db", {0: 55, 1: 56, 2: 57})
    table = table_of(*records, methods=("erm", "mine"))
    assert [row.label for row in table.rows] == ["ERM", "mine"]
    assert (table.further, [row.label for row in table.best("total")]) == ((), ["mine"])
    assert table.left_out == ("6 runs are not in this table, as --method or --without chose.",)
    table = table_of(*records, methods=("erm", "DB (mu=0.2)"))
    assert [row.label for row in table.best("total")] == ["DB (mu=0.2)"]
    table = table_of(*records, without=("mine", "DB (mu=0.2)"))
    assert [row.label for row in table.every_row] == ["ERM", "DB"]
    with pytest.raises(InputError, match=r"unknown method or row 'dbb'; did you mean 'db'\? known: erm, db, mine, ERM"):
        table_of(*records, methods=("dbb",))


def test_a_frame_of_results_pools_no_configurations(small_runs):
    frame = select_runs(small_runs, "digits-mlt").results
    assert (frame.index.names, list(frame.columns), frame.index.is_unique) == (["row", "seed"], list(SCORE_NAMES), True)
    assert frame.groupby("row").total.mean()["DB"] == 56
    assert frame.groupby("row", sort=False).size().to_dict() == {
        "ERM": 3, "RS": 3, "LDAM": 1, "DB": 2, "Mine & <yours>": 1, "DB (mu=0.2)": 1
    }  # fmt: skip


def test_measured_numbers_stand_beside_the_papers_with_their_difference():
    paper = {row.title: row.values for row in quoted_rows() if (row.table, row.dataset) == (1, "voc-mlt")}
    records = [record("erm", seed, (72.0, 60, 50, 40), dataset="voc-mlt", recipe="paper") for seed in range(3)]
    table = table_of(*records, dataset="voc-mlt")
    heads, cells = table.quoted_rows(("total", "tail"))
    assert heads == ["method", "total", "quoted", "difference", "tail", "quoted", "difference", "source"]
    by_method = {row[0]: row[1:] for row in cells}
    theirs = paper["ERM"]
    assert by_method["ERM"] == [
        "72.00 ± 0.00", f"{theirs['total']:.2f}", f"{72 - theirs['total']:+.2f}",
        "40.00 ± 0.00", f"{theirs['tail']:.2f}", f"{40 - theirs['tail']:+.2f}", "(a)",
    ]  # fmt: skip
    assert by_method["DB"][:3] == ["–", f"{paper['DB']['total']:.2f}", "–"]


def test_a_table_of_classes_has_a_line_per_class_and_a_column_per_row():
    table = table_of(*seeds_of("erm", {0: 50, 1: 51}), record("db", 0), record("db", 0, overrides="mu=1"))
    aps = {"db0": (70, 30, 5, 1), "erm0": (90, 10, math.nan, 2), "dbmu=10": (60, 20, 15, 3),
           "erm1": (80, math.nan, math.nan, 7), "elsewhere": (1, 1, 1, 1)}  # fmt: skip
    classes = (("d", "head", 200), ("a", "tail", 3), ("b", "medium", 30), ("c", "medium", 30))
    lines = [
        (name, split, class_name, group, size, ap + (split == "validation") * 9)
        for name, values in aps.items()
        for split in ("validation", "test")
        for (class_name, group, size), ap in zip(classes, values, strict=True)
    ]
    columns = ["experiment_id", "split", "class_name", "group", "class_size", "ap"]
    frame = classes_frame(table, pd.DataFrame(lines, columns=columns))
    nan = math.nan
    expected = {
        "class_name": ["d", "b", "c", "a"], "group": ["head", "medium", "medium", "tail"],
        "class_size": [200, 30, 30, 3], "ERM": [85, nan, 4.5, 10], "DB": [70, 5, 1, 30], "DB (mu=1)": [60, 15, 3, 20],
    }  # fmt: skip
    pd.testing.assert_frame_equal(frame, pd.DataFrame(expected), check_dtype=False)
    assert list(classes_frame(table, pd.DataFrame(columns=columns))) == ["class_name", "group", "class_size"]


def test_a_note_says_what_differs_between_configurations_of_one_name(small_runs):
    rs = small_runs[small_runs.method == "rs"]
    settings = json.loads(rs.settings.iloc[0])

    def notes(**changes):
        other = rs.assign(configuration_id="a" * 16, experiment_id=[f"other-{seed}" for seed in rs.seed], **changes)
        table = build_table(pd.concat([rs, other], ignore_index=True), 1, "digits-mlt")
        assert sorted(row.experiments[0][:5] for row in table.every_row) == ["other", "rs-00"]
        assert len(table.rows) == 1
        return table.notes

    assert build_table(small_runs, 1, "digits-mlt").notes == ()
    assert notes(settings=json.dumps({**settings, "backbone": "resnet-50", "seed": "7"})) == (
        "RS [rs0000] has backbone –; RS [aaaaaa] has backbone resnet-50.",
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
def test_quoted_rows_are_listed_with_their_doubts_where_nothing_was_run(number, dataset, suspects):
    table = table_of(number=number, dataset=dataset)
    assert [row.title for row in table.quoted if table.note_number(row)] == suspects
    assert [note.partition(",")[0] for note in table.notes] == suspects
    assert [table.note_number(row) for row in table.quoted if row.title in suspects] == list(
        range(1, len(suspects) + 1)
    )
    assert list(table.quoted) == [row for row in quoted_rows() if (row.table, row.dataset) == (number, dataset)]
    assert (table.rows, [row.title for row in table.quoted]) == ((), list(table.absent))
    heads, cells = table.quoted_rows()
    assert heads == ["method", *SCORE_NAMES, "source"]
    assert [row[0] for row in cells] == list(table.absent)


def test_rows_quoted_in_both_tables_agree_or_are_suspect():
    first, second = ({(r.title, r.dataset): r for r in quoted_rows() if r.table == number} for number in (1, 2))
    shared = first.keys() & second.keys()
    assert len(shared) == 6
    for key in shared:
        assert first[key].values == second[key].values or (first[key].suspect and second[key].suspect), key


def test_stored_totals_that_do_not_add_up_are_noted():
    def per_class(*experiments, groups=("head", "medium", "tail", "tail")):
        lines = [(name, "test", group, 50.0) for name in experiments for group in groups]
        # What is on the validation split, has no value, or is of a class of unknown size is no class of a group.
        more = [("validation", "head", 50.0), ("test", "head", math.nan), ("test", "", 50.0)]
        lines += [(name, *one) for name in experiments for one in more]
        return pd.DataFrame(lines, columns=["experiment_id", "split", "group", "ap"])

    # (60 + 50 + 20 + 20) / 4 = 37.5
    totals = {"erm": 37.5 + 0.9e-6, "rs": 45.0, "db": 37.5 - 1.1e-6, "ldam": 1.0}
    records = [record(method, 0, (total, 60, 50, 20)) for method, total in totals.items()]
    records.append(record("erm", 0, (9.0, 60, 50, 20), overrides="mu=1"))
    notes = table_of(*records, per_class=per_class("erm0", "rs0", "db0", "ermmu=10")).notes
    assert [note.partition(";")[0] for note in notes] == [
        f"{title}, experiment {name}: the stored total {total} is not the class-weighted mean of its groups (37.5000)"
        for title, name, total in (
            ("RS", "rs0", "45.0000"),
            ("DB", "db0", "37.5000"),
            ("ERM (mu=1)", "ermmu=10", "9.0000"),
        )
    ]
    without_tail = record("erm", 0, (55, 60, 50, math.nan))
    assert table_of(without_tail, per_class=per_class("erm0", groups=("head", "medium"))).notes == ()
    lost = record("erm", 0, (math.nan, 60, 50, 20))
    assert len(table_of(lost, per_class=per_class("erm0")).notes) == 1


def test_standing_is_decided_by_the_paired_interval():
    noisy = {0: 50.0, 1: 60.0, 2: 70.0}
    table = table_of(
        *seeds_of("db", noisy),
        # One point behind on every seed: no noise, although the spread over seeds is ten points.
        *seeds_of("rs", {seed: total - 1 - 0.01 * seed for seed, total in noisy.items()}),
        *seeds_of("erm", {0: 55, 1: 50, 2: 57}),
        record("ldam", 0, (40.0, 60, 50, 40)),
    )
    assert {row.label: row.cells["total"].standing for row in table.measured} == {
        "ERM": "not told apart (6.00 behind, 3 seeds)",
        "RS": "1.01 behind [0.99, 1.03]",
        "LDAM": "10.00 behind (1 seed: noise unknown)",
        "DB": "best",
    }
    # A seed that the others lack decides nothing, however high it is.
    table = table_of(*seeds_of("db", noisy | {3: 99}), *seeds_of("rs", {0: 51, 1: 61, 2: 71}))
    assert row_of(table, "RS").cells["total"].best
    assert row_of(table, "DB").cells["total"].standing == "1.00 behind [1.00, 1.00]"


@pytest.mark.parametrize(
    ("mean", "low", "high", "n", "standing"),
    [
        (1.5, 0.5, 2.5, 3, "1.50 behind [0.50, 2.50]"),
        (-1.5, -2.5, -0.5, 3, "1.50 ahead [0.50, 2.50]"),
        (1.5, 0.0, 3.0, 3, "not told apart (1.50 behind, 3 seeds)"),
        (-1.5, -3.0, 0.0, 2, "not told apart (1.50 ahead, 2 seeds)"),
        (0.0, -0.25, 0.25, 2, "not told apart (0.00 behind, 2 seeds)"),
        (1.5, -math.inf, math.inf, 1, "1.50 behind (1 seed: noise unknown)"),
        (-1.5, -math.inf, math.inf, 1, "1.50 ahead (1 seed: noise unknown)"),
    ],
)
def test_a_cell_says_how_far_it_is_and_whether_that_is_noise(mean, low, high, n, standing):
    behind = Difference(mean=mean, low=low, high=high, n=n, p=0.5)
    cell = Cell(mean=50.125, deviation=0.25, behind=behind, competes=True, images=(-0.25, 1.5))
    apart = standing.startswith("not")
    assert (cell.standing, cell.is_noise, cell.sign) == (standing, apart, "≈" * apart)
    outside = replace(cell, competes=False)
    assert (outside.standing, outside.is_noise, outside.sign) == (standing, False, "")
    best = replace(cell, best=True)
    assert (best.standing, best.sign, best.text) == ("best", "*", "50.12 ± 0.25")
    assert (cell.over_images, replace(cell, images=(-1.5, -0.25)).over_images) == ("[-0.25, 1.50]", "[0.25, 1.50]")
    nothing = Cell(mean=None, deviation=None)
    assert (nothing.text, nothing.standing, nothing.sign, nothing.over_images) == ("–", "", "", "")
    assert Cell(mean=0.0, deviation=0.0).text == "0.00 ± 0.00"


def test_results_by_seed_have_a_line_per_row_and_a_column_per_seed():
    records = [record("rs", 3, (5, 6, 7, 8)), record("erm", 1, (1, 2, 3, 4)), record("rs", 0, (9, 10, 11, 12)),
               failed("db", 2), record("erm", 3, (13, 14, 15, 16), overrides="x=1")]  # fmt: skip
    table = table_of(*records)
    for i, name in enumerate(SCORE_NAMES):
        frame = results_by_seed(table.every_row, frame_of(*records), name)
        nan = math.nan
        expected = [[nan, 1 + i, nan], [9 + i, nan, 5 + i], [nan, nan, 13 + i]]
        wanted = pd.DataFrame(expected, index=["ERM", "RS", "ERM (x=1)"], columns=[0, 1, 3])
        pd.testing.assert_frame_equal(frame, wanted, check_dtype=False)


def test_of_two_results_of_one_seed_the_later_counts_and_only_failures_have_failed():
    records = [record("erm", 1, (99, 99, 99, 99)), record("erm", 1, (51, 52, 53, 54), experiment_id="later"),
               record("erm", 0, (60, 64, 68, 72)), failed("erm", 2), failed("erm", 3),
               *(record("erm", 9, state=state) for state in UNFINISHED),
               *(record("rs", 0, state=state) for state in UNFINISHED)]  # fmt: skip
    table = table_of(*records)
    (row,) = table.every_row
    assert (row.seeds, row.experiments, row.failed, row.missing) == ((0, 1), ("erm0", "later"), 2, ())
    # The sample deviation of two numbers is their distance over the root of two.
    distance = {"total": 9, "head": 12, "medium": 15, "tail": 18}
    assert [row.cells[name].mean for name in SCORE_NAMES] == [55.5, 58, 60.5, 63]
    for name, apart in distance.items():
        assert row.cells[name].deviation == pytest.approx(apart / 2**0.5)
    assert "RS" in table.absent
    assert (row.seeds_of, row.short_ids) == ("2", ["erm0", "later"])


def test_rows_of_one_method_follow_each_other_its_own_first_and_others_by_label():
    records = [
        record("nt-bce", 0, overrides="a=1"), record("nt-bce", 0), record("db", 0, overrides="b=1"),
        record("zz", 0), record("aa", 0), record("erm", 0, overrides="c=1"), record("db", 0, overrides="a=1"),
        record("rs+rw-focal", 0), record("db", 0), record("rs", 0), record("erm", 0),
    ]  # fmt: skip
    table = table_of(*records)
    assert [row.label for row in table.rows] == ["ERM", "RS", "DB"]
    assert [row.label for row in table.further] == [
        "ERM (c=1)", "DB (a=1)", "DB (b=1)", "NT-BCE", "NT-BCE (a=1)", "aa", "zz"
    ]  # fmt: skip
    second = table_of(*records, number=2)
    assert [row.label for row in second.every_row] == ["RS", "RS+RW-Focal"]
    assert (second.number, second.title.partition(":")[0]) == (2, "Table 2")
    assert second.absent == ("RS-Focal", "RS+CB-Focal", "R-BCE-Focal")


def test_pairs_over_images_average_shared_seeds_in_each_resample(small_runs):
    table = build_table(small_runs, 1, "digits-mlt")
    generator = np.random.RandomState(0)
    resampled = {
        name: {"total": generator.normal(50, 3, 40), "tail": generator.normal(40, 3, 40)}
        for row in table.rows
        for name in row.experiments
    }
    frame = pairs_frame(table, small_runs, resampled)
    assert frame.index.tolist() == list(range(32))
    pairs = frame.set_index(["group", "first", "second"])
    for group in ("total", "tail"):
        pair = pairs.loc[(group, "ERM", "DB")]
        erm, db = ([resampled[f"{name}-{seed}".ljust(16, "0")][group] for seed in (0, 1)] for name in ("erm", "db"))
        expected = np.percentile((erm[0] - db[0] + erm[1] - db[1]) / 2, [2.5, 97.5])
        assert (pair.images_low, pair.images_high) == pytest.approx(tuple(expected))
    assert pairs.loc["head"][["images_low", "images_high"]].isna().all(axis=None)
    assert set(pairs.table) == {1}


def test_quoted_numbers_have_letters_for_their_sources_and_the_first_of_a_title_stands_in_the_csv(quoted_examples):
    def quoted(source, total, title="ERM", suspect=""):
        values = {"total": total, "head": 61.0, "medium": None, "tail": 40.0}
        return replace(quoted_examples[0], source=source, title=title, values=values, suspect=suspect)

    rows = [quoted("s 0", 48.0), quoted("s 1", 47.0), *(quoted(f"s {i}", 46.0, f"m{i}") for i in range(2, 54)),
            quoted("s 1", 45.0, suspect="why"), replace(quoted("s 99", 1.0), table=2),
            replace(quoted("s 98", 2.0), dataset="voc-mlt")]  # fmt: skip
    table = table_of(record("erm", 0, (50, 60.5, 55, 40)), quoted=rows)
    assert len(table.quoted) == 55
    letters = list(table.sources.values())
    assert [letters[i] for i in (0, 1, 25, 26, 27, 51, 52)] == ["a", "b", "z", "aa", "bb", "zz", "aaa"]
    _, cells = table.quoted_rows()
    assert cells[0] == ["ERM", "50.00", "48.00", "+2.00", "60.50", "61.00", "-0.50", "55.00", "–", "–",
                        "40.00", "40.00", "+0.00", "(a)"]  # fmt: skip
    assert cells[2][:4] == ["m2", "–", "46.00", "–"]
    assert (cells[-1][2], cells[-1][5], cells[-1][-1]) == ("45.00 [1]", "61.00", "(b)")
    (line,) = csv.DictReader(io.StringIO(comma_separated(table)))
    assert (line["total_quoted"], line["total_minus_quoted"], line["medium_quoted"]) == ("48.0", "2.0", "")
    assert quoted_frame(table).total.tolist()[:3] == [48, 47, 46]
    chosen = table_of(record("erm", 0), record("rs", 0), quoted=rows, methods=("erm",))
    # Rows of the suite's methods that were not asked for are not quoted, other methods' are.
    assert len(chosen.quoted) == 55
    assert len(table_of(record("erm", 0), record("rs", 0), quoted=rows, methods=("rs",)).quoted) == 52
    assert (chosen.absent, len(table.absent)) == ((), 11)


def test_intervals_over_images_stand_in_every_format():
    resampled = {f"{method}{seed}": {"total": np.linspace(low, low + 1, 101), "tail": np.linspace(0, low, 101)}
                 for method, low in (("db", 60), ("rs", 50)) for seed in range(3)}  # fmt: skip
    records = [*seeds_of("db", {0: 60, 1: 61, 2: 63}), *seeds_of("rs", {0: 50, 1: 51.5, 2: 52})]
    table, without = (table_of(*records, resampled=them) for them in (resampled, {}))
    assert (table.is_resampled, without.is_resampled) == (True, False)
    row = row_of(table, "RS").cells
    assert row["total"].images == pytest.approx((10, 10))
    # RS is the second of two equal tails, and so one of the best; nothing is behind.
    assert row["tail"].images is None
    first = next(csv.DictReader(io.StringIO(comma_separated(table))))
    assert (first["label"], float(first["total_images_low"]), first["tail_images_low"]) == ("RS", 10, "")
    line = next(line for line in markdown(table).splitlines() if line.startswith("| RS"))
    assert line.split(" | ")[5:8] == ["10.17 behind [8.27, 12.06]", "[10.00, 10.00]", "3"]
    assert "over images" in markdown(table)
    assert "over images" not in markdown(without)


def test_intervals_over_images_are_of_the_same_distance():
    resampled = {f"db{seed}": {"total": np.linspace(59, 61, 101)} for seed in range(3)}
    resampled |= {f"rs{seed}": {"total": np.full(101, 50.0)} for seed in range(3)}
    records = [*seeds_of("db", {0: 60, 1: 61, 2: 62}), *seeds_of("rs", {0: 50, 1: 51, 2: 52})]
    table = table_of(*records, resampled=resampled)
    cell = row_of(table, "RS").cells["total"]
    assert cell.images == pytest.approx((9.05, 10.95))
    assert (cell.standing, cell.over_images) == ("10.00 behind [10.00, 10.00]", "[9.05, 10.95]")
    assert row_of(table, "RS").cells["tail"].images is None


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
    finished = runs[(runs.dataset == "digits-mlt") & (runs.state == "finished")]
    for recipe in ("digits", "photos-short", "paper"):
        table = build_table(runs, 1, "digits-mlt", recipe=recipe)
        shown = sum(len(row.experiments) for row in table.every_row)
        counted = sum(int(text.split()[0]) for text in table.left_out if "recipe" in text)
        assert shown + counted == len(finished)
    assert row_of(build_table(runs, 1, "digits-mlt", recipe="photos-short"), "DB").seeds == (0, 1, 2)


def test_a_table_is_of_the_recipe_that_has_runs():
    smoke = [record("erm", seed, recipe="digits-smoke") for seed in range(3)]
    assert table_of(*smoke).protocol.recipe == "digits-smoke"
    assert table_of(*smoke, record("db", 0)).protocol.recipe == "digits"
    assert table_of(*smoke, record("db", 0, overrides="backbone=x", recipe="digits")).protocol.text == (
        "recipe digits, backbone=x"
    )
