"""Which runs make a table and what its rows are called, on runs that differ in one thing each."""

import itertools
import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_runs import frame_of, record, seeds_of
from mltbench.errors import InputError
from mltbench.reports.results import rows
from mltbench.reports.results.rows import (
    LEAST_SEEDS,
    Protocol,
    choose_protocol,
    expected_seeds,
    is_leading,
    labelled,
    load_results,
    method_order,
    runs_are,
    select_runs,
    shared_seeds,
)

SETS = st.lists(st.frozensets(st.integers(0, 5)), max_size=6)


def subsets(values, least):
    return [set(some) for n in range(least, len(values) + 1) for some in itertools.combinations(sorted(values), n)]


@given(sets=SETS, least=st.integers(1, 4))
def test_rows_compete_on_the_most_seeds_that_as_many_rows_as_possible_have(sets, least):
    """By trying every set of seeds."""
    support = {frozenset(some): sum(some <= own for own in sets) for some in subsets(set().union(*sets), least)}
    held = {some: rows for some, rows in support.items() if rows}
    found = shared_seeds(sets, least=least)
    if not held:
        assert found == frozenset()
        return
    assert held[found] == max(held.values())
    assert len(found) == max(len(some) for some, rows in held.items() if rows == held[found])
    assert found == shared_seeds(reversed(sets), least=least)


def test_three_seeds_make_a_best_and_of_equals_the_latest_seeds_decide():
    assert LEAST_SEEDS == 3
    assert shared_seeds([{0, 1, 2}]) == {0, 1, 2}
    assert shared_seeds([{0, 1}, {0, 1}]) == frozenset()
    assert shared_seeds([{0, 1, 2}, {3, 4, 5}]) == {3, 4, 5}
    assert shared_seeds([{0, 5, 6}, {1, 2, 3}]) == shared_seeds([{1, 2, 3}, {0, 5, 6}]) == {0, 5, 6}
    # Three rows of four share three seeds, that no two of them share alone.
    assert shared_seeds([{0, 1, 2, 3, 4}, {0, 1, 2, 3, 5}, {0, 1, 2, 4, 5}, {7, 8, 9}]) == {0, 1, 2}


@given(sets=SETS)
def test_a_row_should_have_the_seeds_that_most_rows_have(sets):
    counts = Counter(own for own in sets if own)
    found = expected_seeds(sets)
    assert counts[found] == max(counts.values(), default=0)
    assert len(found) == max((len(own) for own, n in counts.items() if n == counts[found]), default=0)


def test_of_equally_common_and_large_seeds_the_latest_are_expected():
    assert expected_seeds([{0, 1}, {0, 2}, {}, {}]) == {0, 2}
    assert expected_seeds([{0, 5}, {1, 2}]) == expected_seeds([{1, 2}, {0, 5}]) == {0, 5}
    assert expected_seeds([]) == frozenset()


def overriding(method, *texts, **changes):
    return [record(method, seed, overrides=text, **changes) for seed, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("records", "recipe", "settings"),
    [
        # The dataset's own recipe, however few runs it has, unless none is finished.
        ([*overriding("erm", "", "", recipe="short"), record("rs", 0)], "digits", ()),
        ([*overriding("erm", "", "", recipe="short"), record("rs", 0, state="failed")], "short", ()),
        ([record("erm", 0, recipe="paper"), *overriding("erm", "", "", recipe="long")], "long", ()),
        # That of a network that most runs have, but the dataset's own network where it has runs.
        (overriding("erm", "backbone=a", "backbone=b", "backbone=b"), "digits", ("backbone=b",)),
        (overriding("erm", "backbone=b", "backbone=b", ""), "digits", ()),
        (overriding("erm", "backbone=b", "backbone=b", "mu=1"), "digits", ("mu=1",)),
        # Whatever says which network it is.
        *((overriding("erm", f"{name}=b", f"{name}=b, mu=1", f"{name}=c"), "digits", (f"{name}=b",))
          for name in ("backbone", "weights", "weights-input", "weights-padding")),
        # What else all of these share, and no other run.
        (overriding("erm", "backbone=b, mu=1, x=2", "backbone=b, x=2", "backbone=c"), "digits", ("backbone=b", "x=2")),
        (overriding("erm", "mu=1, x=2", "x=2, mu=3"), "digits", ("x=2",)),
        ([*overriding("erm", "mu=1", "mu=1"), record("erm", 2, state="failed")], "digits", ("mu=1",)),
    ],
)  # fmt: skip
def test_the_protocol_is_the_datasets_own_else_what_most_finished_runs_share(records, recipe, settings):
    assert choose_protocol(frame_of(*records), "digits-mlt") == Protocol(recipe=recipe, settings=settings)
    assert choose_protocol(frame_of(*records[::-1]), "digits-mlt").recipe == recipe


