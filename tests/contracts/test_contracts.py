"""One contract suite over everything that is registered: whoever adds a method or a dataset is held to it at once."""

import numpy as np
import pytest
import torch
from mltbench.benchmark.experiments.recipe import get_recipe
from mltbench.benchmark.networks.backbones import get_backbone
from mltbench.benchmark.training.check import check_method, tiny_dataset
from mltbench.datasets.dataset import SPLITS
from mltbench.datasets.long_tail.statistics import HEAD_AT_LEAST, TAIL_BELOW
from mltbench.datasets.registry import list_datasets
from mltbench.datasets.sources.digits_mlt import RATIOS, variant_name
from mltbench.errors import InputError
from mltbench.methods.catalogue import get_method, list_methods
from mltbench.methods.method import Method

METHODS = [method.name for method in list_methods()]
DATASETS = [entry.name for entry in list_datasets()]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    dataset = tiny_dataset()
    labels = torch.from_numpy(dataset.split("train").labels)
    logits = torch.randn(labels.shape, generator=generator, dtype=torch.float64)
    return dataset.statistics, logits, labels


@pytest.mark.parametrize("name", METHODS)
class TestEveryMethod:
    def test_takes_two_steps_on_a_tiny_set(self, name):
        assert check_method(get_method(name)) is None

    def test_survives_the_way_through_json(self, name):
        method = get_method(name)
        assert Method.from_json(method.as_json()).as_json() == method.as_json()

    def test_is_documented(self, name):
        method = get_method(name)
        assert method.title
        assert method.summary
        assert method.reference
        assert name == name.lower()

    def test_loss_is_a_finite_scalar_with_a_finite_gradient_for_every_class(self, name, batch):
        statistics, logits, labels = batch
        logits.requires_grad_()
        loss = get_method(name).build_loss(statistics).double()(logits, labels)
        loss.backward()
        assert loss.shape == ()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()
        assert (logits.grad.abs().sum(dim=0) > 0).all()

    def test_loss_pulls_positives_up_and_negatives_down(self, name, batch):
        statistics, logits, labels = batch
        logits.requires_grad_()
        get_method(name).build_loss(statistics).double()(logits, labels).backward()
        # At moderate logits; a focal term turns its slope only far out, where the loss has all but vanished.
        positive = labels.bool()
        assert (logits.grad[positive] < 0).all()
        assert (logits.grad[~positive] > 0).all()

    def test_loss_does_not_depend_on_the_order_of_the_batch(self, name, batch):
        statistics, logits, labels = batch
        loss = get_method(name).build_loss(statistics).double()
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
        assert loss(logits, labels).item() == pytest.approx(loss(logits[order], labels[order]).item(), rel=1e-12)

    def test_sampler_draws_valid_images_and_goes_on_from_its_state(self, name, batch):
        labels = batch[2].numpy()
        sampler = get_method(name).sampler
        stream = sampler.open(labels, np.random.default_rng(0))
        first = stream.next_epoch()
        assert len(first) == sampler.epoch_length(labels)
        assert ((first >= 0) & (first < len(labels))).all()
        again = sampler.open(labels, np.random.default_rng(99))
        again.load_state(stream.state())
        assert again.next_epoch().tolist() == stream.next_epoch().tolist()


@pytest.mark.parametrize("name", DATASETS)
class TestEveryDataset:
    @pytest.fixture
    def dataset(self, name, data_root):
        entry = next(entry for entry in list_datasets() if entry.name == name)
        try:
            return entry.open(data_root)
        except InputError as error:
            pytest.skip(f"its files are not at hand: {error}")

    def test_splits_have_their_digests_and_share_no_image(self, name, dataset):
        ids = [set(dataset.split(split).ids.tolist()) for split in SPLITS]
        assert not ids[0] & ids[1]
        assert not ids[0] & ids[2]
        assert not ids[1] & ids[2]

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
        entry = next(entry for entry in list_datasets() if entry.name == name)
        assert get_recipe(entry.recipe)
        assert get_backbone(entry.backbone)
        assert entry.summary
        assert entry.source
