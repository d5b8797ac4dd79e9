import math

import numpy as np
import pytest
import torch
from random_batches import random_batch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.losses import MaskedReconstruction
from braindecode_ssr.losses.ssr import (
    CrossBlock,
    Reconstructor,
    TokenReconstructor,
    masked_pull,
    mse_pull,
    root_mean_square_one,
)

CHUNKED = {"n_tokens": 4, "n_heads": 2, "drop_prob": 0.0}


def layer_norm(x, weight, bias):
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * weight + bias


def gelu(x):
    return np.array([v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in x])


def linear(net, x):
    return net.weight.detach().numpy() @ x + net.bias.detach().numpy()


def attended(net, query, keys, heads):
    """Multi-head attention of one query, head by head."""
    width = len(query)
    weight, bias = (p.detach().numpy() for p in (net.in_proj_weight, net.in_proj_bias))
    w, c = np.split(weight, 3), np.split(bias, 3)
    found, size = [], width // heads
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        q = (w[0] @ query + c[0])[part]
        scores = np.array([q @ (w[1] @ k + c[1])[part] for k in keys]) / math.sqrt(size)
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        found.append(sum(s * (w[2] @ k + c[2])[part] for s, k in zip(shares, keys, strict=True)))
    return linear(net.out_proj, np.concatenate(found))


def crossed(block, x, context, heads):
    """One block, token by token."""

    def norm(net, token):
        return layer_norm(token, net.weight.detach().numpy(), net.bias.detach().numpy())

    keys = [norm(block.before_context, token) for token in context]
    out = []
    for token in x:
        token = token + attended(block.attention, norm(block.before, token), keys, heads)
        inner = gelu(linear(block.perceptron[1], norm(block.perceptron[0], token)))
        out.append(token + linear(block.perceptron[4], inner))
    return np.array(out)


