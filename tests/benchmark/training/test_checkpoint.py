"""Which checkpoints of a folder are whole and belong to a run, newest first."""

import hashlib

import pytest
import torch
from mltbench.benchmark.training.checkpoint import (
    DamagedCheckpointError,
    Header,
    read_checkpoint,
    remove_checkpoints,
    whole_checkpoints,
    write_checkpoint,
)


def header(*, steps, epochs=0, experiment="0123", attempt=7):
    machine = {"device": "cpu", "threads": 1, "machine": "a machine"}
    return Header(experiment=experiment, attempt=attempt, epochs=epochs, steps=steps, **machine)


def found(folder, *, epochs=(1, 2), experiment="0123", attempt=7):
    return whole_checkpoints(folder, experiment, attempt=attempt, epochs=set(epochs))


def test_the_last_two_are_kept_newest_first_and_say_what_they_were_given(tmp_path):
    assert found(tmp_path) == []
    for steps in (3, 4, 5):
        write_checkpoint(tmp_path, header(steps=steps, epochs=1), {"weights": torch.full((2,), steps), "at": steps})
    newest, before = found(tmp_path)
    assert [each.path.name for each in (newest, before)] == ["checkpoint.mlt", "checkpoint.previous.mlt"]
    assert [each.header for each in (newest, before)] == [header(steps=5, epochs=1), header(steps=4, epochs=1)]
    assert [each.states()["at"] for each in (newest, before)] == [5, 4]
    assert newest.states()["weights"].tolist() == [5, 5]
    remove_checkpoints(tmp_path)
    remove_checkpoints(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wanted", "steps"),
    [
        ({}, [5, 4]),
        ({"epochs": (1, 2, 3)}, [5, 4]),
        # The journal is behind the newer one, or has a gap.
        ({"epochs": (1,)}, [4]),
        ({"epochs": (2,)}, []),
        ({"epochs": ()}, []),
        ({"experiment": "4567"}, []),
        ({"attempt": 8}, []),
    ],
)
def test_they_belong_to_an_experiment_an_attempt_and_epochs_that_the_journal_holds(wanted, steps, tmp_path):
    for epochs, at in ((1, 4), (2, 5)):
        write_checkpoint(tmp_path, header(steps=at, epochs=epochs), {})
    assert [each.header.steps for each in found(tmp_path, **wanted)] == steps


def test_the_file_is_the_documented_one_and_a_damaged_one_is_passed_over(tmp_path):
    for steps in (1, 2):
        write_checkpoint(tmp_path, header(steps=steps), {"at": steps})
    path = tmp_path / "checkpoint.mlt"
    content = path.read_bytes()
    magic, digest, rest = content.split(b"\n", 2)
    assert (magic, digest.decode()) == (b"mltbench checkpoint 1", hashlib.sha256(rest).hexdigest())
    in_time = read_checkpoint(path)
    places = {0: "the magic", 10: "the magic", 25: "the digest", 86: "the line's end", 90: "the header", -9: "the end"}
    for place, what in places.items():
        damaged = bytearray(content)
        damaged[place] ^= 1
        for changed in (bytes(damaged), content[:place]):
            path.write_bytes(changed)
            assert [each.states()["at"] for each in found(tmp_path)] == [1], what
            with pytest.raises(DamagedCheckpointError):
                read_checkpoint(path)
            with pytest.raises(DamagedCheckpointError):
                in_time.states()
    path.unlink()
    assert [each.states()["at"] for each in found(tmp_path)] == [1]


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_nothing_in_it_is_executed(tmp_path, capsys):
    write_checkpoint(tmp_path, header(steps=1), {"at": Evil()})
    (checkpoint,) = found(tmp_path)
    with pytest.raises(Exception, match="weights_only"):
        checkpoint.states()
    assert "executed" not in capsys.readouterr().out
