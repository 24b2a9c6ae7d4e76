"""Runs by the names under which commands print them."""

import json

import pytest
from mltbench.benchmark.commands.runs import Named, the_one
from mltbench.errors import InputError

RUNS = [
    Named(ids=("3f2a91c0d5e6f708", "70d1c6945a0c3e68", "8" * 32), title="DB, seed 0", item="first"),
    Named(ids=("3f2b000000000000", "70d1c6945a0c3e68", "9" * 32), title="DB, seed 1", item="second"),
    Named(ids=("aaaa000000000000", "ffffffffffffffff", "7" * 32), title="ERM, seed 0", item="third"),
]


@pytest.mark.parametrize(
    ("name", "item"),
    [
        *(("3f2a91c0d5e6f708", "first"), ("3f2a91c0", "first"), ("3f2a", "first"), ("3f2a91c0…", "first")),
        *(("3f2a91c0...", "first"), ("`3f2a91c0`", "first"), ("'3f2b'", "second"), (" aaaa ", "third")),
        *(("99999999", "second"), ("DB, seed 1", "second"), ("ffff", "third")),
    ],
)
def test_a_run_is_found_as_it_is_printed(name, item):
    assert the_one(name, RUNS, "here", "mltbench runs list") == item


@pytest.mark.parametrize("name", ["3f2", "70d1c694"])
def test_what_may_be_several_names_each_with_method_and_seed(name):
    with pytest.raises(InputError, match=r"any of 2 runs: 3f2a91c0 \(DB, seed 0\), 3f2b0000 \(DB, seed 1\)"):
        the_one(name, RUNS, "here", "mltbench runs list")


def test_two_attempts_at_one_experiment_are_told_apart_by_their_last_ids():
    twice = [Named(ids=("3f2a91c0", number * 32), title="DB, seed 0", item=number) for number in "12"]
    with pytest.raises(InputError, match=r"11111111 \(DB, seed 0\), 22222222 \(DB, seed 0\)"):
        the_one("3f2a", twice, "here", "mltbench runs list")


@pytest.mark.parametrize("name", ["b", "", "…", "DB"])
def test_what_is_none_of_them_names_the_command_that_lists_them(name):
    with pytest.raises(InputError, match=r"none of the 3 runs here .* `mltbench runs list` shows them"):
        the_one(name, RUNS, "here", "mltbench runs list")


def test_every_command_takes_the_id_that_status_prints(finished, store, call, own_folder):
    words = call("status", "--out", store.root)[1].split()
    assert finished[:8] in words
    assert call("runs", "show", f"{finished[:8]}…", "--out", store.root)[0] == 0
    data = json.loads(call("runs", "show", finished[:8], "--json", "--out", store.root)[1])
    assert data["tags"]["experiment_id"] == finished
    assert "on another processor the same id ends with other last digits" in call(
        "runs", "show", data["name"], "--out", store.root
    )[1].replace("\n", " ")
    status, shown, error = call("verify", finished[:8], "--out", store.root)
    assert (status, error) == (0, "")
    assert f"{finished}: the bits agree" in shown
    status, shown, error = call("runs", "delete", finished[:8], "--yes", "--out", store.root)
    assert (status, error) == (0, "")


def test_verify_says_how_far_other_bits_are(finished, store, call, own_folder):
    folder = store.runs / finished
    journal = folder / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert any("test/total" in line.get("metrics", {}) for line in lines), "the journal has the scores"
    provenance = json.loads((folder / "provenance.json").read_text())
    (folder / "provenance.json").write_text(json.dumps({**provenance, "device_name": "another processor"}))
    text = journal.read_text()
    for line in lines:
        if "test/total" in line.get("metrics", {}):
            text = text.replace(
                json.dumps(line["metrics"]["test/total"]), json.dumps(line["metrics"]["test/total"] + 0.01)
            )
    journal.write_text(text)
    status, shown, _ = call("verify", finished, "--out", store.root)
    assert status == 1
    assert "by at most 0.01" in shown
    assert "device_name: another processor then" in shown
    assert "mAP test/total:" in shown
    assert "the same id ends with other last digits" in shown