def test_a_block_equals_its_definition():
    torch.manual_seed(0)
    block = CrossBlock(6, 3, 0.0).double()
    for parameter in block.parameters():
        parameter.data = 0.3 * torch.randn_like(parameter)
    x, context = torch.randn(2, 3, 6).double(), torch.randn(2, 5, 6).double()
    found = block(x, context).detach().numpy()
    for row in range(2):
        wanted = crossed(block, x[row].numpy(), context[row].numpy(), 3)
        np.testing.assert_allclose(found[row], wanted, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("pull", ["cosine", "mse"])
def test_distance_of_tokens_equals_its_definition(pull):
    torch.manual_seed(1)
    net = TokenReconstructor(12, 8, pull, n_blocks=2, **CHUNKED).double()
    own, context = torch.randn(2, 5, 12).double()
    mask = torch.rand(5, 4) < 0.5
    total, count = 0.0, 0
    for row in range(5):
        tokens, other = [], []
        for k in range(4):
            chunk = slice(3 * k, 3 * k + 3)
            seen = linear(net.own.map, own[row, chunk].numpy())
            hidden = net.mask_token.detach().numpy()
            tokens.append((hidden if mask[row, k] else seen) + net.own.position[k].detach().numpy())
            place = net.context.position[k].detach().numpy()
            other.append(linear(net.context.map, context[row, chunk].numpy()) + place)
        x = np.array(tokens)
        for block in net.blocks:
            x = crossed(block, x, other, 2)
        for k in range(4):
            if mask[row, k]:
                wanted = layer_norm(own[row, 3 * k : 3 * k + 3].numpy(), 1, 0)
                found = linear(net.head, x[k])
                lengths = np.linalg.norm(found) * np.linalg.norm(wanted)
                cosine = 1 - found @ wanted / lengths
                total += cosine if pull == "cosine" else ((found - wanted) ** 2).mean()
                count += 1
    assert net.distance(own, context, mask).item() == pytest.approx(total / count, rel=1e-8)


@pytest.mark.parametrize(
    "width, blocks, millions", [(128, 1, 0.30), (128, 2, 0.57), (256, 1, 1.1), (256, 2, 2.2)]
)
def test_sizes_of_both_directions_are_those_of_the_facts(width, blocks, millions):
    params = {"n_blocks": blocks}
    loss = MaskedReconstruction(
        512, hidden=width, reconstructor="tokens", reconstructor_params=params
    )
    found = sum(parameter.numel() for parameter in loss.parameters()) / 1e6
    context = sum(p.numel() for r in loss.reconstructors.values() for p in r.context.parameters())
    # the facts count one map of tokens a direction; the modalities have one each here
    assert found - context / 1e6 == pytest.approx(millions, rel=0.06)


def test_tokens_see_nothing_of_what_is_hidden():
    torch.manual_seed(2)
    net = TokenReconstructor(12, 8, **CHUNKED)
    own, context = torch.randn(2, 5, 12)
    mask = torch.rand(5, 4) < 0.5
    changed = torch.where(mask.repeat_interleave(3, 1), torch.randn(5, 12), own)
    assert torch.equal(net(own, context, mask), net(changed, context, mask))
    assert not torch.equal(net(own, context, mask), net(own, context.flip(0), mask))
    everything = TokenReconstructor(12, 8, tokens="learned", **CHUNKED)
    assert everything(own, context, mask).shape == (5, 4, 3)
    assert not torch.equal(
        everything(own, context, mask), everything(changed, context, mask)
    )  # as its documentation says


def test_only_masked_tokens_are_judged_and_none_costs_nothing():
    found, wanted = torch.randn(2, 4, 3, 5)
    mask = torch.zeros(4, 3, dtype=torch.bool)
    assert masked_pull(found, wanted, mask, "cosine") == 0
    mask[1, 2] = True
    cosine = torch.nn.functional.cosine_similarity(found[1, 2], wanted[1, 2], dim=0)
    torch.testing.assert_close(masked_pull(found, wanted, mask, "cosine"), 1 - cosine)
    assert masked_pull(wanted, wanted, ~mask, "mse") == 0


@pytest.mark.parametrize("kind", ["mlp", "tokens"])
def test_gradient_numerically_through_the_context(kind):
    torch.manual_seed(3)
    params = CHUNKED if kind == "tokens" else None
    loss = MaskedReconstruction(
        8, hidden=4, reconstructor=kind, reconstructor_params=params, mask_ratio=0.6
    ).double()
    brain, _, view = random_batch(0, 3, 8)
    net, own = loss.reconstructors["reconstruct_view"], root_mean_square_one(view)
    mask = torch.rand(net.places(own).shape) < 0.6

    def pulled(context):
        return net.distance(own, root_mean_square_one(context), mask)

    assert torch.autograd.gradcheck(pulled, (brain.requires_grad_(),))


def test_tokens_follow_the_order_of_the_batch():
    net, (own, context) = TokenReconstructor(12, 8, **CHUNKED), torch.randn(2, 6, 12)
    mask, order = torch.rand(6, 4) < 0.5, torch.randperm(6)
    shuffled = net.distance(own[order], context[order], mask[order])
    torch.testing.assert_close(shuffled, net.distance(own, context, mask))


def test_mean_squares_and_zeros():
    found, wanted = torch.randn(2, 4, 3)
    by_loops = sum((a - b) ** 2 for a, b in zip(found.flatten(), wanted.flatten(), strict=True))
    torch.testing.assert_close(mse_pull(found, wanted), by_loops / 12)
    for net in (Reconstructor(8, fill="zero"), TokenReconstructor(8, 8, fill="zero", **CHUNKED)):
        names = [name for name, _ in net.named_parameters()]
        assert "mask_vector" not in names and "mask_token" not in names
    own, context = torch.randn(2, 4, 8)
    mask = torch.rand(4, 8) < 0.5
    net = Reconstructor(8, fill="zero")
    nothing = torch.zeros_like(mask)
    assert torch.equal(net(own, context, mask), net(own * ~mask, context, nothing))


def test_a_detached_context_is_not_moved():
    for context, moved in (("paired", True), ("detached", False)):
        loss = MaskedReconstruction(8, mask_ratio=1.0, context=context, reconstruct_brain=0.0)
        batch = torch.randn(3, 5, 8, requires_grad=True)
        gradient = torch.autograd.grad(loss(*batch)["loss"], batch)[0]
        assert bool(gradient[0].abs().sum() > 0) is moved
        assert gradient[1].abs().sum() == 0


def test_rows_hidden_as_a_whole():
    """With every row hidden as a whole, the own vector is only what is wanted."""
    loss = MaskedReconstruction(8, mask_ratio=1e-9, whole_ratio=1.0, reconstruct_brain=0.0)
    own, context = torch.randn(2, 5, 8)
    net = loss.reconstructors["reconstruct_view"]
    hidden = net(own, root_mean_square_one(context), torch.ones(5, 8, dtype=torch.bool))
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
        ({"reconstructor": "cnn"}, "reconstructor .* one of 'mlp', 'tokens'"),
        ({"pull": "l1"}, "pull .* one of 'cosine', 'mse'"),
        ({"fill": "noise"}, "fill .* one of 'learned', 'zero'"),
        ({"visual": "text"}, "visual .* one of 'view', 'original', 'mean'"),
        ({"whole_ratio": 1.5}, "whole_ratio .* in .0, 1., not 1.5"),
        ({"whole_ratio": math.nan}, "whole_ratio .* in .0, 1., not nan"),
        ({"reconstructor_params": {"n_tokens": 4}}, "mlp.* no reconstructor_params.*n_tokens"),
        ({"reconstructor": "tokens", "reconstructor_params": {"n_token": 4}}, "mean 'n_tokens'"),
        ({"reconstructor": "tokens", "reconstructor_params": {"n_tokens": 3}}, "divide the 16"),
        (
            {"reconstructor": "tokens", "reconstructor_params": {"n_tokens": 16}},
            "chunks of 2 or more",
        ),
        ({"reconstructor": "tokens", "reconstructor_params": {"n_heads": 3}}, "3 heads"),
        ({"reconstructor": "tokens", "hidden": 6}, "4 heads .* hidden = 6"),
        (
            {"reconstructor": "tokens", "reconstructor_params": {"tokens": "bytes"}},
            "tokens .* one of",
        ),
    ],
)
def test_bad_input(params, expected):
    with pytest.raises(UsageError, match=expected) as caught:
        MaskedReconstruction(16, **params)
    assert "\n" not in str(caught.value)
