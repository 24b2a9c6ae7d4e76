"""The pre-training that made the shipped weights, on a handful of its scenes: what it drew, and its losses."""

import hashlib
import re
import sys

import numpy as np
import pytest
import torch
from mltbench.benchmark.networks.backbones import get_backbone
from mltbench.benchmark.training import pretext
from mltbench.benchmark.training.pretext import CLASSES, pretext_scenes, pretrain


@pytest.fixture(scope="module")
def scenes():
    return pretext_scenes(9)


def test_scenes_are_those_of_the_shipped_weights(scenes):
    shown = [[CLASSES[c] for c in np.flatnonzero(row)] for row in scenes.labels[:3]]
    assert shown[1] == ["yellow 7", "green 1", "violet 4", "white 8", "black 4"]
    assert shown[2] == ["yellow 6", "cyan 1", "black 8"]
    assert scenes.labels.sum(axis=1).tolist() == [5, 5, 3, 4, 2, 2, 5, 3, 4]
    assert (scenes.images.shape, scenes.ids.tolist()) == ((9, 48, 48, 3), [str(i) for i in range(9)])
    assert hashlib.sha256(scenes.images.tobytes()).hexdigest()[:16] == "e0e018008c15b6e7"
    assert (len(CLASSES), pretext.SCENES, pretext.EPOCHS, pretext.BATCH) == (60, 16000, 80, 128)


def test_training_has_the_recorded_losses(scenes, monkeypatch, capsys):
    # Two steps per epoch; the ninth scene is left out.
    monkeypatch.setattr(pretext, "BATCH", 4)
    monkeypatch.setattr(pretext, "average_precision", lambda scores, labels: (scores.shape == labels.shape) * labels)
    body = pretrain(scenes, epochs=3)
    said = capsys.readouterr().err
    losses = [float(loss) for loss in re.findall(r"epoch \d/3: loss (\S+)", said)]
    # As recorded on an AMD EPYC.
    assert losses == pytest.approx([0.6647, 0.5648, 0.4805], abs=2e-3)
    state, (trunk, upper) = body.state_dict(), get_backbone("digits-resnet").build()
    parts = {"trunk": trunk, "upper": upper}
    assert state.keys() == {f"{part}.{name}" for part, module in parts.items() for name in module.state_dict()}
    assert not body.training
    assert state["trunk.0.1.running_var"].sum().item() == pytest.approx(10.0798, abs=0.02)


def test_the_weights_are_written_in_half_precision_to_the_file_that_is_named(monkeypatch, tmp_path):
    body = torch.nn.Linear(2, 3)
    monkeypatch.setattr(pretext, "pretext_scenes", lambda: "scenes")
    monkeypatch.setattr(pretext, "pretrain", lambda scenes: {"scenes": body}[scenes])
    monkeypatch.setattr(sys, "argv", ["pretext", str(tmp_path / "weights.npz")])
    pretext.main()
    with np.load(tmp_path / "weights.npz", allow_pickle=False) as found:
        assert {name: found[name].dtype for name in found} == {"weight": np.float16, "bias": np.float16}
        np.testing.assert_allclose(found["weight"], body.weight.detach(), atol=1e-3)