def test_a_recipe_that_is_asked_for_is_taken_and_published_datasets_have_the_papers():
    frame = frame_of(*overriding("erm", "", "mu=1"), *overriding("erm", "mu=2", "mu=2", recipe="short"))
    assert choose_protocol(frame, "digits-mlt", "short") == Protocol(recipe="short", settings=("mu=2",))
    assert choose_protocol(frame, "digits-mlt", "other") == Protocol(recipe="other")
    frame = frame_of(*overriding("erm", "", "", recipe="short"), record("rs", 0, recipe="paper"))
    assert choose_protocol(frame, "coco-mlt").recipe == "paper"
    # Nothing is known of a set that is not on this machine.
    assert choose_protocol(frame, "elsewhere").recipe == "short"
    assert choose_protocol(frame_of(), "digits-mlt").recipe == "digits"


def test_a_configuration_leads_with_the_most_seeds_and_of_equals_the_newest():
    def of(name, title, starts, state="finished"):
        return [record("erm", seed, title=title, configuration_id=name, started=start, state=state)
                for seed, start in starts]  # fmt: skip

    frame = frame_of(
        *of("one seed twice", "A", [(0, 90), (0, 91)]), *of("two seeds", "A", [(0, 1), (5, 2)]),
        *of("older", "B", [(0, 70), (1, 50)]), *of("newer", "B", [(0, 10), (1, 80)]),
        *of("failed", "B", [(0, 98), (1, 98), (2, 99)], "failed"), *of("nobody beside", "C", [(0, 5)], "failed"),
        *of("last of all", "D", [(0, 1)]), *of("failed beside it", "D", [(0, 99)], "failed"),
    )  # fmt: skip
    leading = frame[is_leading(frame, "title")]
    assert leading.configuration_id.unique().tolist() == ["two seeds", "newer", "nobody beside", "last of all"]


def test_results_of_one_finished_run_alone_are_loaded(monkeypatch):
    runs = frame_of(record("erm", 3, state="failed"), record("rs", 5, (51, 62, 53, 44)))
    monkeypatch.setattr(rows, "load_runs", lambda out, tracking_uri: runs)
    found = rows.load_results()
    assert {index: row.tolist() for index, row in found.iterrows()} == {("RS", 5): [51, 62, 53, 44]}


USUAL = {"dataset_digest": "d" * 64, "numerics_version": "1", "started": 10}
PRECISE = json.dumps({"recipe.precision": "bfloat16"})


def test_every_configuration_has_a_label_of_its_own_that_says_what_differs():
    runs = frame_of(
        *seeds_of("erm", {0: 50, 1: 51, 2: 52}, **USUAL),
        *seeds_of("erm", {0: 60, 1: 61}, **USUAL | {"numerics_version": "2"}, configuration_id="e2"),
        *seeds_of("erm", {0: 62}, **USUAL | {"dataset_digest": "abcdef0123456789"}, configuration_id="e3"),
        *seeds_of("db", {0: 63}, **USUAL, settings=PRECISE),
        *seeds_of("db", {0: 64}, **USUAL, overrides="mu=0.2, kappa=1"),
        *seeds_of("db", {0: 65}, **USUAL, overrides="mu=0.3, kappa=1", role="tuned"),
        *seeds_of("db", {0: 66, 1: 67}, **USUAL, role="tuned", configuration_id="plain"),
        *seeds_of("rs", {0: 68, 1: 69}, **USUAL, configuration_id="0123456789"),
        *seeds_of("rs", {0: 70}, **USUAL, configuration_id="abcdef0123"),
        *seeds_of("mine", {0: 71}, **USUAL | {"numerics_version": "2"}, overrides="mu=9", settings=PRECISE),
        *seeds_of("erm", {0: 90}, recipe="short"),
        *seeds_of("erm", {0: 91}, dataset="voc-mlt"),
    )
    found = select_runs(runs, "digits-mlt").runs.drop_duplicates("configuration_id")
    assert list(found[["row", "overrides", "standard"]].itertuples(index=False, name=None)) == [
        ("ERM", "", True),
        ("ERM (numerics version 2)", "", False),
        ("ERM (dataset abcdef01)", "", False),
        ("DB (bfloat16)", "", False),
        ("DB (mu=0.2, kappa=1)", "mu=0.2, kappa=1", False),
        ("DB (tuned)", "mu=0.3, kappa=1", False),
        ("DB", "", True),
        ("RS [012345]", "", True),
        ("RS [abcdef]", "", False),
        ("mine (mu=9, numerics version 2, bfloat16)", "mu=9", False),
    ]


