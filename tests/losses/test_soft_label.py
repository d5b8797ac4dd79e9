import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from random_batches import batches, images_of, random_batch, same_of

from braindecode_ssr.errors import UsageError
from braindecode_ssr.losses import Contrast, SoftLabel, soft_info_nce, soft_labels


def labels_by_loops(features, top_k, same):
    """Cosine, times: among the most alike others, times: of the same image; rows sum to 1."""
    f = features.numpy()
    n = len(f)
    labels = np.zeros((n, n))
    for i in range(n):
        cosine = [f[i] @ f[j] / np.linalg.norm(f[i]) / np.linalg.norm(f[j]) for j in range(n)]
        others = sorted((j for j in range(n) if j != i), key=lambda j: -max(cosine[j], 0.0))
        for j in [i, *others[:top_k]]:
            if same is None or same[i, j]:
                labels[i, j] = max(cosine[j], 0.0)
        labels[i] /= labels[i].sum()
    return labels


def loss_by_loops(x, y, scale, labels):
    total, n = 0.0, len(x)
    for one, other in ((x, y), (y, x)):
        for i in range(n):
            s = [scale * float(one[i] @ other[j]) for j in range(n)]
            z = math.log(sum(math.exp(value) for value in s))
            total -= sum(float(labels[i, j]) * (s[j] - z) for j in range(n))
    return total / (2 * n)


@given(batches, st.integers(1, 8), st.integers(0, 1000), st.booleans(), st.floats(0.1, 4))
@settings(max_examples=40)
def test_equals_the_definition(batch, top_k, seed, among_all, scale):
    x, y, _ = batch
    same = None if among_all else same_of(images_of(seed, len(y)))
    labels = soft_labels(y, top_k, same)
    np.testing.assert_allclose(labels, labels_by_loops(y, top_k, same), atol=1e-9)
    found = soft_info_nce(x, y, scale, labels).item()
    assert found == pytest.approx(loss_by_loops(x, y, scale, labels), rel=1e-9)


@given(batches, st.integers(1, 4))
@settings(max_examples=20)
def test_labels_are_shares_and_follow_the_order_and_not_the_lengths(batch, top_k):
    y, order = batch[1], torch.randperm(batch.shape[1])
    labels = soft_labels(y, top_k)
    torch.testing.assert_close(labels.sum(1), torch.ones(len(y), dtype=torch.float64))
    assert ((labels > 0).sum(1) <= top_k + 1).all() and (labels.diagonal() > 0).all()
    torch.testing.assert_close(soft_labels(7 * y[order], top_k), labels[order][:, order])


def test_copies_of_an_image_share_the_label_evenly():
    y = random_batch(0, 3, 4)[0].repeat_interleave(2, 0)
    labels = soft_labels(y, 7, same_of(torch.arange(3).repeat_interleave(2)))
    torch.testing.assert_close(
        labels, torch.kron(torch.eye(3), torch.full((2, 2), 0.5)).double(), rtol=0, atol=1e-6
    )


def test_where_images_differ_it_is_plain_contrast():
    batch = random_batch(1, 6, 5)
    for image in (None, torch.arange(6)):
        found = SoftLabel(regime="unit-fixed")(*batch, image)["loss"]
        torch.testing.assert_close(found, Contrast(regime="unit-fixed")(*batch)["loss"])
    assert SoftLabel(among="all")(*batch)["loss"] != Contrast(regime="raw")(*batch)["loss"]


def test_least_when_the_softmax_is_the_labels():
    """Cross-entropy is least at the labels themselves, and is then their entropy."""
    labels = soft_labels(random_batch(2, 5, 3)[1].abs(), 4)
    labels = (labels + labels.T) / 2  # rows and columns alike, so that one table serves both ways
    labels = labels / labels.sum()
    for _ in range(500):
        labels = labels / labels.sum(1, keepdim=True)
        labels = labels / labels.sum(0, keepdim=True)
    eye = torch.eye(5, dtype=torch.float64)
    best = soft_info_nce(labels.log(), eye, 1.0, labels)
    entropy = -(labels * labels.log()).sum() / 5
    torch.testing.assert_close(best, entropy, rtol=1e-4, atol=1e-4)
    for seed in range(10):
        noise = 0.3 * random_batch(seed, 5, 5)[0]
        assert soft_info_nce(labels.log() + noise, eye, 1.0, labels) > best


def test_gradient_numerically():
    loss = SoftLabel(top_k=2, among="all").double()
    brain, original, view = random_batch(3, 4, 3)
    brain.requires_grad_(), view.requires_grad_()
    loss.target = "view"
    assert torch.autograd.gradcheck(lambda b, v: loss(b, original, v)["loss"], (brain, view))


def test_bad_input():
    for top_k in (0, -1, 2.5, float("nan")):
        with pytest.raises(UsageError, match="top_k .* whole number of 1 or more"):
            SoftLabel(top_k=top_k)
    with pytest.raises(UsageError, match="among .* one of 'image', 'all'"):
        SoftLabel(among="concept")
    with pytest.raises(UsageError, match="image has shape"):
        SoftLabel()(*random_batch(0, 4, 3), torch.arange(3))
