import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_batches import batches, random_batch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.losses import Contrast, MMDContrast, squared_mmd
from braindecode_ssr.losses.mmd_contrast import share_of_mmd

SIGMAS = (0.1, 0.2, 0.5, 1.0, 2.0)


def kernel(a, b, sigmas):
    distance = sum((p - q) ** 2 for p, q in zip(a, b, strict=True))
    return sum(math.exp(-distance / (2 * s * s)) for s in sigmas) / len(sigmas)


def by_loops(x, y, sigmas=SIGMAS):
    """The definition, pair by pair; no row is paired with itself inside a sample."""
    x, y = x.tolist(), y.tolist()

    def within(z):
        pairs = [(i, j) for i in range(len(z)) for j in range(len(z)) if i != j]
        return sum(kernel(z[i], z[j], sigmas) for i, j in pairs) / len(pairs)

    across = sum(kernel(a, b, sigmas) for a in x for b in y) / (len(x) * len(y))
    return within(x) + within(y) - 2 * across


@given(batches, st.sampled_from([SIGMAS, (0.7,), (3.0, 0.4)]), st.integers(0, 2))
@settings(max_examples=20)
def test_equals_the_definition(batch, sigmas, fewer):
    x, y = batch[0], batch[1][: max(2, len(batch[1]) - fewer)]
    found = squared_mmd(x, y, sigmas).item()
    assert found == pytest.approx(by_loops(x, y, sigmas), rel=1e-9, abs=1e-12)


@given(batches)
@settings(max_examples=20)
def test_order_of_rows_and_of_samples_does_not_matter(batch):
    x, y, _ = batch
    found, order = squared_mmd(x, y), torch.randperm(len(x))
    torch.testing.assert_close(squared_mmd(x[order], y), found)
    torch.testing.assert_close(squared_mmd(y, x), found)
    torch.testing.assert_close(squared_mmd(x + 5, y + 5), found)


def test_equal_samples_are_at_no_distance_and_far_ones_at_a_large_one():
    x, *_ = random_batch(0, 6, 3)
    assert squared_mmd(x, x) <= 0
    equal = MMDContrast()(x, x, x)
    assert equal["mmd"] == 0 and MMDContrast(mmd_of="directions")(x, 3 * x, x)["mmd"] < 1e-12
    near = torch.zeros(6, 3, dtype=torch.float64)
    torch.testing.assert_close(squared_mmd(near, near + 100), near.new_tensor(2.0))


def test_samples_of_one_distribution_are_at_no_distance_on_average():
    draws = [squared_mmd(*random_batch(seed, 8, 2)[:2]).item() for seed in range(300)]
    mean, sd = torch.tensor(draws).mean().item(), torch.tensor(draws).std().item()
    assert min(draws) < 0 and abs(mean) < 3.5 * sd / math.sqrt(300)


def test_long_vectors_are_beyond_the_kernels():
    """Why the discrepancy of directions is the other choice."""
    brain, original, view = 13 / math.sqrt(512) * random_batch(0, 16, 512)
    for mmd_of, seen in (("embeddings", False), ("directions", True)):
        x = brain.clone().requires_grad_()
        MMDContrast(mmd_of=mmd_of)(x, original, view)["mmd"].backward()
        assert (x.grad.abs().max() > 1e-8).item() is seen


def test_the_share_goes_down_in_a_line_and_then_to_nothing():
    """Notes on methods, 5.3: .9 to .5 over 20 epochs, then contrast alone."""
    shares = [share_of_mmd(epoch, 0.9, 0.5, 20) for epoch in range(22)]
    assert shares[0] == 0.9 and shares[19] == pytest.approx(0.5) and shares[20:] == [0, 0]
    steps = {round(a - b, 12) for a, b in zip(shares[:19], shares[1:20], strict=True)}
    assert steps == {round(0.4 / 19, 12)}
    assert share_of_mmd(0, 0.9, 0.5, 0) == 0 and share_of_mmd(0, 0.9, 0.5, 1) == 0.9


@pytest.mark.parametrize(
    ("epoch", "share"), [(0, 0.9), (10, 0.9 - 0.4 * 10 / 19), (20, 0), (59, 0)]
)
@pytest.mark.parametrize("target", ["original", "view"])
def test_loss_of_an_epoch(epoch, share, target):
    brain, original, view = random_batch(1, 6, 4)
    parts = MMDContrast(target)(brain, original, view, epoch=epoch)
    images = original if target == "original" else view
    contrast = Contrast(target, regime="free")(brain, original, view)["loss"]
    assert list(parts) == ["loss", f"brain_{target}", "mmd"]
    assert parts["mmd"].item() == pytest.approx(max(0, by_loops(brain, images)), rel=1e-9)
    wanted = share * parts["mmd"] + (1 - share) * contrast
    torch.testing.assert_close(parts["loss"], wanted)


def test_without_an_epoch_it_is_in_its_first():
    batch, loss = random_batch(2, 5, 4), MMDContrast(start=0.3)
    assert loss(*batch)["loss"] == loss(*batch, epoch=0)["loss"] != loss(*batch, epoch=99)["loss"]


def test_in_the_second_stage_the_discrepancy_is_reported_without_gradient():
    batch = random_batch(3, 5, 4)
    batch[1] += 1
    batch.requires_grad_()
    parts = MMDContrast()(*batch, epoch=20)
    assert parts["mmd"] > 0 and not parts["mmd"].requires_grad and parts["loss"].requires_grad


def test_directions_do_not_know_lengths():
    brain, original, view = random_batch(4, 6, 4)
    loss = MMDContrast(mmd_of="directions")
    found = loss(brain, original, view)["mmd"]
    torch.testing.assert_close(loss(3 * brain, original / 7, view)["mmd"], found)
    unit = [part / part.norm(dim=1, keepdim=True) for part in (brain, original)]
    assert found.item() == pytest.approx(by_loops(*unit), rel=1e-9)


@pytest.mark.parametrize("mmd_of", ["embeddings", "directions"])
def test_gradient_numerically(mmd_of):
    loss, batch = MMDContrast(mmd_of=mmd_of, sigmas=(1.0, 2.0)), random_batch(5, 4, 3)
    batch[1] += 1
    assert loss(*batch)["mmd"] > 0
    assert torch.autograd.gradcheck(lambda x: loss(*x)["loss"], (batch.requires_grad_(),))


def test_half_precision_is_raised():
    brain, original, view = random_batch(6, 6, 4).bfloat16()
    original += 1
    parts = MMDContrast()(brain, original, view)
    assert parts["loss"].dtype == torch.float32
    torch.testing.assert_close(parts["mmd"], squared_mmd(brain.float(), original.float()))


@pytest.mark.parametrize(
    "wrong",
    [{"start": 1.1}, {"end": -0.1}, {"stage": 2.5}, {"stage": -1}, {"sigmas": []}, {"sigmas": [0]}],
)
def test_bad_input(wrong):
    with pytest.raises(UsageError, match="(start|end|stage|sigmas)"):
        MMDContrast(**wrong)


def test_bad_choice():
    with pytest.raises(UsageError, match="mmd_of .* one of 'embeddings', 'directions'"):
        MMDContrast(mmd_of="lengths")
