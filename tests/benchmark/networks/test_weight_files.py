import argparse
import gzip
import hashlib
import os
import pickle
import re
import shlex
import signal
import tarfile
import zipfile
from collections import defaultdict
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from mltbench.benchmark.experiments.network import build_network
from mltbench.benchmark.experiments.plan import build_plan
from mltbench.benchmark.networks import initial_weights
from mltbench.benchmark.networks.backbones import BACKBONES, IMAGENET, get_backbone
from mltbench.benchmark.networks.initial_weights import BackboneChoice, choose_weights, find_weights
from mltbench.benchmark.networks.weight_files import load_weights
from mltbench.benchmark.training.check import tiny_dataset, tiny_experiment
from mltbench.errors import InputError
from mltbench.methods.catalogue import get_method
from safetensors.torch import save_file


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """Files of torchvision's key layout with random content."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(1)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), folder / "resnet18.pth")
    tensorflow = torchvision.models.mobilenet_v2(weights=None, num_classes=1001)
    torch.save(tensorflow.state_dict(), folder / "mobilenet.pt")
    return folder


def chosen(path, backbone="resnet18", **further):
    return choose_weights(BackboneChoice(backbone=backbone, weights=str(path), **further), default="resnet50")


def experiment_with(weights):
    experiment = tiny_experiment(get_method("erm"), image_size=32, neck_width=8)
    changes = {"weights_digest": weights.digest, "input_format": weights.input, "backbone": weights.backbone}
    return replace(experiment, **changes)


def found(experiment, *places):
    return find_weights(experiment.backbone, experiment.weights_digest, *places)


def without_values(name):
    """The tensors of one of torchvision's networks, each of one stored number."""
    with torch.device("meta"):
        state = torchvision.models.get_model(name, weights=None).state_dict()
    return {name: torch.zeros((), dtype=value.dtype).expand(value.shape) for name, value in state.items()}


def changed(target, **changes):
    """A file of ResNet-18 with other tensors; None leaves one out."""
    state = without_values("resnet18") | changes
    torch.save({name: value for name, value in state.items() if value is not None}, target)
    return target


def test_a_file_gives_the_network_its_backbone(states):
    weights = chosen(states / "resnet18.pth")
    assert weights.digest == hashlib.sha256((states / "resnet18.pth").read_bytes()).hexdigest()
    assert weights.input == IMAGENET
    (note,) = weights.notes
    assert "classifier of 1,000 outputs is not used" in note
    network = build_network(experiment_with(weights), tiny_dataset().statistics, weights=states / "resnet18.pth")
    state = torch.load(states / "resnet18.pth", weights_only=True)
    ours = {**network.trunk.state_dict(), **network.upper.state_dict()}
    assert set(state) - set(ours) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, state[name]) for name, value in ours.items())


def test_weights_of_1001_outputs_bring_tensorflows_input(states):
    weights = chosen(states / "mobilenet.pt", backbone="mobilenet_v2")
    assert (weights.input.mean, weights.input.deviation, weights.input.padding) == ((0.5,) * 3, (0.5,) * 3, "same")
    assert any("come from TensorFlow" in note for note in weights.notes)
    asked = chosen(states / "mobilenet.pt", backbone="mobilenet_v2", input="imagenet", padding="symmetric")
    assert asked.input == IMAGENET
    assert "--weights-input imagenet --weights-padding symmetric" in asked.options


