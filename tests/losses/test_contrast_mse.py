import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from random_batches import batches, random_batch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.losses import Contrast, ContrastMSE
from braindecode_ssr.losses.contrast import squared_distance


def distance_by_loops(x, y):
    rows = zip(x.tolist(), y.tolist(), strict=True)
    return sum((p - q) ** 2 for a, b in rows for p, q in zip(a, b, strict=True)) / len(x)


@given(batches, st.floats(0.0, 3), st.floats(0.1, 3))
@settings(max_examples=25)
def test_equals_the_definition(batch, contrast, distance):
    brain, original, view = batch
    parts = ContrastMSE(contrast=contrast, distance=distance).double()(brain, original, view)
    x, y = (part / part.norm(dim=1, keepdim=True) for part in (brain, original))
    wanted = distance_by_loops(x, y)
    assert parts["distance"].item() == pytest.approx(wanted, rel=1e-9)
    plain = Contrast(regime="unit").double()(brain, original, view)["loss"].item()
    total = contrast * plain + distance * wanted
    assert parts["loss"].item() == pytest.approx(total, rel=1e-9)


@given(batches, st.floats(0.01, 100))
@settings(max_examples=15)
def test_order_and_unit_lengths_do_not_matter(batch, factor):
    order, loss = torch.randperm(batch.shape[1]), ContrastMSE().double()
    torch.testing.assert_close(loss(*factor * batch[:, order])["loss"], loss(*batch)["loss"])


def test_nothing_at_the_optimum():
    x = torch.eye(6)
    assert ContrastMSE(scale=100.0)(3 * x, x, -x)["loss"].item() == pytest.approx(0, abs=1e-6)
    assert squared_distance(x, x) == 0 and squared_distance(x, -x) == 4
    assert squared_distance(2 * x, 0 * x) == 4


def test_only_the_brain_is_moved_by_the_distance():
    batch = random_batch(0, 5, 4).requires_grad_()
    part = ContrastMSE()(*batch)["distance"]
    gradient = torch.autograd.grad(part, batch)[0]
    assert gradient[0].abs().sum() > 0 and gradient[1:].abs().sum() == 0


def test_gradient_numerically():
    loss = ContrastMSE("view", regime="free").double()
    brain, original, view = random_batch(1, 4, 3)
    brain.requires_grad_()
    assert torch.autograd.gradcheck(lambda b: loss(b, original, view)["loss"], (brain,))


def test_parts_of_weight_zero_are_left_out():
    batch = random_batch(2, 4, 3)
    assert list(ContrastMSE("view", distance=0.0)(*batch)) == ["loss", "brain_view"]
    assert list(ContrastMSE(contrast=0.0)(*batch)) == ["loss", "distance"]
    with pytest.raises(UsageError, match="all 0"):
        ContrastMSE(contrast=0.0, distance=0.0)
    with pytest.raises(UsageError, match="distance .* in .0, inf"):
        ContrastMSE(distance=float("nan"))
    with pytest.raises(UsageError, match="target .* one of"):
        ContrastMSE("both")
