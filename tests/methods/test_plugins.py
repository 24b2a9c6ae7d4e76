import hashlib
import importlib
import json
import sys

import pytest
import torch
from mltbench import ClassStatistics, InputError, Interval, create_loss, get_method, list_methods, register_loss
from mltbench.benchmark.training.check import tiny_dataset, tiny_experiment
from mltbench.methods.method import Method
from mltbench.methods.plugins import ModuleLoss
from trainings import Training

HINGE = '''
import mltbench
import torch


@mltbench.register_loss("own-hinge", like="rs-focal", reference="a blackboard")
class Hinge(torch.nn.Module):
    """Hinge loss of every cell.

    More words.
    """

    def __init__(self, statistics, *, margin=1.0, squared=False, power=2, name="plain"):
        super().__init__()
        self.register_buffer("counts", torch.from_numpy(statistics.counts))
        self.margin, self.squared, self.power = margin, squared, power

    def forward(self, logits, labels):
        loss = (self.margin - (2 * labels - 1) * logits).clamp(min=0)
        return (loss**self.power if self.squared else loss).mean()
'''


@pytest.fixture
def hinge_file(own_registrations, monkeypatch, tmp_path):
    """A loss in its own file, imported as a user's module would be, and unloaded afterwards."""
    path = tmp_path / "own_hinge_losses.py"
    path.write_text(HINGE)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module(path.stem)
    yield path
    del sys.modules[path.stem]


def test_a_decorated_loss_is_a_method_whose_keyword_arguments_are_hyper_parameters(hinge_file):
    method, model = get_method("own-hinge"), get_method("rs-focal")
    assert list_methods()[-1].name == "own-hinge"
    assert (method.sampler, method.schedule, method.head) == (model.sampler, model.schedule, model.head)
    assert (method.weights, method.adjustment, method.focal) == (None, None, None)
    assert (method.title, method.summary) == ("own-hinge", "Hinge loss of every cell.")
    assert method.reference == "a blackboard"
    own = {"margin": 1.0, "squared": False, "power": 2, "name": "plain"}
    assert method.parameters == {"images_per_visit": 3, "epoch_fraction": 0.25, **own}
    assert method.with_parameters(margin=0.5).loss_parameters == {**own, "margin": 0.5}
    assert method.loss_parameters == own


def test_the_loss_is_built_with_its_values(hinge_file, small_statistics, caplog):
    logits, labels = torch.tensor([[2.0, -0.5, 0.0, 1.0]]), torch.tensor([[1, 0, 1, 0]])
    # Distances beyond the margin by hand: 0, .5, 1, 2 at margin 1; 0, 1.5, 2, 3 at margin 2.
    assert create_loss("own-hinge", small_statistics)(logits, labels).item() == pytest.approx(3.5 / 4)
    wider = create_loss("own-hinge", small_statistics, margin=2.0, squared=True)
    assert wider(logits, labels).item() == pytest.approx((1.5**2 + 2**2 + 3**2) / 4)
    assert wider.counts.tolist() == [6, 3, 2, 1]
    assert caplog.records == []


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"margn": 2.0}, "'margn'; did you mean 'margin'"),
        ({"margin": "wide"}, "margin='wide' must be of type float"),
        ({"margin": True}, "margin=True must be of type float"),
        ({"squared": 1}, "squared=1 must be of type bool"),
        ({"power": 2.5}, "power=2.5 must be of type int"),
        ({"gamma": 2.0}, "unknown hyper-parameter of the own-hinge loss 'gamma'"),
    ],
)
def test_values_of_another_kind_are_refused(hinge_file, small_statistics, parameters, message):
    with pytest.raises(InputError, match=message):
        create_loss("own-hinge", small_statistics, **parameters)


def test_a_loss_is_identified_by_its_address_and_the_digest_of_its_file(hinge_file):
    module, before = sys.modules[hinge_file.stem], get_method("own-hinge").loss
    assert before.address == "own_hinge_losses:Hinge"
    assert before.source_digest == hashlib.sha256(HINGE.encode()).hexdigest()
    assert ModuleLoss.of(module.Hinge) == before
    with pytest.raises(InputError, match="'own-hinge' is registered already"):
        importlib.reload(module)
    hinge_file.write_text(HINGE.replace('"own-hinge"', '"own-hinge-2"').replace("clamp(min=0)", "clamp(min=0.001)"))
    after = ModuleLoss.of(importlib.reload(module).Hinge)
    assert after.address == before.address
    assert after.source_digest != before.source_digest
    assert get_method("own-hinge-2").loss == after


