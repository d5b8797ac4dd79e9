import math

import numpy as np
import pytest
import torch
from random_batches import random_batch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.losses import MaskedReconstruction
from braindecode_ssr.losses.ssr import TokenReconstructor, distance, root_mean_square_one

CHUNKED = {"n_tokens": 4, "n_heads": 2, "drop_prob": 0.0}


def test_tokens_without_blocks_equal_their_definition():
    """Tokens, mask and head by hand; the blocks between them are torch's."""
    torch.manual_seed(1)
    net = TokenReconstructor(12, 8, 8, **CHUNKED).double()
    own, other = torch.randn(5, 12).double(), torch.randn(5, 8).double()
    mask = torch.rand(5, 4) < 0.5
    block, net.blocks = net.blocks[0].eval(), torch.nn.ModuleList()
    found, wanted, judged = net.compare(own, other, mask)
    for row, k in np.ndindex(5, 4):
        chunk = own[row, 3 * k : 3 * k + 3]
        token = net.mask_token if mask[row, k] else net.own.weight @ chunk + net.own.bias
        head = net.head.weight @ (token + net.positions[0, k]) + net.head.bias
        torch.testing.assert_close(found[row, k], head)
        normed = (chunk - chunk.mean()) / (chunk.var(unbiased=False) + 1e-5).sqrt()
        torch.testing.assert_close(wanted[row, k], normed)
        assert (judged[row, k] == mask[row, k]).all()
    net.blocks.append(block)
    assert not torch.allclose(net(own, other, mask), found)


def test_a_hidden_token_is_found_from_visible_ones_and_from_the_other_vector():
    torch.manual_seed(2)
    net = TokenReconstructor(12, 8, 8, **CHUNKED)
    own, other = torch.randn(5, 12), torch.randn(5, 8)
    mask = torch.zeros(5, 4, dtype=torch.bool)
    mask[:, 0] = True
    found = net(own, other, mask)[:, 0]
    hidden, visible = own.clone(), own.clone()
    hidden[:, :3], visible[:, 3:] = 0.0, 0.0
    assert torch.equal(net(hidden, other, mask)[:, 0], found)
    assert not torch.allclose(net(visible, other, mask)[:, 0], found)
    assert not torch.allclose(net(own, other.flip(0), mask)[:, 0], found)


@pytest.mark.parametrize("kind", ["inpaint", "whole", "tokens"])
def test_gradient_numerically_through_the_context(kind):
    torch.manual_seed(3)
    params = CHUNKED if kind == "tokens" else None
    loss = MaskedReconstruction(
        8, hidden=4, reconstructor=kind, reconstructor_params=params, mask_ratio=0.6
    ).double()
    brain, _, view = random_batch(0, 3, 8)
    net, own = loss.reconstructors["reconstruct_view"], root_mean_square_one(view)
    mask = torch.rand(net.maskable(own).shape) < 0.6

    def pulled(context):
        return distance(*net.compare(own, root_mean_square_one(context), mask))

    assert torch.autograd.gradcheck(pulled, (brain.requires_grad_(),))


def test_tokens_follow_the_order_of_the_batch():
    net, (own, other) = TokenReconstructor(12, 12, 8, **CHUNKED), torch.randn(2, 6, 12)
    mask, order = torch.rand(6, 4) < 0.5, torch.randperm(6)
    one, moved = net(own, other, mask), net(own[order], other[order], mask[order])
    torch.testing.assert_close(moved, one[order])


def test_a_detached_context_is_not_moved():
    options = {"mask_ratio": 1.0, "reconstruct_brain": 0.0, "pull_target": "detached"}
    for context, moved in (("paired", True), ("detached", False), ("none", False)):
        loss = MaskedReconstruction(8, context=context, **options)
        batch = torch.randn(3, 5, 8, requires_grad=True)
        gradient = torch.autograd.grad(loss(*batch)["loss"], batch)[0]
        assert bool(gradient[0].abs().sum() > 0) is moved
        assert gradient[1].abs().sum() == 0


