"""One contract suite over everything that is registered: whoever adds a method or a dataset is held to it at once."""

import copy
import json

import numpy as np
import pytest
import torch
from mltbench.benchmark.experiments.recipe import get_recipe
from mltbench.benchmark.networks.backbones import get_backbone
from mltbench.benchmark.training.check import check_method, tiny_dataset
from mltbench.datasets.dataset import SPLITS
from mltbench.datasets.long_tail.statistics import HEAD_AT_LEAST, TAIL_BELOW
from mltbench.datasets.registry import get_dataset_entry, list_datasets
from mltbench.datasets.sources.digits_mlt import RATIOS, variant_name
from mltbench.errors import InputError
from mltbench.files import safe_file_name
from mltbench.methods.catalogue import VALUES, get_method, list_methods
from mltbench.methods.context import Context
from mltbench.methods.method import Method
from mltbench.methods.part import SLOTS

METHODS = [method.name for method in list_methods()]
DATASETS = [entry.name for entry in list_datasets()]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    dataset = tiny_dataset()
    labels = torch.from_numpy(dataset.split("train").labels)
    logits = torch.randn(labels.shape, generator=generator, dtype=torch.float64)
    return dataset.statistics, logits, labels


# Their negatives have a share of a positive's loss, and their largest logit divides all others.
SMOOTHS = ("bal", "rs-bal")


def loss_of(name, batch):
    """A loss before its first batch, as a function of the order of the images."""
    statistics, logits, labels = batch
    loss = get_method(name).build_loss(statistics).double()

    def value(order=slice(None)):
        given = logits[order], labels[order]
        rows = torch.arange(len(labels))[order]
        context = Context(epoch=0, epochs=9, step=0, indices=rows, images=len(labels))
        return loss(*given, context) if getattr(loss, "takes_context", False) else loss(*given)

    return value


@pytest.mark.parametrize("name", METHODS)
class TestEveryMethod:
    def test_takes_two_steps_on_a_tiny_set(self, name):
        assert check_method(get_method(name)) is None

    def test_survives_the_way_through_json(self, name):
        for dataset in (None, *VALUES):
            method = get_method(name, dataset=dataset)
            again = Method.from_json(json.loads(json.dumps(method.as_json())), name=name)
            assert again.as_json() == method.as_json()
            assert all(getattr(again, slot) == getattr(method, slot) for slot in (*SLOTS, "name", "schedule"))

    def test_is_documented_and_its_name_fits_files(self, name):
        method = get_method(name)
        assert method.title
        assert method.summary
        assert method.reference
        assert safe_file_name(name) == name == name.lower()

    def test_loss_is_a_finite_scalar_that_pulls_positives_up_and_negatives_down(self, name, batch):
        _, logits, labels = batch
        logits.requires_grad_()
        loss = loss_of(name, batch)()
        loss.backward()
        assert loss.shape == ()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()
        # The signs of Eq. 5; Eq. 7 and Eq. 10 are printed with both flipped. At moderate logits, for a focal term turns
        # its slope far out, where the loss has all but vanished.
        pull = logits.grad.where(labels.bool(), -logits.grad)
        assert (pull < 0).sum() > labels.sum()
        if name not in SMOOTHS:
            # Very easy ones may be left out.
            assert (pull <= 0).all()

    def test_loss_does_not_depend_on_the_order_of_the_batch(self, name, batch):
        order = torch.randperm(len(batch[2]), generator=torch.Generator().manual_seed(1))
        assert loss_of(name, batch)().item() == pytest.approx(loss_of(name, batch)(order).item(), rel=1e-12, abs=1e-15)

    def test_sampler_draws_valid_images_by_its_seed_and_goes_on_from_its_state(self, name, batch):
        labels, sampler = batch[2].numpy(), get_method(name).sampler
        stream, same, other = (sampler.open(labels, np.random.default_rng(seed)) for seed in (0, 0, 99))
        drawn = [stream.next_epoch() for _ in range(3)]
        assert {len(epoch) for epoch in drawn} == {sampler.epoch_length(labels)}
        assert set(np.concatenate(drawn).tolist()) <= set(range(len(labels)))
        np.testing.assert_equal([same.next_epoch() for _ in range(3)], drawn)
        assert other.next_epoch().tolist() != drawn[0].tolist()
        state = stream.state()
        kept = copy.deepcopy(state)
        coming = [stream.next_epoch() for _ in range(5)]
        for _ in range(2):
            other.load_state(state)
            np.testing.assert_equal([other.next_epoch() for _ in range(5)], coming)
        np.testing.assert_equal(state, kept)


@pytest.mark.parametrize("name", DATASETS)
class TestEveryDataset:
    @pytest.fixture
    def dataset(self, name, data_root):
        try:
            return get_dataset_entry(name).open(data_root)
        except InputError as error:
            pytest.skip(f"its files are not at hand: {error}")

    def test_splits_have_their_digests_and_share_no_image(self, name, dataset):
        ids = [set(dataset.split(split).ids.tolist()) for split in SPLITS]
        assert len(set.union(*ids)) == sum(map(len, ids))

    def test_every_class_is_in_every_split(self, name, dataset):
        for split in SPLITS:
            labels = dataset.split(split).labels
            assert labels.shape[1] == len(dataset.classes)
            assert (labels.sum(axis=0) > 0).all()

    def test_is_long_tailed(self, name, dataset):
        smallest = {variant_name(ratio): size for ratio, (size, _) in RATIOS.items()}.get(name, 0)
        groups = {"head", *["medium"] * (smallest < HEAD_AT_LEAST), *["tail"] * (smallest < TAIL_BELOW)}
        assert set(dataset.statistics.group_names) == groups

    def test_names_a_recipe_and_a_backbone_that_exist(self, name):
        entry = get_dataset_entry(name)
        assert safe_file_name(name) == name
        assert get_recipe(entry.recipe)
        assert get_backbone(entry.backbone)
        assert entry.summary
        assert entry.source
