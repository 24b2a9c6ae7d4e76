import hashlib
import json
from dataclasses import FrozenInstanceError, fields, replace

import pytest
from mltbench.benchmark.experiments.experiment import Experiment
from mltbench.benchmark.experiments.recipe import PAPER, Augmentation, Recipe, Schedule
from mltbench.benchmark.networks.backbones import IMAGENET, InputFormat
from mltbench.benchmark.networks.initial_weights import InitialWeights
from mltbench.benchmark.training.check import tiny_dataset
from mltbench.errors import InputError
from mltbench.methods.adjustments import NegativeTolerant
from mltbench.methods.catalogue import get_method
from mltbench.methods.heads import LabelGraph
from mltbench.methods.loss import Focal
from mltbench.methods.method import Method
from mltbench.methods.samplers import ClassAware, InstanceBalanced
from mltbench.methods.weights import Rebalanced
from trainings import OwnLoss

METHOD = Method(
    name="db-focal",
    title="DB-Focal",
    summary="a summary",
    reference="Eq. 10",
    sampler=ClassAware(images_per_visit=3, epoch_fraction=0.25),
    weights=Rebalanced(alpha=0.1, beta=10.0, mu=0.3),
    adjustment=NegativeTolerant(negative_scale=5.0, kappa=0.05, nu="published"),
    focal=Focal(gamma=2.0, focal_scale=2.0),
    schedule="re-sampled",
)
EXPERIMENT = Experiment(
    dataset="voc-mlt",
    dataset_digest="ab" * 32,
    method=METHOD,
    training=PAPER.resolved("re-sampled", device_type="cpu"),
    backbone="digits-resnet",
    weights_digest="cd" * 32,
    input_format=IMAGENET,
    word_vectors_digest=None,
    seed=3,
    numerics_version=1,
)
# Finished runs are found again by this id: if it moves, every result of every user is trained anew.
STABLE_ID = "162d823d6975a382"
STABLE_CONFIGURATION_ID = "fc2fe795d8669999"


def test_the_ids_of_a_fully_specified_experiment_never_move():
    assert EXPERIMENT.id == STABLE_ID
    assert EXPERIMENT.configuration_id == STABLE_CONFIGURATION_ID


def test_an_experiment_is_of_the_numerics_of_today_unless_it_says_otherwise():
    """Raised when a change moves numbers, and then here too: until then every id stays."""
    values = {field.name: getattr(EXPERIMENT, field.name) for field in fields(Experiment)}
    del values["numerics_version"]
    assert Experiment(**values).numerics_version == 3


def test_the_id_is_the_hash_of_the_canonical_json():
    canonical = json.dumps(EXPERIMENT.deciding(), sort_keys=True, separators=(",", ":"))
    assert EXPERIMENT.id == hashlib.sha256(canonical.encode()).hexdigest()[:16]


def leaves(value, path=()):
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key))]
    return [path]


def with_leaf(value, path, new):
    return {**value, path[0]: new if len(path) == 1 else with_leaf(value[path[0]], path[1:], new)}


class Mine(OwnLoss):
    def as_json(self):
        return {"kind": "mine"}


OTHER_INPUTS = {"mean": (0.5, 0.5, 0.5), "deviation": (0.5, 0.5, 0.5), "padding": "same"}
OTHER_PARAMETERS = {
    "images_per_visit": 2, "epoch_fraction": 0.5, "alpha": 0.2, "beta": 9, "mu": 0.2, "negative_scale": 2,
    "kappa": 0.1, "nu": "paper", "gamma": 1, "focal_scale": 1,
}  # fmt: skip
OTHER_PARTS = {
    "sampler": InstanceBalanced(), "weights": None, "adjustment": None, "focal": None, "loss": Mine(None),
    "head": LabelGraph(), "schedule": "plain",
}  # fmt: skip
# A loss of your own has nothing beside it.
ALONE = {"loss": {"weights": None, "adjustment": None, "focal": None}}
CHANGES = [
    {"dataset_digest": "ba" * 32},
    *({"method": METHOD.with_parameters(**{name: other})} for name, other in OTHER_PARAMETERS.items()),
    *({"method": replace(METHOD, **ALONE.get(slot, {}), **{slot: other})} for slot, other in OTHER_PARTS.items()),
    *({"training": with_leaf(EXPERIMENT.training, path, "other")} for path in leaves(EXPERIMENT.training)),
    {"backbone": "other"},
    {"weights_digest": "dc" * 32},
    *({"input_format": replace(IMAGENET, **{name: other})} for name, other in OTHER_INPUTS.items()),
    {"word_vectors_digest": "ef" * 32},
    {"seed": 4},
    {"numerics_version": 2},
]