def test_rows_hidden_as_a_whole():
    """With every row hidden as a whole, the own vector is only what is wanted."""
    loss = MaskedReconstruction(8, mask_ratio=1e-9, whole_ratio=1.0, reconstruct_brain=0.0)
    own, context = torch.randn(2, 5, 8)
    net = loss.reconstructors["reconstruct_view"]
    everything = torch.ones(5, 8, dtype=torch.bool)
    hidden = net(root_mean_square_one(own), root_mean_square_one(context), everything)
    wanted = 1 - torch.nn.functional.cosine_similarity(hidden, own).mean()
    torch.testing.assert_close(loss(context, own, own)["loss"], wanted)


def test_the_visual_side():
    brain, original, view = torch.randn(3, 5, 8)
    for visual, images in {
        "view": view,
        "original": original,
        "mean": (original + view) / 2,
    }.items():
        loss = MaskedReconstruction(8, mask_ratio=1.0, visual=visual)
        found, wanted = loss(brain, original, view), loss.parts(brain, images)
        for name, part in wanted.items():
            assert torch.equal(found[name], part)


def learned(context, steps=90):
    """Mean distance on new data after a short training."""
    torch.manual_seed(0)
    width = 8
    mixing = torch.linalg.qr(torch.randn(width, width))[0]
    params = {"n_tokens": 2, "drop_prob": 0.0}
    options = {"context": context, "reconstructor": "tokens", "reconstructor_params": params}
    loss = MaskedReconstruction(width, mask_ratio=1.0, hidden=16, **options)
    optimizer = torch.optim.Adam(loss.parameters(), 2e-2)
    for _ in range(steps):
        view = torch.randn(64, width)
        optimizer.zero_grad()
        loss(view @ mixing, view, view)["loss"].backward()
        optimizer.step()
    view = torch.randn(1000, width)
    with torch.no_grad():
        return loss.parts(view @ mixing, view)["reconstruct_view"].item()


def test_tokens_too_learn_across_modalities_and_not_from_a_shuffled_context():
    # seeds 0 to 4: 0.05 to 0.15, and 0.98 to 1.01
    assert learned("paired") < 0.35
    assert learned("shuffled") > 0.9


@pytest.mark.parametrize(
    "params, expected",
    [
        ({"reconstructor": "cnn"}, "reconstructor .* one of 'inpaint', 'whole', 'tokens'"),
        ({"pull": "l1"}, "pull .* one of 'cosine', 'mse'"),
        ({"pull_target": "own"}, "pull_target .* one of 'both', 'detached'"),
        ({"visual": "text"}, "visual .* one of 'view', 'original', 'mean'"),
        ({"whole_ratio": 1.5}, "whole_ratio .* in .0, 1., not 1.5"),
        ({"whole_ratio": math.nan}, "whole_ratio .* in .0, 1., not nan"),
        ({"reconstructor_params": {"n_tokens": 4}}, "reconstructor inpaint.*n_tokens"),
        (
            {"reconstructor": "tokens", "reconstructor_params": {"n_token": 4}},
            "reconstructor tokens.*n_tokens",
        ),
        ({"reconstructor": "tokens", "reconstructor_params": {"n_tokens": 3}}, "divide the 16"),
        (
            {"reconstructor": "tokens", "reconstructor_params": {"n_tokens": 16}},
            "chunks of 2 or more",
        ),
        ({"reconstructor": "tokens", "reconstructor_params": {"n_heads": 3}}, "3 heads"),
        ({"reconstructor": "tokens", "hidden": 6}, "4 heads .* hidden = 6"),
    ],
)
def test_bad_input(params, expected):
    with pytest.raises(UsageError, match=expected) as caught:
        MaskedReconstruction(16, **params)
    assert "\n" not in str(caught.value)
