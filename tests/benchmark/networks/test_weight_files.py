import hashlib
from dataclasses import replace

import pytest
import torch
import torchvision
from mltbench.benchmark.experiments.network import build_network
from mltbench.benchmark.experiments.plan import build_plan
from mltbench.benchmark.networks import initial_weights
from mltbench.benchmark.networks.backbones import BACKBONES, IMAGENET, get_backbone
from mltbench.benchmark.networks.initial_weights import BackboneChoice, choose_weights, find_weights
from mltbench.benchmark.training.check import tiny_dataset, tiny_experiment
from mltbench.errors import InputError
from mltbench.methods.catalogue import get_method


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


def changed(source, target, **changes):
    state = torch.load(source, weights_only=True)
    state.update(changes)
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


def test_old_files_without_batch_counters_are_whole_and_further_keys_are_ignored(states, tmp_path):
    state = torch.load(states / "resnet18.pth", weights_only=True)
    counters = {name: None for name in state if name.endswith("num_batches_tracked")}
    assert len(counters) == 20
    more = {"layer5.weight": torch.ones(2)}
    path = changed(states / "resnet18.pth", tmp_path / "old.pth", **counters, **more)
    weights = chosen(path)
    build_network(experiment_with(weights), tiny_dataset().statistics, weights=path)
    assert "1 keys that resnet18 does not have are ignored: layer5.weight" in weights.notes[-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"layer2.0.conv1.weight": None}, r"lacks 1 of 120 tensors of resnet18: layer2\.0\.conv1\.weight\. "
        ),
        pytest.param(
            {"conv1.weight": None, "module.conv1.weight": torch.ones(1)},
            r"conv1\.weight; it has 1 others: module\.conv1\.weight.*--backbone",
        ),
        pytest.param(
            {"conv1.weight": torch.zeros(64, 1, 7, 7)},
            r"1 tensors of another shape than resnet18: conv1\.weight is \(64, 1, 7, 7\), not \(64, 3, 7, 7\)",
        ),
        pytest.param({"bn1.bias": torch.full((64,), float("nan"))}, r"is damaged.*not finite: bn1\.bias"),
    ],
)
def test_a_file_that_does_not_fit_names_its_keys(changes, message, states, tmp_path):
    path = changed(states / "resnet18.pth", tmp_path / "changed.pth", **changes)
    with pytest.raises(InputError, match=message):
        chosen(path)


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b"no file of weights", "damaged"),
        ("half a file", r"weights\.pt is damaged.*fetch it again"),
        ({"a": 1}, "must hold tensors by name"),
        ([1], "must hold"),
        ({"conv1.weight": Evil()}, "never executed"),
    ],
)
def test_other_files_are_refused_and_nothing_in_them_is_executed(content, message, states, tmp_path, capsys):
    path = tmp_path / "weights.pt"
    if content == "half a file":
        whole = (states / "resnet18.pth").read_bytes()
        content = whole[: len(whole) // 2]
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match=message):
        chosen(path)
    assert "executed" not in capsys.readouterr().out


def test_a_file_that_changed_since_the_plan_is_refused(states, tmp_path):
    path = changed(states / "resnet18.pth", tmp_path / "mine.pth")
    experiment = experiment_with(chosen(path))
    assert found(experiment, path, tmp_path) == path
    flipped = bytearray(path.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(InputError, match=r"mine\.pth was changed.*plan again"):
        found(experiment, path, tmp_path)


def test_another_machine_finds_the_file_by_digest(states, tmp_path):
    experiment = experiment_with(chosen(states / "resnet18.pth"))
    with pytest.raises(InputError, match=r"are not at /there/x\.pth; copy the file into .*weights"):
        found(experiment, "/there/x.pth", tmp_path)
    (tmp_path / "weights").mkdir()
    copy = changed(states / "mobilenet.pt", tmp_path / "weights" / "other.pt")
    right = tmp_path / "weights" / "named-otherwise.pth"
    right.write_bytes((states / "resnet18.pth").read_bytes())
    assert found(experiment, "/there/x.pth", tmp_path) == right != copy


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