def test_of_unknown_labels_a_loss_must_say_that_it_takes_them(hinge_file, small_labels, monkeypatch):
    small_labels[0, 3] = 255
    statistics, loss_class = ClassStatistics.from_labels(small_labels), sys.modules[hinge_file.stem].Hinge
    with pytest.raises(InputError, match=r"Hinge would take their -1 .*`takes_unknown = True` in the class; or import"):
        create_loss("own-hinge", statistics)
    monkeypatch.setattr(loss_class, "takes_unknown", True, raising=False)
    assert create_loss("own-hinge", statistics).counts.tolist() == [6, 3, 2, 1]


def test_the_method_is_whole_in_its_json(hinge_file, small_statistics):
    method = get_method("own-hinge").with_parameters(margin=2)
    again = Method.from_json(json.loads(json.dumps(method.as_json())), name="own-hinge")
    assert again.loss == method.loss
    assert again.build_loss(small_statistics)(torch.zeros(2, 4), torch.ones(2, 4)).item() == 2
    # A whole number and its float are one value, or one experiment would have two hashes.
    assert json.dumps(again.as_json()) == json.dumps(method.with_parameters(margin=2.0).as_json())


class Margin(torch.nn.Module):
    """At the top level of a file, as other processes need it."""

    def __init__(self, statistics, *, margin=1.0):
        super().__init__()


def test_an_own_loss_declares_its_search_space():
    loss = ModuleLoss.of(Margin, {"margin": Interval(low=0.1, high=10, scale="log")})
    assert loss.search_space["margin"].kind == "float"
    assert "search_space" not in loss.as_json()
    with pytest.raises(InputError, match="unknown hyper-parameter in the search space of Margin 'margn'; did you mean"):
        ModuleLoss.of(Margin, {"margn": Interval(low=0, high=1)})
    with pytest.raises(InputError, match=r"default margin=1.0 lies outside"):
        ModuleLoss.of(Margin, {"margin": Interval(low=2, high=3)})


class Recording(torch.nn.Module):
    """Keeps what it is called with."""

    def __init__(self, statistics):
        super().__init__()
        self.given = []

    def forward(self, logits, labels, *context):
        self.given.append(context)
        return logits.sigmoid().mean()


class Placed(Recording):
    takes_context = True


@pytest.mark.parametrize("loss_class", [Recording, Placed])
def test_an_own_loss_knows_rows_epoch_and_step_if_it_asks_for_them(loss_class, own_registrations):
    register_loss("own-recording")(loss_class)
    dataset = tiny_dataset()
    training = Training(tiny_experiment(get_method("own-recording")), dataset)
    expected = []
    for epoch in range(2):
        training.feed.begin_epoch(epoch)
        for batch in training.feed.batches():
            expected.append((batch.indices.tolist(), epoch, len(expected)))
            training.learner.learn(batch)
        training.feed.end_epoch()
    given = training.learner.loss.given
    assert len(given) == len(expected) > 2
    if loss_class is Recording:
        assert set(given) == {()}
        return
    contexts = [context for (context,) in given]
    assert [(one.indices.tolist(), one.epoch.item(), one.step.item()) for one in contexts] == expected
    epochs = training.learner.training["schedule"]["epochs"]
    assert {(one.epochs, one.images) for one in contexts} == {(epochs, len(dataset.labels("train")))}


def test_classes_that_cannot_be_registered_are_refused():
    class WithoutDefault(torch.nn.Module):
        def __init__(self, statistics, *, margin):
            super().__init__()

    class WithList(torch.nn.Module):
        def __init__(self, statistics, *, margins=(1, 2)):
            super().__init__()

    class Inside(Margin):
        pass

    with pytest.raises(InputError, match=r"Inside is not defined at the top level of a file.*--plugin"):
        ModuleLoss.of(Inside)
    with pytest.raises(InputError, match="unknown method 'rss'; did you mean 'rs'"):
        register_loss("own", like="rss")(torch.nn.Identity)
    with pytest.raises(InputError, match="WithoutDefault: hyper-parameter 'margin' needs a default"):
        ModuleLoss.of(WithoutDefault)
    with pytest.raises(InputError, match=r"WithList: hyper-parameter 'margins' .* got \(1, 2\)"):
        ModuleLoss.of(WithList)