def test_old_files_without_batch_counters_are_whole_and_further_keys_are_ignored(tmp_path):
    counters = {name: None for name in without_values("resnet18") if name.endswith("num_batches_tracked")}
    assert len(counters) == 20
    more = {"layer5.weight": torch.ones(2)}
    path = changed(tmp_path / "old.pth", **counters, **more)
    weights = chosen(path)
    build_network(experiment_with(weights), tiny_dataset().statistics, weights=path)
    assert "1 keys that resnet18 does not have are ignored: layer5.weight" in weights.notes[-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"layer2.0.conv1.weight": None}, r"lacks 1 of 120 tensors of resnet18: layer2\.0\.conv1\.weight; "
        ),
        pytest.param(
            {"conv1.weight": None, "first.weight": torch.ones(1)},
            r"conv1\.weight; it has 1 other: first\.weight; it fits no backbone of the suite",
        ),
        pytest.param(
            {"conv1.weight": torch.zeros(64, 1, 7, 7)},
            r"1 tensors of another shape than resnet18: conv1\.weight is \(64, 1, 7, 7\), not \(64, 3, 7, 7\)",
        ),
        pytest.param({"bn1.bias": torch.full((64,), float("nan"))}, r"is damaged.*not finite: bn1\.bias"),
        pytest.param({"bn1.bias": torch.ones(64, dtype=torch.int8)}, r"bn1\.bias is of torch\.int8.*quantised"),
        pytest.param({"conv1.weight": torch.zeros(64, 3, 7, 7).to_sparse()}, r"conv1\.weight is of .*sparse"),
        pytest.param(
            {"layer1.0.se.weight": torch.ones(3)},
            r"another network than resnet18.*lack 1 of its tensors: layer1\.0\.se\.weight; it fits no backbone",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
def test_a_file_that_does_not_fit_names_its_keys(changes, message, tmp_path):
    path = changed(tmp_path / "changed.pth", **changes)
    with pytest.raises(InputError, match=message):
        chosen(path)


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "wide_resnet50_2", "mobilenet_v2"])
def test_weights_of_another_backbone_are_refused_with_its_name(name, tmp_path):
    # All tensors of ResNet-18 are in a file of ResNet-34, in their shapes.
    torch.save({"state_dict": without_values(name)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=rf"it fits {name}: give --backbone {name}$"):
        chosen(tmp_path / "other.pth")
    assert chosen(tmp_path / "other.pth", backbone=name).digest


# Files as people have them, of the small network.


@pytest.fixture(scope="module")
def own():
    """The tensors of the small network with random values."""
    torch.manual_seed(2)
    trunk, upper = get_backbone("digits-resnet").build()
    return {f"{part}.{k}": v for part, m in (("trunk", trunk), ("upper", upper)) for k, v in m.state_dict().items()}


def loaded(path):
    """What a file gives the small network, with the notes of its choice."""
    trunk, upper = get_backbone("digits-resnet").build()
    load_weights(get_backbone("digits-resnet"), trunk, upper, path)
    state = {f"{part}.{k}": v for part, m in (("trunk", trunk), ("upper", upper)) for k, v in m.state_dict().items()}
    return state, chosen(path, backbone="digits-resnet").notes


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


PREFIXES = ("module", "backbone", "_orig_mod", "model", "encoder", "encoder_q", "net", "my_own_name")
WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "teacher", "params/ema", "anything")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(PREFIXES), max_size=4), st.lists(st.sampled_from(WRAPPERS), max_size=3))
def test_any_prefix_and_any_wrapper_is_found(own, tmp_path_factory, prefixes, wrappers):
    prefix = "".join(f"{one}." for one in prefixes)
    content = {prefix + name: value for name, value in own.items()} | {prefix + "fc.bias": torch.ones(7)}
    for wrapper in wrappers:
        content = {
            "epoch": 3,
            wrapper: content,
            "optimizer": {"state": {0: {"step": torch.ones(1)}}, "param_groups": []},
        }
    path = tmp_path_factory.mktemp("wrapped") / "checkpoint.pth"
    torch.save(content, path)
    state, notes = loaded(path)
    assert same(state, own)
    place = "".join(f"{one}/" for one in reversed(wrappers)) + prefix
    said = [f"checkpoint.pth: its tensors under `{place}` are used"] if place else []
    assert list(notes) == [*said, "checkpoint.pth: its classifier of 7 outputs is not used; this suite trains its own"]


def test_a_network_that_was_compiled_in_parts_or_is_kept_twice_is_one(own, tmp_path):
    inside = {name.replace("trunk.", "trunk._orig_mod."): value for name, value in own.items()}
    twice = {f"{prefix}{name}": value for prefix in ("model.", "ema.") for name, value in own.items()}
    counted = {
        name: value for name, value in twice.items() if not (name[0] == "e" and name.endswith("batches_tracked"))
    }
    for content in (inside, twice, counted):
        torch.save(content, tmp_path / "x.pth")
        assert same(loaded(tmp_path / "x.pth")[0], own)


