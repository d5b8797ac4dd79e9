import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from random_batches import of_any_kind

from braindecode_ssr.errors import TrainingError, UsageError
from braindecode_ssr.losses import LOSSES, Contrast, NeuroBridge, symmetric_info_nce
from braindecode_ssr.losses.base import Similarity

batches = st.builds(
    lambda b, e, seed: torch.randn(
        3, b, e, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    ),
    st.integers(2, 7),
    st.integers(2, 9),
    st.integers(0, 2**31),
)


def by_loops(x, y, scale):
    """The definition, pair by pair."""
    n, total = len(x), 0.0
    for i in range(n):
        own = scale * sum(a * b for a, b in zip(x[i].tolist(), y[i].tolist(), strict=True))
        for one, other in ((x[i], y), (y[i], x)):
            row = [
                scale * sum(a * b for a, b in zip(one.tolist(), candidate.tolist(), strict=True))
                for candidate in other
            ]
            total += math.log(sum(math.exp(value) for value in row)) - own
    return total / (2 * n)


@given(batches, st.floats(0.1, 5))
@settings(max_examples=20)
def test_equals_the_definition(batch, scale):
    x, y, _ = batch
    assert symmetric_info_nce(x, y, scale).item() == pytest.approx(by_loops(x, y, scale), rel=1e-9)


def test_equals_two_cross_entropies_of_torch():
    x, y = torch.randn(2, 6, 4)
    labels, logits = torch.arange(6), 3 * x @ y.T
    entropy = torch.nn.functional.cross_entropy
    wanted = (entropy(logits, labels) + entropy(logits.T, labels)) / 2
    torch.testing.assert_close(symmetric_info_nce(x, y, 3.0), wanted)


@given(batches)
@settings(max_examples=20)
def test_order_of_the_batch_and_of_the_sides_does_not_matter(batch):
    x, y, _ = batch
    order = torch.randperm(len(x))
    loss = symmetric_info_nce(x, y)
    torch.testing.assert_close(symmetric_info_nce(x[order], y[order]), loss)
    torch.testing.assert_close(symmetric_info_nce(y, x), loss)


@given(batches, st.floats(0.01, 100))
@settings(max_examples=20)
def test_lengths_matter_only_where_a_side_is_free(batch, factor):
    brain, original, view = batch
    unit, free = Contrast(regime="unit"), Contrast(regime="free")
    torch.testing.assert_close(
        unit(factor * brain, factor * original, view)["loss"], unit(brain, original, view)["loss"]
    )
    torch.testing.assert_close(
        free(brain, factor * original, view)["loss"], free(brain, original, view)["loss"]
    )
    if abs(factor - 1) > 0.1:
        assert free(factor * brain, original, view)["loss"] != free(brain, original, view)["loss"]


def test_optimum_is_orthogonal_partners_at_a_large_scale_and_chance_is_log_n():
    x = torch.eye(5)
    assert symmetric_info_nce(x, x, 100.0).item() == pytest.approx(0, abs=1e-6)
    assert symmetric_info_nce(x, x, 0.0).item() == pytest.approx(math.log(5))
    assert symmetric_info_nce(x, x.flip(0), 10.0) > math.log(5)


def test_gradient_numerically():
    x, y = torch.randn(2, 4, 3, dtype=torch.float64).requires_grad_().unbind()
    scale = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(symmetric_info_nce, (x, y, scale))


def test_half_precision_is_raised():
    brain, original, view = torch.randn(3, 4, 8).bfloat16()
    assert Contrast()(brain, original, view)["loss"].dtype == torch.float32


def test_neurobridge_is_contrast_with_views():
    brain, original, view = torch.randn(3, 6, 8)
    parts = NeuroBridge()(brain, original, view)
    assert list(parts) == ["loss", "brain_view"]
    torch.testing.assert_close(
        parts["loss"],
        symmetric_info_nce(brain, torch.nn.functional.normalize(view), Similarity("free").scale()),
    )
    assert torch.equal(
        parts["loss"], Contrast("view", regime="free")(brain, original, view)["loss"]
    )
    assert list(Contrast()(brain, original, view)) == ["loss", "brain_original"]


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("rows", [0, 1])
def test_a_batch_of_one_is_an_error(name, rows):
    loss = of_any_kind(LOSSES[name])
    with pytest.raises(TrainingError, match="batch of at least 2.*--batch-size"):
        loss(*torch.randn(3, rows, 8))


def test_wrong_shapes_and_choices_are_usage_errors():
    with pytest.raises(UsageError, match=r"same shape.*\(4, 8\), \(4, 8\) and \(4, 7\)"):
        Contrast()(torch.randn(4, 8), torch.randn(4, 8), torch.randn(4, 7))
    with pytest.raises(UsageError, match="same shape"):
        Contrast()(*torch.randn(3, 4, 8, 2))
    with pytest.raises(UsageError, match="regime .* one of 'free', 'free-learned', 'raw'"):
        Contrast(regime="both")
    with pytest.raises(UsageError, match="target .* one of"):
        Contrast("images")
