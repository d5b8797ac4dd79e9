import pytest
import torch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.losses import TripleContrast, symmetric_info_nce
from braindecode_ssr.losses.base import Similarity


@pytest.fixture
def batch():
    return torch.randn(3, 6, 5, dtype=torch.float64, requires_grad=True)


def test_three_pairs_from_their_definitions(batch):
    brain, original, view = batch
    unit = torch.nn.functional.normalize
    parts = TripleContrast("free", brain_view=2.0, view_original=0.5)(brain, original, view)
    wanted = {
        "brain_view": symmetric_info_nce(brain, unit(view), Similarity("free").scale()),
        "brain_original": symmetric_info_nce(brain, unit(original), Similarity("free").scale()),
        "view_original": symmetric_info_nce(view, unit(original), Similarity("free").scale()),
    }
    assert list(parts) == ["loss", *wanted]
    for name, value in wanted.items():
        torch.testing.assert_close(parts[name], value)
    total = 2 * wanted["brain_view"] + wanted["brain_original"] + wanted["view_original"] / 2
    torch.testing.assert_close(parts["loss"], total)


def test_a_pair_of_weight_zero_is_left_out(batch):
    parts = TripleContrast(view_original=0.0)(*batch)
    assert list(parts) == ["loss", "brain_view", "brain_original"]


def test_a_detached_anchor_is_moved_by_brains_only(batch):
    brain, original, view = batch
    for anchor, moved in (("trained", True), ("detached", False)):
        part = TripleContrast(anchor=anchor)(brain, original, view)["view_original"]
        gradient = torch.autograd.grad(part, batch, retain_graph=True)[0]
        assert bool(gradient[1].abs().sum() > 0) is moved
        assert gradient[2].abs().sum() > 0
        assert gradient[0].abs().sum() == 0


@pytest.mark.parametrize("regime", ["free", "unit"])
def test_gradient_numerically(batch, regime):
    loss = TripleContrast(regime).double()
    assert torch.autograd.gradcheck(lambda x: loss(*x)["loss"], (batch,))


def test_order_of_the_batch_does_not_matter(batch):
    order = torch.randperm(6)
    loss = TripleContrast()
    torch.testing.assert_close(loss(*batch[:, order])["loss"], loss(*batch)["loss"])


@pytest.mark.parametrize(
    "weights", [{"brain_view": -1.0}, {"brain_view": float("nan")}, {"brain_view": float("inf")}]
)
def test_weights_that_make_no_sense(weights):
    with pytest.raises(UsageError, match="brain_view .* in .0, inf"):
        TripleContrast(**weights)
    with pytest.raises(UsageError, match="all 0"):
        TripleContrast(brain_view=0, brain_original=0, view_original=0)
    with pytest.raises(UsageError, match="anchor .* one of"):
        TripleContrast(anchor="frozen")