def test_what_runs_lack_of_the_protocol_stands_in_their_label():
    # What runs that have another network share is not asked, and what failed decides nothing.
    records = [*seeds_of("erm", {0: 1, 1: 2}, overrides="backbone=b, mu=1"),
               *seeds_of("db", {0: 4}, overrides="backbone=c, mu=1, x=2")]  # fmt: skip
    records += seeds_of("ldam", {0: 1, 1: 1, 2: 1}, overrides="backbone=d", state="failed")
    found = select_runs(frame_of(*records), "digits-mlt")
    assert found.protocol.settings == ("backbone=b", "mu=1")
    assert found.runs.drop_duplicates("row")[["row", "standard"]].to_numpy().tolist() == [
        ["ERM", True], ["DB (backbone=c, x=2)", False], ["LDAM (backbone=d, without mu=1)", False]
    ]  # fmt: skip


def test_where_no_run_is_by_the_protocol_a_methods_row_is_what_was_run_most():
    runs = frame_of(*seeds_of("db", {0: 1}, overrides="mu=2"), *seeds_of("db", {0: 2, 1: 3}, overrides="mu=1"),
                    *seeds_of("rs", {0: 4}, overrides="x=1"))  # fmt: skip
    found = select_runs(runs, "digits-mlt").runs.drop_duplicates("row")
    assert dict(zip(found.row, found.standard, strict=True)) == {
        "DB (mu=2)": False, "DB (mu=1)": True, "RS (x=1)": True
    }  # fmt: skip


@pytest.mark.parametrize(
    ("versions", "usual"),
    [
        # (version, start, overrides, state): most of the finished runs by the protocol have version 2.
        ([("2", 1, "", "finished"), ("2", 2, "", "finished"), ("3", 9, "", "finished")], "2"),
        # Of equally many the newest.
        ([("2", 1, "", "finished"), ("2", 4, "", "finished"), ("3", 2, "", "finished"), ("3", 3, "", "finished")], "2"),
        ([("2", 1, "", "finished"), ("2", 2, "", "finished"), ("3", 2, "", "finished"), ("3", 3, "", "finished")], "3"),
        # Neither overridden nor failed runs count beside one by the protocol.
        ([("2", 1, "", "finished"), ("3", 2, "mu=1", "finished"), ("3", 3, "mu=2", "finished")], "2"),
        ([("2", 1, "", "finished"), ("3", 2, "", "failed"), ("3", 3, "", "failed")], "2"),
        # Where none is by the protocol the finished ones, and where none is finished all of them.
        ([("2", 1, "", "failed"), ("2", 2, "", "failed"), ("3", 3, "mu=1", "finished"), ("4", 1, "mu=2", "finished")],
         "3"),
        ([("2", 1, "", "failed"), ("2", 2, "", "failed"), ("3", 3, "", "failed")], "2"),
    ],
)  # fmt: skip
def test_the_usual_version_is_that_of_most_finished_runs_by_the_protocol(versions, usual):
    records = [
        record("erm", seed, numerics_version=version, started=start, overrides=text, state=state,
               configuration_id=f"{version}{text}")
        for seed, (version, start, text, state) in enumerate(versions)
    ]  # fmt: skip
    for frame in (frame_of(*records), frame_of(*records[::-1])):
        found = select_runs(frame, "digits-mlt").runs
        named = {version for version, row in zip(found.numerics_version, found.row, strict=True) if "version" in row}
        assert named == {version for version, *_ in versions} - {usual}


def test_results_are_of_finished_runs_the_methods_rows_first_in_the_catalogues_order():
    runs = frame_of(
        record("mine", 2, (1, 2, 3, 4)), record("mine", 0, (5, 6, 7, 8)), record("db", 1, (9, 10, 11, 12)),
        record("db", 3, (13, 14, 15, 16), overrides="mu=1"), record("erm", 1, (17, 18, 19, 20)),
        record("erm", 0, (21, 22, 23, 24)), record("erm", 2, (25, 26, 27, 28), state="failed"),
    )  # fmt: skip
    found = select_runs(runs, "digits-mlt")
    assert found.standard[["method", "seed"]].to_numpy().tolist() == [
        ["erm", 0], ["erm", 1], ["db", 1], ["mine", 0], ["mine", 2],
    ]  # fmt: skip
    assert found.results.reset_index().to_numpy().tolist() == [
        ["ERM", 0, 21, 22, 23, 24], ["ERM", 1, 17, 18, 19, 20], ["DB", 1, 9, 10, 11, 12], ["mine", 0, 5, 6, 7, 8],
        ["mine", 2, 1, 2, 3, 4], ["DB (mu=1)", 3, 13, 14, 15, 16],
    ]  # fmt: skip
    assert list(found.results) == ["total", "head", "medium", "tail"]


