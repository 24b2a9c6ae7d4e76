import pytest
import torch
from mltbench import Context, InputError


@pytest.mark.parametrize(
    ("share", "epochs", "first"),
    [(0.8, 10, 8), (0.8, 80, 64), (0.0125, 80, 1), (0.0125, 8, 1), (0.0125, 160, 2), (0, 10, 0), (1, 10, 10),
     (0.5, 5, 3), (0.1, 30, 3), (0.07, 100, 7), (1 / 3, 3, 1), (2 / 3, 80, 54)],
)  # fmt: skip
def test_a_share_of_the_epochs_is_reached_when_so_many_are_done(share, epochs, first):
    # .1 * 30 is 3.0000000000000004 and .07 * 100 is 7.000000000000001: both are whole.
    reached = [Context(epoch=epoch, epochs=epochs).reached(share) for epoch in range(epochs + 1)]
    assert reached == [epoch >= first for epoch in range(epochs + 1)]
    on_device = Context(epoch=torch.tensor(first), epochs=epochs).reached(share)
    assert (on_device.dtype, on_device.shape, on_device.item()) == (torch.bool, (), True)


@pytest.mark.parametrize("given", [{}, {"epoch": 3}, {"epochs": 80}, {"step": 4, "images": 5}])
def test_a_share_of_unknown_epochs_is_answered_with_the_call(given):
    with pytest.raises(
        InputError, match=r"must know the epoch: loss\(logits, labels, mltbench.Context\(epoch=3, epochs"
    ):
        Context(**given).reached(0.5)


@pytest.mark.parametrize(
    ("indices", "got"), [(None, "none"), (torch.arange(4), r"shape \(4,\)"), (torch.zeros(3, 1), r"shape \(3, 1\)")]
)
def test_rows_that_are_not_one_for_each_image_are_answered_with_the_call(indices, got):
    with pytest.raises(InputError, match=rf"the row of each of 3 in the training set; got {got}: loss\(.*indices=rows"):
        Context(indices=indices).rows(3)


def test_rows_are_those_that_were_given():
    rows = torch.tensor([7, 0, 7])
    assert Context(indices=rows).rows(3) is rows
