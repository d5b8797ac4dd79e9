import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from random_batches import batches, images_of, random_batch, same_of

from braindecode_ssr.errors import UsageError
from braindecode_ssr.losses import SingleAnchor, single_anchor_contrast

unit = torch.nn.functional.normalize


def by_loops(brain, original, view, scale, image=None):
    """Facts 7.1, anchor by anchor: mean over anchors and over both positives."""
    rows, total = range(len(brain)), 0.0
    for i in rows:
        others = [j for j in rows if image is None or j == i or image[i] != image[j]]
        z = sum(
            math.exp(scale * float(original[i] @ candidate[j]))
            for j in others
            for candidate in (brain, view)
        )
        for positive in (brain, view):
            total -= 0.5 * math.log(math.exp(scale * float(original[i] @ positive[i])) / z)
    return total / len(brain)


@given(batches, st.floats(0.1, 3), st.integers(0, 1000), st.booleans())
@settings(max_examples=30)
def test_equals_the_definition(batch, scale, seed, known):
    image = images_of(seed, batch.shape[1]) if known else None
    parts = single_anchor_contrast(*batch, scale, None if image is None else same_of(image))
    assert list(parts) == ["brain_original", "view_original"]
    mean = sum(part.item() for part in parts.values()) / 2
    assert mean == pytest.approx(by_loops(*batch, scale, image), rel=1e-9)


@given(batches)
@settings(max_examples=15)
def test_order_of_the_batch_does_not_matter(batch):
    order = torch.randperm(batch.shape[1])
    one, other = SingleAnchor().double()(*batch), SingleAnchor().double()(*batch[:, order])
    torch.testing.assert_close(one["loss"], other["loss"])


@given(batches, st.floats(0.01, 100))
@settings(max_examples=15)
def test_lengths_do_not_matter_in_the_unit_regime(batch, factor):
    brain, original, view = batch
    loss = SingleAnchor().double()
    scaled = loss(factor * brain, original / factor, 2 * factor * view)["loss"]
    torch.testing.assert_close(scaled, loss(*batch)["loss"])


def test_best_and_chance():
    x = torch.eye(5)
    best = SingleAnchor(scale=100.0)(x, x, x)
    assert best["loss"].item() == pytest.approx(math.log(2), abs=1e-5)
    chance = single_anchor_contrast(x, x, x, 0.0)
    assert chance["brain_original"].item() == pytest.approx(math.log(10))
    # a positive better than the other costs more in the mean than two equal ones
    assert SingleAnchor(scale=20.0)(x.roll(1, 0), x, x)["loss"] > best["loss"] + 1


@pytest.mark.parametrize("regime", ["free", "unit"])
def test_gradient_numerically(regime):
    loss = SingleAnchor(regime).double()
    batch = random_batch(0, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(*x)["loss"], (batch,))


def test_regimes_and_weights():
    brain, original, view = random_batch(1, 5, 4)
    free = SingleAnchor("free", scale=3.0, brain_original=2.0, view_original=0.5)
    wanted = single_anchor_contrast(brain, unit(original), unit(view), 3.0)
    parts = free(brain, original, view)
    torch.testing.assert_close(
        parts["loss"], 2 * wanted["brain_original"] + wanted["view_original"] / 2
    )
    alone = SingleAnchor(view_original=0.0)(brain, original, view)
    assert list(alone) == ["loss", "brain_original"]


def test_a_detached_anchor_is_not_moved():
    batch = random_batch(2, 5, 4).requires_grad_()
    for anchor, moved in (("trained", True), ("detached", False)):
        total = SingleAnchor(anchor=anchor)(*batch)["loss"]
        gradient = torch.autograd.grad(total, batch)[0]
        assert bool(gradient[1].abs().sum() > 0) is moved
        assert gradient[0].abs().sum() > 0 and gradient[2].abs().sum() > 0


def test_bad_input():
    with pytest.raises(UsageError, match="duplicates .* one of 'negatives', 'ignored'"):
        SingleAnchor(duplicates="positives")
    with pytest.raises(UsageError, match="image index of each of the 5 rows"):
        SingleAnchor(duplicates="ignored")(*random_batch(0, 5, 3))
    with pytest.raises(UsageError, match="all 0"):
        SingleAnchor(brain_original=0, view_original=0)
    with pytest.raises(UsageError, match="anchor .* one of"):
        SingleAnchor(anchor="none")
