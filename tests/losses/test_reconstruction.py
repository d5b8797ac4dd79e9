import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from random_batches import random_batch

from braindecode_ssr.errors import TrainingError, UsageError
from braindecode_ssr.losses import MaskedReconstruction, SSRLoss
from braindecode_ssr.losses.ssr import (
    Reconstructor,
    WholeReconstructor,
    distance,
    random_mask,
    root_mean_square_one,
    shuffled,
)


def by_loops(found, wanted, judged, pull):
    """Mean over rows of the distance of judged elements, as the documentation has it."""
    rows = []
    for x, y, use in zip(found.tolist(), wanted.tolist(), judged.tolist(), strict=True):
        pairs = [(a, b) for a, b, one in zip(x, y, use, strict=True) if one]
        if not pairs:
            continue
        if pull == "mse":
            rows.append(sum((a - b) ** 2 for a, b in pairs) / len(pairs))
            continue
        lengths = math.sqrt(sum(a * a for a, _ in pairs) * sum(b * b for _, b in pairs))
        rows.append(1 - sum(a * b for a, b in pairs) / lengths)
    return sum(rows) / len(rows) if rows else 0.0


@pytest.mark.parametrize("pull", ["cosine", "mse"])
@given(st.integers(1, 6), st.integers(2, 8), st.integers(0, 2**31))
@settings(max_examples=20)
def test_distance_equals_the_definition(pull, rows, width, seed):
    found, wanted, chance = random_batch(seed, rows, width)
    judged = chance > 0
    slow = by_loops(found, wanted, judged, pull)
    assert distance(found, wanted, judged, pull).item() == pytest.approx(slow, abs=1e-9)
    elsewhere = torch.where(judged, found, 7.0)  # elements that are not judged
    torch.testing.assert_close(
        distance(elsewhere, wanted, judged, pull), distance(found, wanted, judged, pull)
    )
    assert distance(wanted, wanted, judged, pull).item() == pytest.approx(0, abs=1e-9)


def test_nothing_to_judge_costs_nothing_and_moves_nothing():
    found, wanted = torch.randn(2, 4, 3, requires_grad=True)
    nothing = torch.zeros(4, 3, dtype=torch.bool)
    for pull in ("cosine", "mse"):
        assert distance(found, wanted, nothing, pull) == 0
    some = nothing.clone()
    some[1, :2] = True
    gradient = torch.autograd.grad(distance(found, wanted, some), found)[0]
    assert gradient[1, :2].abs().sum() > 0
    assert gradient.isfinite().all() and gradient[some.logical_not()].abs().sum() == 0


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


def test_a_reconstructor_sees_nothing_of_what_is_hidden_and_keeps_the_rest():
    torch.manual_seed(0)
    own, other = torch.randn(4, 6), torch.randn(4, 5)
    mask = random_mask(own, 0.5)
    for net in (Reconstructor(6, 5, 10), WholeReconstructor(6, 5, 10)):
        changed = torch.where(mask, torch.randn(4, 6), own)
        assert torch.equal(net(own, other, mask)[mask], net(changed, other, mask)[mask])
        assert not torch.equal(net(own, other, mask), net(own, other.flip(0), mask))
    filled = Reconstructor(6, 5)(own, other, mask)
    assert torch.equal(filled[~mask], own[~mask]) and not (filled == own)[mask].any()


def test_a_reconstructor_is_told_what_is_hidden():
    """An element that is hidden is not the same as one that is 0."""
    torch.manual_seed(0)
    own, other = torch.randn(4, 6), torch.randn(4, 6)
    own[:, :3] = 0.0
    one, more = torch.zeros(2, 4, 6, dtype=torch.bool)
    one[:, 0] = True
    more[:, :3] = True
    net = Reconstructor(6, 6)
    assert not torch.allclose(net(own, other, one)[:, 0], net(own, other, more)[:, 0])


def slow_info_nce(x, y, scale):
    x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
    logits = scale * x @ y.T
    rows = [np.log(np.exp(line).sum()) - line[i] for i, line in enumerate(logits)]
    columns = [np.log(np.exp(line).sum()) - line[i] for i, line in enumerate(logits.T)]
    return (np.mean(rows) + np.mean(columns)) / 2


def slow_reconstruction(net, own, other, mask, kind, pull):
    """One direction, row by row, from the weights alone."""
    scaled = [
        v * math.sqrt(v.shape[1]) / np.linalg.norm(v, axis=1, keepdims=True) for v in (own, other)
    ]
    first, last = (
        (net.layers[i].weight.detach().numpy(), net.layers[i].bias.detach().numpy()) for i in (0, 2)
    )
    found = []
    for own_row, other_row, hidden in zip(*scaled, mask, strict=True):
        if kind == "inpaint":
            inputs = [*np.where(hidden, 0.0, own_row), *hidden.astype(float), *other_row]
        else:
            inputs = [*np.where(hidden, net.mask_vector.detach().numpy(), own_row), *other_row]
        inside = first[0] @ np.array(inputs) + first[1]
        inside = np.array([v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in inside])
        found.append(last[0] @ inside + last[1])
    judged = mask if kind == "inpaint" else np.ones_like(mask)
    return by_loops(np.array(found), scaled[0], judged, pull)


