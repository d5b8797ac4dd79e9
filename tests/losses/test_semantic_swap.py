import pytest
import torch
from random_batches import random_batch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.losses import Contrast, SemanticSwap

unit = torch.nn.functional.normalize
PARTS = ["brain_original", "information", "swap", "surprise"]


def build(**params):
    torch.manual_seed(0)
    return SemanticSwap(6, domain=5, hidden=7, **params).double()


def perceptron(net, x):
    first, second = net[0], net[-1]
    hidden = x @ first.weight.T + first.bias
    hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    return hidden @ second.weight.T + second.bias


def test_parts_from_their_definitions():
    loss, (brain, original, view) = build(information=0.3, swap=2.0), random_batch(0, 5, 6)
    parts = loss(brain, original, view)
    assert list(parts) == ["loss", "brain_original", "swap", "information", "surprise"]
    b, o = unit(brain), unit(original)
    swap = information = surprise = 0.0
    for side, own, other in (("brain", b, o), ("image", o, b)):
        domain = unit(perceptron(loss.domains[side], own))
        rebuilt = perceptron(loss.decoders[side], torch.cat([domain, other], 1))
        swap += sum(((rebuilt[i] - own[i]) ** 2).sum().item() for i in range(5)) / 5
        mean, log_variance = loss.clubs[side](domain)
        normal = torch.distributions.Normal(mean, (log_variance / 2).exp())
        own_density = normal.log_prob(own).sum(1)
        every = torch.stack([normal.log_prob(own[j].expand_as(mean)).sum(1) for j in range(5)])
        information += (own_density - every.mean(0)).mean()
        surprise -= own_density.mean() / 6
    assert parts["swap"].item() == pytest.approx(swap, rel=1e-9)
    torch.testing.assert_close(parts["information"], information)
    torch.testing.assert_close(parts["surprise"], surprise)
    contrast = Contrast(regime="unit").double()(brain, original, view)["loss"]
    torch.testing.assert_close(parts["brain_original"], contrast)
    torch.testing.assert_close(parts["loss"], contrast + 0.3 * information + 2 * swap + surprise)


def test_each_modality_is_rebuilt_with_the_meaning_of_the_other():
    loss, (brain, original, view) = build(), random_batch(1, 5, 6)
    original.requires_grad_()
    loss.domains["image"].requires_grad_(False)
    rebuilt_brain = loss.decoders["brain"](
        torch.cat([unit(loss.domains["brain"](unit(brain))), unit(original)], 1)
    )
    assert torch.autograd.grad(rebuilt_brain.sum(), original)[0].abs().sum() > 0
    before = loss(brain, original, view)["swap"]
    assert before != loss(brain, original.flip(0), view)["swap"]


def test_order_and_lengths_do_not_matter():
    loss, batch, order = build(), random_batch(2, 6, 6), torch.randperm(6)
    one, other = loss(*batch), loss(*(3 * batch[:, order]))
    for name in one:
        torch.testing.assert_close(one[name], other[name], msg=name)


def test_gradient_numerically():
    """The targets of the swap are detached: it is left out of what is differentiated numerically."""
    loss, (brain, original, view) = build(swap=0.0), random_batch(3, 4, 6)
    brain.requires_grad_()

    def what_moves_embeddings(x):
        parts = loss(x, original, view)
        return parts["loss"] - parts["surprise"]

    assert torch.autograd.gradcheck(what_moves_embeddings, (brain,))


def test_the_target_of_the_swap_is_detached():
    loss = build(contrast=0.0, information=0.0)
    for net in (*loss.domains.values(), *loss.decoders.values()):
        for parameter in net.parameters():
            parameter.data.zero_()
    batch = random_batch(4, 5, 6).requires_grad_()
    parts = loss(*batch)
    assert parts["swap"].item() == pytest.approx(2.0)  # nothing against vectors of length 1, twice
    assert torch.autograd.grad(parts["loss"], batch)[0].abs().sum() == 0


@pytest.mark.parametrize(
    "weights, parts, modules",
    [
        ({"information": 0.0}, ["brain_original", "swap"], {"domains", "decoders"}),
        ({"swap": 0.0}, ["brain_original", "information", "surprise"], {"domains", "clubs"}),
        ({"information": 0.0, "swap": 0.0}, ["brain_original"], set()),
        ({"contrast": 0.0, "information": 0.0}, ["swap"], {"domains", "decoders"}),
    ],
)
def test_parts_of_weight_zero_are_gone_with_their_parameters(weights, parts, modules):
    loss = build(**weights)
    assert list(loss(*random_batch(5, 4, 6)))[1:] == parts
    names = {name.split(".")[0] for name, _ in loss.named_parameters()}
    assert names - {"similarity"} == modules


def test_targets_and_bad_input():
    batch = random_batch(6, 4, 6)
    assert "brain_view" in build(target="view")(*batch)
    assert build(target="view")(*batch)["swap"] != build()(*batch)["swap"]
    with pytest.raises(UsageError, match="all 0"):
        build(contrast=0, information=0, swap=0)
    with pytest.raises(UsageError, match="information .* in .0, inf"):
        build(information=-1)
    with pytest.raises(UsageError, match="target .* one of"):
        build(target="text")