def test_what_is_left_out_is_counted():
    runs = frame_of(
        *seeds_of("erm", {0: 1, 1: 2}), record("rs", 0), record("db", 0), record("db", 1), record("db", 2),
        *(record("erm", i, state=state) for i, state in enumerate(("running", "stopped", "failed", "pending"), 10)),
        *(record("erm", seed, recipe="short one") for seed in range(4)), record("erm", 9, recipe="a"),
        record("erm", 8, recipe="a", state="failed"), record("erm", 0, dataset="voc-mlt", recipe="b"),
    )  # fmt: skip
    recipes = ("1 run of recipe a is not in this table: --recipe a",
               "4 runs of recipe short one are not in this table: --recipe 'short one'")  # fmt: skip
    unfinished = "3 runs are not finished, and not in this table: mltbench status"
    assert select_runs(runs, "digits-mlt").left_out == (*recipes, unfinished)
    chosen = select_runs(runs, "digits-mlt", without=["db"])
    assert chosen.left_out == (
        *recipes, "3 runs are not in this table, as --method or --without chose.", unfinished
    )  # fmt: skip
    assert select_runs(runs, "digits-mlt", methods=["rs"]).left_out == (
        *recipes, "5 runs are not in this table, as --method or --without chose.",
    )  # fmt: skip


def test_rows_are_chosen_by_method_or_label_and_compete_where_a_label_was_named():
    runs = frame_of(record("erm", 0), record("rs", 0), record("db", 0), record("db", 1, overrides="mu=1"),
                    record("db", 2, overrides="mu=2"))  # fmt: skip

    def chosen(**options):
        found = select_runs(runs, "digits-mlt", **options).runs
        return dict(zip(found.row, found.standard, strict=True))

    assert chosen(methods=["db"]) == {"DB": True, "DB (mu=1)": False, "DB (mu=2)": False}
    assert chosen(methods=["DB (mu=1)", "rs"]) == {"RS": True, "DB (mu=1)": True}
    assert chosen(methods=["db", "DB (mu=1)"], without=["DB (mu=2)"]) == {"DB": True, "DB (mu=1)": True}
    assert chosen(without=["db"]) == {"ERM": True, "RS": True}
    assert chosen(without=["DB", "erm"]) == {"RS": True, "DB (mu=1)": False, "DB (mu=2)": False}
    for options in ({"methods": ["db", "sdb"]}, {"without": ["sdb"]}):
        with pytest.raises(InputError, match="unknown method or row 'sdb'"):
            chosen(**options)


def test_runs_of_all_datasets_and_recipes_are_labelled_each_by_its_own_protocol():
    runs = frame_of(
        record("erm", 0), record("erm", 1, overrides="x=1"), record("erm", 2, overrides="x=1", recipe="short"),
        record("erm", 3, dataset="voc-mlt", overrides="x=1"), record("rs", 4, dataset="voc-mlt"),
    )  # fmt: skip
    found = labelled(runs).sort_values("seed")
    assert found.row.tolist() == ["ERM", "ERM (x=1)", "ERM", "ERM (x=1)", "RS"]
    assert found.standard.tolist() == [True, False, True, False, True]
    assert list(labelled(frame_of())[["row", "standard"]]) == ["row", "standard"]


def test_loaded_results_are_of_the_finished_runs_of_one_dataset(monkeypatch):
    runs = frame_of(
        record("erm", 0, (1, 2, 3, 4)), record("erm", 1, (5, 6, 7, 8), recipe="short"),
        record("erm", 2, (9, 9, 9, 9), state="failed"), record("erm", 3, (9, 9, 9, 9), dataset="other", state="failed"),
    )  # fmt: skip
    asked = []
    monkeypatch.setattr(rows, "load_runs", lambda out, **options: asked.append((out, options)) or runs)
    assert load_results("here", tracking_uri="uri").to_numpy().tolist() == [[1, 2, 3, 4]]
    assert load_results(recipe="short").to_numpy().tolist() == [[5, 6, 7, 8]]
    assert load_results(dataset="digits-mlt").index.tolist() == [("ERM", 0)]
    assert asked[0] == ("here", {"tracking_uri": "uri"})
    with pytest.raises(InputError, match="nothing on dataset 'other'"):
        load_results(dataset="other")


def test_methods_stand_in_the_catalogues_order_and_others_by_name():
    assert method_order(["zeta", "db", "alpha", "erm", "db"]) == ["erm", "db", "alpha", "zeta"]
    assert [runs_are(n) for n in (0, 1, 2)] == ["0 runs are", "1 run is", "2 runs are"]
