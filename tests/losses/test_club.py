import math

import pytest
import torch
from hypothesis import given, settings
from random_batches import batches, random_batch

from braindecode_ssr.losses import CLUB, club_upper_bound
from braindecode_ssr.losses.base import log_gaussian


def log_density(y, mean, log_variance):
    return sum(
        -((a - m) ** 2) / (2 * math.exp(v)) - 0.5 * v - 0.5 * math.log(2 * math.pi)
        for a, m, v in zip(y.tolist(), mean.tolist(), log_variance.tolist(), strict=True)
    )


@given(batches)
@settings(max_examples=25)
def test_equals_the_definition(batch):
    y, mean, log_variance = batch
    rows, total = range(len(y)), 0.0
    for i in rows:
        own = log_density(y[i], mean[i], log_variance[i])
        total += own - sum(log_density(y[j], mean[i], log_variance[i]) for j in rows) / len(y)
        found = log_gaussian(y[i], mean[i], log_variance[i]).item()
        assert found == pytest.approx(own, rel=1e-9)
    bound = club_upper_bound(y, mean, log_variance).item()
    assert bound == pytest.approx(total / len(y), rel=1e-6, abs=1e-9)


def test_density_is_torch_s():
    y, mean, log_variance = random_batch(0, 4, 3)
    normal = torch.distributions.Normal(mean, (log_variance / 2).exp())
    torch.testing.assert_close(log_gaussian(y, mean, log_variance), normal.log_prob(y).sum(1))


@given(batches)
@settings(max_examples=15)
def test_zero_where_x_tells_nothing_and_order_does_not_matter(batch):
    y, mean, log_variance = batch
    nothing = club_upper_bound(y, mean[:1].expand_as(y), log_variance[:1].expand_as(y))
    assert nothing.item() == pytest.approx(0, abs=1e-8)
    order = torch.randperm(len(y))
    torch.testing.assert_close(
        club_upper_bound(*batch[:, order]), club_upper_bound(*batch), rtol=1e-7, atol=1e-9
    )


def test_gradients_numerically():
    inputs = tuple(part.requires_grad_() for part in random_batch(1, 4, 3).unbind())
    assert torch.autograd.gradcheck(club_upper_bound, inputs)
    net = CLUB(3, 3, hidden=5).double()
    x, y, _ = (part.detach().requires_grad_() for part in inputs)
    assert torch.autograd.gradcheck(net.bound, (x, y))


def test_what_moves_what():
    net = CLUB(4, 3, hidden=6)
    x, y = torch.randn(5, 4, requires_grad=True), torch.randn(5, 3, requires_grad=True)
    net.bound(x, y).backward()
    assert x.grad.abs().sum() > 0 and y.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in net.parameters())
    x.grad = y.grad = None
    net.negative_log_likelihood(x, y).backward()
    assert x.grad is None and y.grad is None
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.parameters())


def test_published_size():
    assert sum(p.numel() for p in CLUB(512, 512).parameters()) == 2_756_608  # 2.76 M


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_an_upper_bound_of_what_gaussians_share(correlation):
    """Against the closed form, -ln(1 - r^2) / 2 for each of 3 elements, on new samples."""
    torch.manual_seed(0)
    rest = math.sqrt(1 - correlation**2)

    def sample(n):
        x = torch.randn(n, 3)
        return x, correlation * x + rest * torch.randn(n, 3)

    net = CLUB(3, 3, hidden=16)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        net.negative_log_likelihood(*sample(256)).backward()
        optimizer.step()
    shared = -1.5 * math.log(1 - correlation**2)
    found = net.bound(*sample(5000)).item()
    wanted = 3 * correlation**2 / (1 - correlation**2)  # of the true conditional density, eq. 7
    assert found == pytest.approx(wanted, rel=0.2, abs=0.05)
    assert found > shared - 0.05