def test_weights_of_a_finished_run_fit_again(tmp_path):
    state = without_values("resnet18")
    upper = ("layer2", "layer3", "layer4")
    parts = {
        f"{'upper' if k.startswith(upper) else 'trunk'}.{k}": v for k, v in state.items() if not k.startswith("fc")
    }
    torch.save({**parts, "neck.0.weight": torch.ones(2, 2), "head.bias": torch.ones(20)}, tmp_path / "weights.pt")
    (note,) = chosen(tmp_path / "weights.pt").notes
    assert "classifier of 20 outputs" in note


def test_other_precisions_and_formats_have_the_same_values(own, tmp_path):
    rounded = {name: value.half().float() if value.is_floating_point() else value for name, value in own.items()}
    half = {name: value.half() if value.is_floating_point() else value for name, value in own.items()}
    brain = {name: value.bfloat16() if value.is_floating_point() else value for name, value in own.items()}
    double = {name: value.double() if value.is_floating_point() else value for name, value in own.items()}
    torch.save(half, tmp_path / "half.pth")
    torch.save(double, tmp_path / "double.pth")
    torch.save(own, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    # By content, whatever the file is called.
    for name in ("model.safetensors", "model.bin"):
        save_file({f"backbone.{name}": value for name, value in own.items()}, tmp_path / name)
    save_file(brain, tmp_path / "brain.safetensors")
    assert same(loaded(tmp_path / "half.pth")[0], rounded)
    for name in ("double.pth", "legacy.pth", "model.safetensors", "model.bin"):
        assert same(loaded(tmp_path / name)[0], own)
    got = loaded(tmp_path / "brain.safetensors")[0]
    assert same({name: got[name].to(value.dtype) for name, value in brain.items()}, brain)


class Settings(dict):
    """A dictionary of the user's own code."""


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("zipped", [True, False])
def test_objects_of_code_beside_the_tensors_are_passed_over_and_nothing_is_executed(own, zipped, tmp_path, capsys):
    beside = {
        "args": argparse.Namespace(lr=0.1, folder=Path("out")), "best": np.float64(3), "history": np.ones(3),
        "counts": defaultdict(int, {1: 2}), "evil": Evil(), "kinds": {int, str}, "rate": Fraction(1, 3),
    }  # fmt: skip
    torch.save({**beside, "model": own}, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    assert same(loaded(tmp_path / "x.pth")[0], own)
    assert "executed" not in capsys.readouterr().out


def followed(message, folder):
    """Do what the command of a message does, and return what the file that it saves gives the small network."""
    exec(shlex.split(re.search(r"python -c (\".*\")$", message)[1])[0], {})
    return loaded(next(folder.glob("*-tensors.pth")))[0]


def network():
    """The small network as one module; its tensors have the names of the suite's own files."""
    trunk, upper = get_backbone("digits-resnet").build()
    return torch.nn.ModuleDict({"trunk": trunk, "upper": upper})


@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: {"epoch": 3, "model": net}], ids=["alone", "wrapped"])
def test_a_whole_pickled_network_is_refused_and_the_cure_saves_its_tensors(wrap, tmp_path):
    whole = network()
    torch.save(wrap(whole), tmp_path / "whole.pth")
    with pytest.raises(
        InputError, match=r"whole pickled network \(torch\.nn\.modules\.container\.ModuleDict\)"
    ) as error:
        loaded(tmp_path / "whole.pth")
    assert same(followed(str(error.value), tmp_path), whole.state_dict())
    torch.save(wrap(whole), tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match=r"whole pickled network .*torch\.save its state_dict"):
        loaded(tmp_path / "legacy.pth")


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_torchscript_is_refused_and_the_cure_saves_its_tensors(tmp_path):
    class Script(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk, self.upper = get_backbone("digits-resnet").build()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.upper(self.trunk(x))

    whole = Script()
    torch.jit.script(whole.eval()).save(tmp_path / "script.pt")
    with pytest.raises(InputError, match="a TorchScript program, which is never executed") as error:
        loaded(tmp_path / "script.pt")
    assert same(followed(str(error.value), tmp_path), whole.state_dict())


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_of_several_networks_that_fit_none_is_guessed_and_the_cure_saves_the_first(ending, own, tmp_path):
    others = {name: value + 1 for name, value in own.items()}
    path = tmp_path / f"two.{ending}"
    if ending == "pth":
        args = argparse.Namespace(lr=0.1)
        torch.save({"student": {f"module.{k}": v for k, v in own.items()}, "teacher": others, "args": args}, path)
        said = r"2 networks that fit digits-resnet: `student/module\.`, `teacher/`; save the one that you mean"
    else:
        save_file({f"a.{k}": v for k, v in own.items()} | {f"b.{k}": v for k, v in others.items()}, path)
        said = r"2 networks that fit digits-resnet: `a\.`, `b\.`; save the one that you mean"
    with pytest.raises(InputError, match=said) as error:
        loaded(path)
    assert same(followed(str(error.value), tmp_path), own)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 46830571\n"
PAGE = b"\n<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head></html>"
OTHERS = {
    "nothing": (b"", "is empty; fetch it again"),
    "text": (b'{"message":\n "Not Found"}', r"is text.* begins with '\{\"message\": \"Not Found\"\}'"),
    "a pointer": (POINTER, "a pointer of Git LFS.*`git lfs pull`"),
    "a page": (PAGE, r"a web page \('Google Drive - Virus scan warning'\).*gdown for Google Drive"),
    "bytes": (bytes(range(190, 250)), "no file of weights: it begins with .*fetch it again"),
    "gzip": (gzip.compress(b"x"), "an archive.*unpack it"),
    "a pickle": (pickle.dumps({"conv1.weight": np.ones(3)}), "a pickle that torch.save did not write.*never executed"),
    "half a file": (None, r"was cut off.*fetch it again"),
    "no tensors": ({"a": 1}, "has no tensors by name; save the network's `state_dict"),
    "a list": ([1], "has no tensors by name"),
    "one tensor": (torch.ones(3), "has no tensors by name"),
    "arrays": ({"conv1.weight": np.ones(3)}, "no tensors by name; it holds numpy.*never executed"),
    # Ray puts a function of its own in the place of `print`.
    "code": ({"conv1.weight": Evil()}, r"no tensors by name; it holds \S*print, which is never executed"),
    "a subclass": (Settings(a=1), r"holds objects of code \(.*Settings\), which is never executed"),
    "blocked": (
        {"a": signal.Signals.SIGINT, "b": os.getcwd},
        r"holds objects of code \(.*posix\.getcwd.*never executed",
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_files_are_refused_and_nothing_in_them_is_executed(what, states, tmp_path, capsys):
    content, message = OTHERS[what]
    path = tmp_path / "weights.pt"
    if what == "half a file":
        whole = (states / "resnet18.pth").read_bytes()
        content = whole[: len(whole) // 2]
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match=message):
        chosen(path)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("part", [0.001, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_a_file_that_was_cut_off_is_refused_wherever_it_ends(form, part, own, tmp_path):
    path = tmp_path / "weights.pt"
    if form == "safetensors":
        save_file(own, path)
    else:
        torch.save(own, path, _use_new_zipfile_serialization=form == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(InputError, match=r"cut off|is damaged"):
        loaded(path)


def test_archives_folders_and_addresses_are_no_files_of_weights(own, tmp_path):
    torch.save(own, tmp_path / "inner.pth", pickle_protocol=4)
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.write(tmp_path / "inner.pth", "inner.pth")
    with tarfile.open(tmp_path / "packed.pth.tar", "w") as archive:
        archive.add(tmp_path / "inner.pth", "inner.pth")
    for path, message in {
        tmp_path / "packed.zip": r"a zip archive of inner\.pth; unpack it",
        tmp_path / "packed.pth.tar": r"an archive \(tar\); unpack it",
        tmp_path / "inner.pth": r"pickle protocol 4.*save it again without `pickle_protocol`",
        tmp_path: r"is a folder \(it holds inner\.pth, packed\.pth\.tar, packed\.zip\)",
        "https://example.org/resnet18.pth": "is an address; download the file",
    }.items():
        with pytest.raises(InputError, match=message):
            chosen(path)


def test_a_file_that_changed_since_the_plan_is_refused(tmp_path):
    path = changed(tmp_path / "mine.pth")
    experiment = experiment_with(chosen(path))
    assert found(experiment, path, tmp_path) == path
    flipped = bytearray(path.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(InputError, match=r"mine\.pth was changed.*plan again"):
        found(experiment, path, tmp_path)


def test_another_machine_finds_the_file_by_digest(tmp_path):
    chosen_here = changed(tmp_path / "here.pth")
    experiment = experiment_with(chosen(chosen_here))
    with pytest.raises(InputError, match=r"are not at /there/x\.pth; copy the file into .*weights"):
        found(experiment, "/there/x.pth", tmp_path)
    (tmp_path / "weights").mkdir()
    other = changed(tmp_path / "weights" / "other.pt", **{"layer5.weight": torch.ones(2)})
    right = tmp_path / "weights" / "named-otherwise.safetensors"
    right.write_bytes(chosen_here.read_bytes())
    assert found(experiment, "/there/x.pth", tmp_path) == right != other


def test_published_and_random_weights_need_no_file_in_a_plan(dataset):
    published, random = (
        build_plan(dataset, ["erm"], seeds=[0], backbone=BackboneChoice(backbone="resnet50", weights=weights))
        for weights in (None, "random")
    )
    assert published.experiments[0].experiment.weights_digest == "0676ba61"
    assert random.experiments[0].experiment.weights_digest == "random"
    assert published.experiments[0].experiment.id != random.experiments[0].experiment.id
    assert random.experiments[0].label == "ERM (backbone=resnet50, weights=random)"
    assert "--backbone resnet50 --weights random" in random.experiments[0].command
    assert found(random.experiments[0].experiment, None, "/nowhere") is None


@pytest.mark.parametrize(
    ("further", "message"),
    [
        ({"input": "imagenett"}, "unknown --weights-input 'imagenett'; did you mean 'imagenet'"),
        ({"padding": "valid"}, "unknown --weights-padding 'valid'; known: symmetric, same"),
        ({"backbone": "resnet51"}, "unknown backbone 'resnet51'; did you mean 'resnet50'"),
        ({"weights": "absent.pt"}, r"no file of weights at absent\.pt"),
    ],
)
def test_what_is_unknown_is_refused(further, message):
    with pytest.raises(InputError, match=message):
        choose_weights(BackboneChoice(**further), default="resnet18")


@pytest.fixture
def published(states, monkeypatch, tmp_path):
    """ResNet-18 whose published weights are a file of ours; gives an experiment, that file, and its place when kept."""
    content = (states / "resnet18.pth").read_bytes()
    name = f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    served = tmp_path / "served" / name
    served.parent.mkdir()
    served.write_bytes(content)
    backbone = replace(get_backbone("resnet18"), weights=name)
    monkeypatch.setitem(BACKBONES, "resnet18", backbone)
    monkeypatch.setattr(initial_weights, "published_address", lambda backbone: served.as_uri())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    weights = choose_weights(BackboneChoice(), default="resnet18")
    return experiment_with(weights), served, tmp_path / "torch" / "hub" / "checkpoints" / name


def test_published_weights_are_downloaded_once(published, tmp_path):
    experiment, served, kept = published
    assert found(experiment, None, tmp_path) == kept
    assert kept.read_bytes() == served.read_bytes()
    served.unlink()
    assert found(experiment, None, tmp_path) == kept


def test_a_download_with_another_digest_is_refused(published, tmp_path):
    experiment, served, kept = published
    served.write_bytes(served.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"cannot be downloaded .*hash"):
        found(experiment, None, tmp_path)
    assert not kept.exists()


def test_offline_the_error_says_which_file_belongs_where(published, tmp_path):
    experiment, served, kept = published
    served.rename(tmp_path / "elsewhere.pth")
    with pytest.raises(InputError) as caught:
        found(experiment, None, tmp_path)
    said = str(caught.value)
    assert all(word in said for word in (kept.name, str(kept.parent), str(tmp_path / "weights"), "--weights FILE"))
    (tmp_path / "weights").mkdir()
    (tmp_path / "elsewhere.pth").rename(tmp_path / "weights" / kept.name)
    assert found(experiment, None, tmp_path).parent == tmp_path / "weights"


def test_a_published_file_that_is_given_is_the_published_experiment(published, states):
    experiment, _, _ = published
    given = choose_weights(BackboneChoice(weights=str(states / "resnet18.pth")), default="resnet18")
    assert (given.digest, given.settings) == (experiment.weights_digest, {})
