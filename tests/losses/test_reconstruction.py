import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from braindecode_ssr.errors import TrainingError, UsageError
from braindecode_ssr.losses import MaskedReconstruction
from braindecode_ssr.losses.ssr import (
    Reconstructor,
    cosine_pull,
    random_mask,
    root_mean_square_one,
    shuffled,
)


def by_loops(found, wanted):
    total = 0.0
    for x, y in zip(found.tolist(), wanted.tolist(), strict=True):
        dot = sum(a * b for a, b in zip(x, y, strict=True))
        total += 1 - dot / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))
    return total / len(found)


@given(st.integers(1, 6), st.integers(2, 8), st.integers(0, 2**31))
@settings(max_examples=20)
def test_cosine_pull_equals_the_definition(rows, width, seed):
    found, wanted = torch.randn(
        2, rows, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    assert cosine_pull(found, wanted).item() == pytest.approx(by_loops(found, wanted), abs=1e-9)
    assert cosine_pull(3 * wanted, wanted).item() == pytest.approx(0, abs=1e-9)
    assert cosine_pull(-wanted, wanted).item() == pytest.approx(2, abs=1e-9)


def test_the_pull_moves_what_is_found_and_not_what_is_wanted():
    found, wanted = (torch.randn(4, 3, requires_grad=True) for _ in range(2))
    cosine_pull(found, wanted).backward()
    assert found.grad.abs().sum() > 0
    assert wanted.grad is None


@given(st.integers(2, 40), st.integers(0, 1000))
@settings(max_examples=25)
def test_shuffled_keeps_every_row_and_leaves_none_in_place(rows, seed):
    torch.manual_seed(seed)
    x = torch.arange(rows)[:, None].float()
    moved = shuffled(x)
    assert sorted(moved[:, 0].tolist()) == x[:, 0].tolist()
    assert not (moved == x).any()


def test_masks_hide_the_ratio_and_follow_the_global_seed():
    like = torch.empty(200, 500)
    torch.manual_seed(3)
    mask = random_mask(like, 0.3)
    assert mask.float().mean().item() == pytest.approx(0.3, abs=0.01)
    torch.manual_seed(3)
    assert torch.equal(random_mask(like, 0.3), mask)
    assert not torch.equal(random_mask(like, 0.3), mask)
    assert random_mask(like, 1.0).all()


def test_a_reconstructor_sees_nothing_of_what_is_hidden():
    torch.manual_seed(0)
    net = Reconstructor(6, 10)
    own, context = torch.randn(2, 4, 6)
    mask = random_mask(own, 0.5)
    changed = torch.where(mask, torch.randn(4, 6), own)
    assert torch.equal(net(own, context, mask), net(changed, context, mask))
    assert not torch.equal(net(own, context, mask), net(own, context.flip(0), mask))
    seen = torch.where(mask, net.mask_vector, own)
    hidden = torch.nn.functional.gelu(net.layers[0](torch.cat([seen, context], 1)))
    torch.testing.assert_close(net(own, context, mask), net.layers[2](hidden))


def test_parts_and_total():
    torch.manual_seed(1)
    loss = MaskedReconstruction(8, reconstruct_view=2.0, reconstruct_brain=0.5)
    parts = loss(*torch.randn(3, 5, 8))
    assert list(parts) == ["loss", "reconstruct_view", "reconstruct_brain"]
    torch.testing.assert_close(
        parts["loss"], 2 * parts["reconstruct_view"] + parts["reconstruct_brain"] / 2
    )


def test_lengths_of_embeddings_do_not_matter():
    loss = MaskedReconstruction(8)
    brain, original, view = torch.randn(3, 5, 8)
    results = []
    for factor in (1.0, 100.0):
        torch.manual_seed(0)
        results.append(loss(factor * brain, original, view / factor)["loss"])
    torch.testing.assert_close(*results)
    torch.testing.assert_close(
        root_mean_square_one(brain).square().mean(1), torch.ones(5), rtol=1e-5, atol=0
    )


def test_gradient_numerically():
    loss = MaskedReconstruction(4, hidden=5).double()
    batch = torch.randn(3, 3, 4, dtype=torch.float64, requires_grad=True)

    def inputs_of_the_network(context):
        torch.manual_seed(0)
        net = loss.reconstructors["reconstruct_view"]
        own = batch[2].detach()
        return cosine_pull(net(own, root_mean_square_one(context), random_mask(own, 0.5)), own)

    assert torch.autograd.gradcheck(inputs_of_the_network, (batch[0],))


def reconstruction_after_training(context, steps=250):
    """Mean 1 - cosine on new data after a short training, and that of the best constant."""
    torch.manual_seed(0)
    width = 8
    mixing = torch.linalg.qr(torch.randn(width, width))[0]
    loss = MaskedReconstruction(width, mask_ratio=1.0, hidden=64, context=context)
    optimizer = torch.optim.Adam(loss.parameters(), 1e-2)
    middle = torch.full((width,), 0.5)
    for _ in range(steps):
        view = torch.randn(128, width) + middle
        parts = loss(view @ mixing, view, view)
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
    view = torch.randn(2000, width) + middle
    with torch.no_grad():
        found = loss.parts(view @ mixing, view)["reconstruct_view"].item()
    unit = torch.nn.functional.normalize(view)
    return found, 1 - unit.mean(0).norm().item()


def test_the_other_modality_helps_only_when_it_is_the_right_one():
    paired, constant = reconstruction_after_training("paired")
    control, _ = reconstruction_after_training("shuffled")
    assert paired < 0.1 * constant
    assert control > 0.9 * constant  # 0.99 to 1.02 with seeds 0 to 4


def test_a_direction_of_weight_zero_has_no_parameters():
    loss = MaskedReconstruction(8, reconstruct_brain=0.0)
    assert list(loss.reconstructors) == ["reconstruct_view"]
    assert list(loss(*torch.randn(3, 4, 8))) == ["loss", "reconstruct_view"]


def test_smallest_batches():
    assert torch.isfinite(MaskedReconstruction(8)(*torch.randn(3, 1, 8))["loss"])
    with pytest.raises(TrainingError, match="at least 2"):
        MaskedReconstruction(8, context="shuffled")(*torch.randn(3, 1, 8))


@pytest.mark.parametrize("ratio", [0, -0.1, 1.1, float("nan")])
def test_a_mask_ratio_that_makes_no_sense(ratio):
    with pytest.raises(UsageError, match="mask_ratio .* in .0, 1."):
        MaskedReconstruction(8, mask_ratio=ratio)


def test_an_unknown_context():
    with pytest.raises(UsageError, match="context .* one of 'paired', 'detached', 'shuffled'"):
        MaskedReconstruction(8, context="none")
