import hashlib
import json
from dataclasses import FrozenInstanceError, replace

import pytest
from mltbench.benchmark.experiments.experiment import Experiment
from mltbench.benchmark.experiments.recipe import PAPER
from mltbench.benchmark.networks.backbones import IMAGENET
from mltbench.errors import InputError
from mltbench.methods.adjustments import NegativeTolerant
from mltbench.methods.loss import Focal
from mltbench.methods.method import Method
from mltbench.methods.samplers import ClassAware
from mltbench.methods.weights import Rebalanced

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


def test_the_id_of_a_fully_specified_experiment_never_moves():
    assert EXPERIMENT.id == STABLE_ID


def test_the_id_is_the_hash_of_the_canonical_json():
    canonical = json.dumps(EXPERIMENT.deciding(), sort_keys=True, separators=(",", ":"))
    assert EXPERIMENT.id == hashlib.sha256(canonical.encode()).hexdigest()[:16]


def leaves(value, path=()):
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key))]
    return [path]


def with_leaf(value, path, new):
    return {**value, path[0]: new if len(path) == 1 else with_leaf(value[path[0]], path[1:], new)}


def test_every_deciding_field_decides():
    changes = [
        *({"method": METHOD.with_parameters(**{name: other})} for name, other in OTHER_PARAMETERS.items()),
        *({"method": replace(METHOD, **{slot: None})} for slot in ("weights", "adjustment", "focal")),
        {"method": replace(METHOD, schedule="plain")},
        *({"training": with_leaf(EXPERIMENT.training, path, "other")} for path in leaves(EXPERIMENT.training)),
        *({name: "other"} for name in ("dataset_digest", "backbone", "weights_digest", "word_vectors_digest")),
        *({"input_format": replace(IMAGENET, **{name: other})} for name, other in OTHER_INPUTS.items()),
        {"seed": 4},
        {"numerics_version": 2},
    ]
    ids = [EXPERIMENT.id, *(replace(EXPERIMENT, **change).id for change in changes)]
    assert len(set(ids)) == len(changes) + 1
    assert set(OTHER_PARAMETERS) == set(METHOD.parameters)


OTHER_INPUTS = {"mean": (0.5, 0.5, 0.5), "deviation": (0.5, 0.5, 0.5), "padding": "same"}
OTHER_PARAMETERS = {
    "images_per_visit": 2, "epoch_fraction": 0.5, "alpha": 0.2, "beta": 9, "mu": 0.2, "negative_scale": 2,
    "kappa": 0.1, "nu": "paper", "gamma": 1, "focal_scale": 1,
}  # fmt: skip


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
    assert again.to_json() == EXPERIMENT.to_json().replace('"title": "DB-Focal"', '"title": "db-focal"')
    assert (again.dataset, again.method.name, again.seed) == ("voc-mlt", "db-focal", 3)
    assert again.method.parameters == METHOD.parameters


@pytest.mark.parametrize("path", [("deciding", "seed"), ("deciding", "training", "momentum"), ("id",)])
def test_json_that_was_changed_is_refused(path):
    changed = with_leaf(json.loads(EXPERIMENT.to_json()), path, 7)
    with pytest.raises(InputError, match="was changed"):
        Experiment.from_json(json.dumps(changed))
