import copy

import plain_encoders as plain
import pytest
import torch
from random_batches import random_batch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.losses import Contrast, SemanticSwap
from braindecode_ssr.losses.semantic_swap import CLUB

unit = torch.nn.functional.normalize
PUBLIC = [(4.273755, 0.070108), (4.228679, 0.072502), (4.072263, 0.002757)]  # swap, information


def build(**params):
    torch.manual_seed(0)
    return SemanticSwap(6, 4, 3, domain=5, hidden=7, **{"steps": 2, **params}).double()


def batch_of(seed, rows=5):
    """Embeddings of width 6, features of width 4 and outputs of a backbone of width 3."""
    features, hidden = (random_batch(seed + 100, rows, width)[0] for width in (4, 3))
    return *random_batch(seed, rows, 6), None, features, hidden


def perceptron(net, x):
    first, second = net[0], net[-1]
    hidden = x @ first.weight.T + first.bias
    hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    return hidden @ second.weight.T + second.bias


def test_parts_from_their_definitions():
    loss, batch = build(information=0.3, swap=2.0).eval(), batch_of(0)
    brain, original, view, _, features, hidden = batch
    parts = loss(*batch)
    assert list(parts) == ["loss", "brain_original", "swap", "information"]
    b, o = unit(brain), unit(original)
    swap = information = 0.0
    for side, own, other, made in (("brain", b, o, hidden), ("image", o, b, features)):
        domain = unit(perceptron(loss.domains[side], made))
        rebuilt = perceptron(loss.decoders[side], torch.cat([domain, other], 1))
        swap += sum(((rebuilt[i] - unit(made)[i]) ** 2).sum().item() for i in range(5)) / 5
        mean, log_variance = loss.clubs[side](domain)
        normal = torch.distributions.Normal(mean, (log_variance / 2).exp())
        own_density = normal.log_prob(own).sum(1)
        every = torch.stack([normal.log_prob(own[j].expand_as(mean)).sum(1) for j in range(5)])
        information += (own_density - every.mean(0)).mean()
    assert parts["swap"].item() == pytest.approx(swap, rel=1e-9)
    torch.testing.assert_close(parts["information"], information)
    contrast = Contrast(regime="unit").double()(brain, original, view)["loss"]
    torch.testing.assert_close(parts["brain_original"], contrast)
    torch.testing.assert_close(parts["loss"], contrast + 0.3 * information + 2 * swap)


def test_the_numbers_of_the_public_code():
    """Cross-Modal-EEG 80aeb02, utils/loops_decouple.py, with the same weights and three batches.

    Of its optimizers, only those of the mutual information run, 10 steps on each batch at a rate of 1e-3; the
    bound is that of its class CLUB, over all pairs.
    """
    loss = SemanticSwap(8, 10, 12, domain=6, hidden=7, club_lr=1e-3)
    loss.clubs = torch.nn.ModuleDict({side: CLUB(6, 8, 9) for side in ("brain", "image")})
    loss.optimizer = torch.optim.AdamW(loss.clubs.parameters(), 1e-3, betas=(0.5, 0.999))
    plain.made_up(loss, (1,))
    for number, (swap, information) in enumerate(PUBLIC):
        batch = [plain.noise((16, n), 50 + n + 7 * number) for n in (8, 9, 8, 10, 12)]
        brain, original, view, features, hidden = batch[0], batch[1][:, :8], *batch[2:]
        with torch.no_grad():
            parts = loss(brain, original, view, None, features, hidden)
        assert parts["swap"].item() == pytest.approx(swap, abs=1e-5)
        assert parts["information"].item() == pytest.approx(information, abs=1e-5)


def test_the_networks_of_the_bound_have_an_optimizer_of_their_own():
    """It is saved with the loss; nothing else moves them, and testing does not."""
    loss, batch = build(), batch_of(7)
    before = [weight.clone() for weight in loss.clubs.parameters()]
    loss(*batch)["loss"].backward()
    assert not any(map(torch.equal, before, loss.clubs.parameters()))
    assert all(weight.grad is None for weight in loss.clubs.parameters())
    again = build()
    again.load_state_dict(copy.deepcopy(loss.state_dict()))
    for each in (loss, again):
        each(*batch)
    assert all(map(torch.equal, loss.clubs.parameters(), again.clubs.parameters()))
    after = [weight.clone() for weight in loss.clubs.parameters()]
    loss.eval()(*batch)
    assert all(map(torch.equal, after, loss.clubs.parameters()))


def test_each_modality_is_rebuilt_with_the_meaning_of_the_other():
    loss, (brain, original, *rest) = build(contrast=0.0, information=0.0), batch_of(1)
    for part in (brain, original):
        part.requires_grad_()
    before = loss(brain, original, *rest)["swap"]
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(before, (brain, original)))
    assert before != loss(brain, original.flip(0), *rest)["swap"]
    assert before != loss(brain.flip(0), original, *rest)["swap"]


def test_order_and_lengths_do_not_matter():
    loss, batch, order = build().eval(), batch_of(2, 6), torch.randperm(6)
    mixed = [part if part is None else part[order] for part in batch]
    one, other = loss(*batch), loss(*(3 * part for part in mixed[:3]), *mixed[3:])
    for name in one:
        torch.testing.assert_close(one[name], other[name], msg=name)


def test_gradient_numerically():
    """The targets of the swap are detached: it is left out of what is differentiated numerically."""
    loss, (brain, *rest, hidden) = build(swap=0.0).eval(), batch_of(3, 4)
    brain.requires_grad_(), hidden.requires_grad_()

    def what_moves_the_encoder(x, made):
        return loss(x, *rest, made)["loss"]

    assert torch.autograd.gradcheck(what_moves_the_encoder, (brain, hidden))


def test_the_target_of_the_swap_is_detached():
    loss = build(contrast=0.0, information=0.0)
    for net in (*loss.domains.values(), *loss.decoders.values()):
        for parameter in net.parameters():
            parameter.data.zero_()
    batch = [part if part is None else part.requires_grad_() for part in batch_of(4)]
    parts = loss(*batch)
    assert parts["swap"].item() == pytest.approx(2.0)  # nothing against vectors of length 1, twice
    made = torch.autograd.grad(parts["loss"], batch[4:])
    assert all(gradient.abs().sum() == 0 for gradient in made)


@pytest.mark.parametrize(
    "weights, parts, modules",
    [
        ({"information": 0.0}, ["brain_original", "swap"], {"domains", "decoders"}),
        ({"swap": 0.0}, ["brain_original", "information"], {"domains", "clubs"}),
        ({"information": 0.0, "swap": 0.0}, ["brain_original"], set()),
        ({"contrast": 0.0, "information": 0.0}, ["swap"], {"domains", "decoders"}),
    ],
)
def test_parts_of_weight_zero_are_gone_with_their_parameters(weights, parts, modules):
    loss = build(**weights)
    assert list(loss(*batch_of(5, 4)))[1:] == parts
    names = {name.split(".")[0] for name, _ in loss.named_parameters()}
    assert names - {"similarity"} == modules


def test_targets_and_bad_input():
    batch = batch_of(6, 4)
    with pytest.raises(UsageError, match="got embeddings only.*features= and hidden="):
        build()(*batch[:3])
    assert "brain_view" in build(target="view")(*batch)
    assert build(target="view")(*batch)["swap"] != build()(*batch)["swap"]
    with pytest.raises(UsageError, match="all 0"):
        build(contrast=0, information=0, swap=0)
    with pytest.raises(UsageError, match="information .* in .0, inf"):
        build(information=-1)
    with pytest.raises(UsageError, match="target .* one of"):
        build(target="text")