def test_every_deciding_field_decides():
    changed = [replace(EXPERIMENT, **change) for change in CHANGES]
    assert len({EXPERIMENT.id, *(one.id for one in changed)}) == len(CHANGES) + 1
    configurations = {one.configuration_id for one in changed if one.seed == EXPERIMENT.seed}
    assert len(configurations | {EXPERIMENT.configuration_id}) == len(CHANGES), "the seed alone is left out"


def names(kind, *but):
    return {field.name for field in fields(kind)} - set(but)


def test_no_field_is_forgotten_above():
    """A new field of an experiment, or of what it is made of, is either a label or changes the id."""
    assert {name for change in CHANGES for name in change} == names(Experiment, "dataset")
    assert set(OTHER_PARAMETERS) == set(METHOD.parameters)
    assert set(OTHER_PARTS) == names(Method, "name", "title", "summary", "reference", "recipes")
    assert set(OTHER_INPUTS) == names(InputFormat)
    training = EXPERIMENT.training
    assert set(training) == names(Recipe, "plain", "resampled") | {"schedule"}
    assert set(training["schedule"]) == names(Schedule)
    assert set(training["augmentation"]) == names(Augmentation)


def test_an_experiment_is_made_of_what_it_is_given():
    weights = InitialWeights(
        backbone="resnet34", digest="12" * 32, input=InputFormat(mean=(0.1, 0.2, 0.3), deviation=(0.4, 0.5, 0.6))
    )
    dataset, method = tiny_dataset(), get_method("db-focal")
    made = Experiment.of(dataset, method, PAPER, weights)
    assert (made.dataset, made.dataset_digest, made.method) == ("tiny", dataset.digest, method)
    assert (made.backbone, made.weights_digest, made.input_format) == ("resnet34", "12" * 32, weights.input)
    assert (made.seed, made.word_vectors_digest, made.training["precision"]) == (0, None, "float32")
    assert made.training["schedule"] == {"epochs": 8, "decay_after": (5, 7)}
    other = Experiment.of(
        dataset, get_method("erm"), PAPER, weights, seed=7, device_type="cuda", word_vectors_digest="34" * 32
    )
    assert (other.seed, other.word_vectors_digest, other.training["precision"]) == (7, "34" * 32, "bfloat16")
    assert other.training["schedule"] == {"epochs": 80, "decay_after": (55, 70)}


def test_what_is_no_number_has_no_id():
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(EXPERIMENT, training={"momentum": float("nan")}).id  # noqa: B018


def test_labels_do_not_decide():
    labelled = replace(METHOD, name="mine", title="Mine", summary="other words", reference="elsewhere")
    assert replace(EXPERIMENT, dataset="another-name", method=labelled).id == EXPERIMENT.id


def test_seeds_of_one_configuration_share_its_id():
    assert replace(EXPERIMENT, seed=9).configuration_id == EXPERIMENT.configuration_id
    assert replace(EXPERIMENT, backbone="other").configuration_id != EXPERIMENT.configuration_id


def test_an_experiment_cannot_be_edited():
    with pytest.raises(FrozenInstanceError):
        EXPERIMENT.seed = 1


def test_json_and_back_is_the_same_experiment():
    again = Experiment.from_json(EXPERIMENT.to_json())
    assert again.id == EXPERIMENT.id
    assert again.numerics_version == 1
    assert again.to_json() == EXPERIMENT.to_json().replace('"title": "DB-Focal"', '"title": "db-focal"')
    assert (again.dataset, again.method.name, again.seed) == ("voc-mlt", "db-focal", 3)
    assert again.method.parameters == METHOD.parameters


@pytest.mark.parametrize("path", [("deciding", "seed"), ("deciding", "training", "momentum"), ("id",)])
def test_json_that_was_changed_is_refused(path):
    changed = with_leaf(json.loads(EXPERIMENT.to_json()), path, 7)
    with pytest.raises(InputError, match="was changed"):
        Experiment.from_json(json.dumps(changed))


def test_json_of_an_older_version_is_refused():
    """It did not say what its weights expect: no experiment of today is the same."""
    data = json.loads(EXPERIMENT.to_json())
    del data["deciding"]["input_format"]
    with pytest.raises(InputError, match=f"{STABLE_ID} was written by an older version"):
        Experiment.from_json(json.dumps(data))
