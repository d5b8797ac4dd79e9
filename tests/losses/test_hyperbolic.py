import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from braindecode_ssr.errors import UsageError
from braindecode_ssr.losses import HYPERBOLIC, LOSSES, HyperbolicContrast, hyperbolic_info_nce
from braindecode_ssr.retrieval.ranks import similarity, space_of


def batch(b, e, seed, length=2.0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(3, b, e, dtype=torch.float64, generator=generator)
    return length * torch.nn.functional.normalize(rows, dim=-1)


def lifted(row, c):
    """All coordinates of a tangent vector's point, in units of 1 / sqrt(c)."""
    length = math.sqrt(c * sum(value * value for value in row))
    return [math.cosh(length), *(math.sinh(length) / length * c**0.5 * value for value in row)]


def by_loops(x, y, scale, c):
    """The definition, pair by pair."""
    x, y = ([lifted(row, c) for row in rows.tolist()] for rows in (x, y))

    def logit(p, q):
        cosh = p[0] * q[0] - sum(a * b for a, b in zip(p[1:], q[1:], strict=True))
        return -scale * math.acosh(cosh) / math.sqrt(c)

    total = 0.0
    for i in range(len(x)):
        rows = [logit(x[i], q) for q in y], [logit(p, y[i]) for p in x]
        for row in rows:
            largest = max(row)
            total += largest + math.log(sum(math.exp(value - largest) for value in row)) - row[i]
    return total / (2 * len(x))


@given(st.integers(2, 6), st.integers(2, 7), st.integers(0, 2**31), st.floats(0.1, 100))
@settings(max_examples=20)
def test_equals_the_definition(b, e, seed, scale):
    x, y, _ = batch(b, e, seed)
    for c in (0.07, 1.0):
        found = hyperbolic_info_nce(x, y, scale, c).item()
        assert found == pytest.approx(by_loops(x, y, scale, c), rel=1e-6, abs=1e-6)


def test_on_a_fixed_input():
    """By hand: on a line through the origin hyperbolic distances are those of the line."""
    x, y = torch.tensor([[1.0, 0.0], [-2.0, 0.0]]), torch.tensor([[1.5, 0.0], [-1.0, 0.0]])
    apart = [[0.5, 2.0], [3.5, 1.0]]
    rows = [math.log(sum(math.exp(-0.1 * d) for d in row)) for row in apart]
    columns = [math.log(sum(math.exp(-0.1 * d) for d in row)) for row in zip(*apart, strict=True)]
    wanted = (sum(rows) + sum(columns)) / 4 + 0.1 * (0.5 + 1.0) / 2
    assert HyperbolicContrast(scale=0.1)(x, x, y)["loss"].item() == pytest.approx(wanted, rel=1e-5)


def test_it_is_the_published_loss():
    brain, original, view = batch(6, 8, 0)
    parts = HyperbolicContrast()(brain, original, view)
    assert list(parts) == ["loss", "brain_view"] and torch.equal(parts["loss"], parts["brain_view"])
    torch.testing.assert_close(parts["loss"], hyperbolic_info_nce(brain, view, 100.0, 0.07))
    other = HyperbolicContrast("original")(brain, original, view)
    torch.testing.assert_close(other["brain_original"], hyperbolic_info_nce(brain, original))


def test_gradient_numerically():
    x, y, _ = batch(4, 3, 0)
    x, y = x.requires_grad_(), y.requires_grad_()
    assert torch.autograd.gradcheck(lambda *ends: hyperbolic_info_nce(*ends, 3.0), (x, y))


@pytest.mark.parametrize("length", [0.0, 1e-4, 1.0, 18.0, 1e4])
def test_gradients_are_finite_in_float32(length):
    x, y, _ = batch(8, 16, 0, length).float()
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    loss = HyperbolicContrast()(x, x, y)["loss"] + HyperbolicContrast()(x, x, x)["loss"]
    loss.backward()
    assert loss.isfinite() and x.grad.isfinite().all() and y.grad.isfinite().all()


def test_half_precision_is_raised():
    assert HyperbolicContrast()(*batch(4, 8, 0).bfloat16())["loss"].dtype == torch.float32


def test_rows_of_one_image():
    brain, original, view = batch(4, 8, 0)
    image = torch.tensor([0, 1, 1, 2])
    losses = {
        name: HyperbolicContrast(scale=1.0, duplicates=name)(brain, original, view, image)["loss"]
        for name in ("negatives", "ignored", "positives")
    }
    logits = torch.from_numpy(similarity(brain.numpy(), view.numpy(), "hyperbolic"))
    own, same = logits.diagonal(), image[:, None] == image[None, :]
    spread = [logits.logsumexp(dim) for dim in (0, 1)]
    pulled = [(logits * same).sum(dim) / same.sum(dim) for dim in (0, 1)]
    expected = {
        "negatives": (sum(spread) / 2 - own).mean(),
        "positives": ((sum(spread) - sum(pulled)) / 2).mean(),
    }
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-6, atol=1e-6)
    assert losses["ignored"] < losses["negatives"]


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), float("inf"), "much"])
def test_an_invalid_scale(scale):
    with pytest.raises(UsageError, match="scale .* in .0, inf"):
        HyperbolicContrast(scale=scale)


def test_losses_say_in_which_space_they_compare():
    declared = {name for name in LOSSES if space_of(LOSSES[name]) == "hyperbolic"}
    assert declared == set(HYPERBOLIC)
