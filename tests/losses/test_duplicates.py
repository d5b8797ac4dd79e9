import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from random_batches import batches, images_of, random_batch, same_of

from braindecode_ssr.errors import UsageError
from braindecode_ssr.losses import (
    Contrast,
    MultiPositive,
    TripleContrast,
    duplicate_info_nce,
    symmetric_info_nce,
)

KINDS = ["ignored", "positives"]


def one_way(x, y, scale, image, duplicates):
    """The definition, row by row."""
    total, rows = 0.0, range(len(x))
    for i in rows:
        s = [scale * float(x[i] @ y[j]) for j in rows]
        own = [j for j in rows if image[j] == image[i]]
        if duplicates == "positives":
            pull = sum(s[j] for j in own) / len(own)
            total += math.log(sum(math.exp(value) for value in s)) - pull
        else:
            counted = [s[j] for j in rows if j == i or j not in own]
            total += math.log(sum(math.exp(value) for value in counted)) - s[i]
    return total / len(x)


@given(batches, st.floats(0.1, 4), st.integers(0, 1000), st.sampled_from(KINDS))
@settings(max_examples=40)
def test_equals_the_definition(batch, scale, seed, duplicates):
    x, y, _ = batch
    image = images_of(seed, len(x))
    both = one_way(x, y, scale, image, duplicates) + one_way(y, x, scale, image, duplicates)
    found = duplicate_info_nce(x, y, scale, same_of(image), duplicates)
    assert found.item() == pytest.approx(both / 2, rel=1e-9, abs=1e-9)


@given(batches, st.sampled_from(KINDS))
@settings(max_examples=20)
def test_without_duplicates_it_is_plain_contrast(batch, duplicates):
    x, y, _ = batch
    same = same_of(torch.randperm(len(x)))
    found = duplicate_info_nce(x, y, 2.0, same, duplicates)
    torch.testing.assert_close(found, symmetric_info_nce(x, y, 2.0))


@given(batches, st.integers(0, 1000), st.sampled_from(KINDS))
@settings(max_examples=20)
def test_order_of_the_batch_does_not_matter(batch, seed, duplicates):
    x, y, _ = batch
    image, order = images_of(seed, len(x)), torch.randperm(len(x))
    loss = duplicate_info_nce(x, y, 2.0, same_of(image), duplicates)
    again = duplicate_info_nce(x[order], y[order], 2.0, same_of(image[order]), duplicates)
    torch.testing.assert_close(again, loss)


@given(batches)
@settings(max_examples=20)
def test_a_batch_seen_twice_costs_log_2_if_all_are_partners(batch):
    x, y, _ = batch
    image = torch.arange(len(x)).repeat(2)
    twice = duplicate_info_nce(x.repeat(2, 1), y.repeat(2, 1), 3.0, same_of(image), "positives")
    torch.testing.assert_close(twice, symmetric_info_nce(x, y, 3.0) + math.log(2))


def test_optimum_with_each_image_twice():
    x, image = torch.eye(4).repeat(2, 1), torch.arange(4).repeat(2)
    for duplicates, least in (
        ("negatives", math.log(2)),
        ("ignored", 0),
        ("positives", math.log(2)),
    ):
        loss = Contrast(regime="unit-fixed", scale=100.0, duplicates=duplicates)
        assert loss(x, x, x, image)["loss"].item() == pytest.approx(least, abs=1e-5)


def test_ignored_duplicates_are_not_pushed_apart():
    x, y, _ = random_batch(0, 6, 4).requires_grad_()
    image = torch.tensor([0, 0, 1, 2, 3, 4])
    logits = (x @ y.T).detach().requires_grad_()
    eye = torch.eye(6, dtype=torch.float64)
    duplicate_info_nce(logits, eye, 1.0, same_of(image), "ignored").backward()
    assert logits.grad[0, 1] == logits.grad[1, 0] == 0
    assert (logits.grad[0, 2:] > 0).all()
    logits.grad = None
    duplicate_info_nce(logits, eye, 1.0, same_of(image), "positives").backward()
    alike = logits.detach().clone().fill_(0.0).requires_grad_()
    duplicate_info_nce(alike, eye, 1.0, same_of(image), "positives").backward()
    assert alike.grad[0, 1] < 0 < alike.grad[0, 2]


@pytest.mark.parametrize("duplicates", KINDS)
def test_gradient_numerically(duplicates):
    x, y, _ = random_batch(1, 5, 3)
    scale = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    same = same_of(torch.tensor([0, 1, 1, 2, 0]))
    inputs = (x.requires_grad_(), y.requires_grad_(), scale)
    assert torch.autograd.gradcheck(
        lambda a, b, s: duplicate_info_nce(a, b, s, same, duplicates), inputs
    )


def test_multi_positive_is_contrast_with_partners():
    brain, original, view = random_batch(2, 6, 5)
    image = torch.tensor([0, 0, 1, 2, 2, 2])
    for target in ("original", "view"):
        one = MultiPositive(target)(brain, original, view, image)
        other = Contrast(target, duplicates="positives")(brain, original, view, image)
        assert one.keys() == other.keys() and torch.equal(one["loss"], other["loss"])
        plain = Contrast(target)(brain, original, view)
        assert not torch.equal(one["loss"], plain["loss"])


def test_each_pair_of_the_triple_knows_duplicates():
    batch, image = random_batch(3, 6, 5), torch.tensor([0, 0, 1, 2, 2, 3])
    plain = TripleContrast()(*batch, image)
    for duplicates in KINDS:
        parts = TripleContrast(duplicates=duplicates)(*batch, image)
        assert all(not torch.equal(parts[name], plain[name]) for name in parts)


def test_bad_input():
    batch = random_batch(4, 5, 3)
    loss = MultiPositive()
    with pytest.raises(UsageError, match="image index of each of the 5 rows.*missing"):
        loss(*batch)
    with pytest.raises(UsageError, match=r"image has shape \(4,\)"):
        loss(*batch, torch.arange(4))
    with pytest.raises(UsageError, match=r"image has shape \(5, 1\)"):
        loss(*batch, torch.arange(5)[:, None])
    with pytest.raises(UsageError, match="duplicates .* one of 'negatives', 'ignored'"):
        Contrast(duplicates="kept")