@pytest.mark.parametrize("kind", ["inpaint", "whole"])
@pytest.mark.parametrize(("pull", "context"), [("cosine", "paired"), ("mse", "none")])
def test_the_whole_loss_equals_its_definition(kind, pull, context):
    """Three contrasts of cosines and two reconstructions, computed once more in numpy."""
    torch.manual_seed(0)
    weights = {"brain_original": 0.5, "reconstruct_view": 2.0, "reconstruct_brain": 3.0}
    options = {"reconstructor": kind, "pull": pull, "context": context, "scale": 5.0}
    loss = SSRLoss(6, hidden=7, mask_ratio=0.4, **options, **weights).double()
    batch = random_batch(1, 5, 6)
    torch.manual_seed(3)
    found = loss(*batch)
    torch.manual_seed(3)
    masks = [(torch.rand(5, 6) < 0.4).numpy() for _ in range(2)]
    brain, original, view = (part.numpy() for part in batch)
    nets = loss.reconstruction.reconstructors
    slow = {
        "brain_view": slow_info_nce(brain, view, 5.0),
        "brain_original": slow_info_nce(brain, original, 5.0),
        "view_original": slow_info_nce(view, original, 5.0),
    }
    for name, own, partner, mask in (
        ("reconstruct_view", view, brain, masks[0]),
        ("reconstruct_brain", brain, view, masks[1]),
    ):
        if context == "none":
            nets[name].layers[0].weight.data[:, -6:] = 0.0
        slow[name] = slow_reconstruction(nets[name], own, partner, mask, kind, pull)
    for name, part in slow.items():
        assert found[name].item() == pytest.approx(part, rel=1e-6), name
    total = sum({**dict.fromkeys(slow, 1.0), **weights}[name] * part for name, part in slow.items())
    assert found["loss"].item() == pytest.approx(total, rel=1e-6)


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


@pytest.mark.parametrize("pull", ["cosine", "mse"])
def test_gradient_numerically(pull):
    """Through visible elements, the other vector and the hidden elements that are pulled."""
    loss = MaskedReconstruction(4, hidden=5, pull=pull).double()

    def total(brain, view):
        torch.manual_seed(0)
        return loss(brain, view, view)["loss"]

    brain, _, view = random_batch(0, 3, 4)
    assert torch.autograd.gradcheck(total, (brain.requires_grad_(), view.requires_grad_()))


@pytest.mark.parametrize(("pull_target", "moved"), [("both", True), ("detached", False)])
def test_whether_the_pull_moves_what_is_hidden(pull_target, moved):
    """With everything hidden, own elements are only what is wanted."""
    options = {"mask_ratio": 1.0, "pull_target": pull_target, "pull": "mse"}
    loss = MaskedReconstruction(8, reconstruct_brain=0.0, **options)
    brain, original, view = batch = torch.randn(3, 5, 8, requires_grad=True)
    gradient = torch.autograd.grad(loss(*batch)["loss"], batch)[0]
    assert bool(gradient[2].abs().sum() > 0) is moved
    assert gradient[0].abs().sum() > 0 and gradient[1].abs().sum() == 0


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
    with pytest.raises(
        UsageError, match="context .* one of 'paired', 'detached', 'shuffled', 'none'"
    ):
        MaskedReconstruction(8, context="nobody")


def test_what_the_partner_is_worth_is_measured_and_changes_nothing():
    torch.manual_seed(0)
    loss = SSRLoss(8, reconstructor="tokens", reconstructor_params={"n_tokens": 4})
    assert loss.diagnostics() == {}
    loss(*torch.randn(3, 200, 8))
    before, state = torch.get_rng_state(), [p.clone() for p in loss.parameters()]
    found, again = loss.diagnostics(), loss.diagnostics()
    contexts = ("paired", "shuffled", "none")
    assert set(found) == {f"reconstruct_{d}_{c}" for d in ("view", "brain") for c in contexts}
    assert found == again and not any(value.requires_grad for value in found.values())
    assert torch.equal(before, torch.get_rng_state())
    assert all(map(torch.equal, state, loss.parameters())) and loss.reconstruction.training
    assert not SSRLoss(8, reconstruct_view=0, reconstruct_brain=0).diagnostics()


@pytest.mark.parametrize("context", ["paired", "shuffled", "none"])
def test_what_is_measured_is_the_loss_under_each_context(context):
    torch.manual_seed(0)
    loss = MaskedReconstruction(8, mask_ratio=1.0, context=context)  # so that chance hides the same
    brain, _, view = torch.randn(3, 5, 8)
    loss.parts(brain, view)
    found = loss.diagnostics()
    net = loss.reconstructors["reconstruct_view"]
    own, other = root_mean_square_one(view), root_mean_square_one(brain)
    hidden = torch.ones(5, 8, dtype=torch.bool)
    for name, partner in (("paired", other), ("none", 0 * other)):
        wanted = distance(net(own, partner, hidden), own, hidden)
        torch.testing.assert_close(found[f"reconstruct_view_{name}"], wanted)
    moved = [distance(net(own, other.roll(k, 0), hidden), own, hidden).item() for k in range(1, 5)]
    assert any(
        found["reconstruct_view_shuffled"].item() == pytest.approx(value, rel=1e-5)
        for value in moved
    )
