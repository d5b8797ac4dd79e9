import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch.distributions import Laplace, Normal, kl_divergence

from braindecode_ssr.losses.base import log_gaussian
from braindecode_ssr.losses.bravl import (
    cubo,
    divergence,
    draw,
    log_likelihood,
    product_of_experts,
    subset_products,
    subsets,
)


def gaussians(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, dtype=torch.float64, generator=generator)


def normal(mean, log_variance):
    return Normal(mean, (log_variance / 2).exp())


many = st.builds(
    gaussians, st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 5), st.integers(1, 6)
)


@given(many)
def test_the_product_is_the_product_of_densities_up_to_a_constant(experts):
    joint, z = product_of_experts(*experts), gaussians(0, 7, *experts.shape[2:])[0]
    apart = normal(*experts).log_prob(z[:, None]).sum(1) - normal(*joint).log_prob(z)
    torch.testing.assert_close(apart, apart[:1].expand_as(apart))


def test_one_expert_is_its_own_product_and_a_sure_one_wins():
    (mean, log_variance) = gaussians(1, 1, 3, 4)
    alone = product_of_experts(mean, log_variance)
    torch.testing.assert_close(alone, (mean[0], log_variance[0]))
    means = torch.tensor([[1.0], [5.0]])
    joint, _ = product_of_experts(means, torch.tensor([[0.0], [-200.0]]))
    assert joint.item() == 5.0


def test_two_experts_by_hand():
    mean, log_variance = product_of_experts(
        torch.tensor([0.0, 6.0]), torch.tensor([1.0, 0.5]).log()
    )
    assert mean.item() == pytest.approx(4.0) and log_variance.exp().item() == pytest.approx(1 / 3)


def test_subsets_are_all_but_the_empty_one():
    assert subsets(2) == [[0], [1], [0, 1]]
    assert subsets(3) == [[0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2]]


def test_products_of_subsets_element_by_element():
    mean, log_variance = experts = gaussians(2, 3, 2, 4)
    found = subset_products(*experts)
    assert found[0].shape == (7, 2, 4)
    for number, members in enumerate(subsets(3)):
        for row in range(2):
            for e in range(4):
                precision = [math.exp(-log_variance[k, row, e]) for k in members]
                weighted = sum(p * mean[k, row, e] for p, k in zip(precision, members, strict=True))
                total = sum(precision) + (len(members) == 3)  # the prior beside all of them
                assert found[0][number, row, e].item() == pytest.approx((weighted / total).item())
                assert found[1][number, row, e].exp().item() == pytest.approx(1 / total)


@given(many)
def test_divergence_is_that_of_torch(experts):
    prior = Normal(torch.zeros_like(experts[0]), torch.ones_like(experts[0]))
    wanted = kl_divergence(normal(*experts), prior).sum(-1)
    torch.testing.assert_close(divergence(*experts), wanted)
    assert (divergence(*experts) >= 0).all()


@pytest.mark.parametrize(("name", "of"), [("laplace", Laplace), ("normal", Normal)])
def test_likelihoods_are_those_of_torch(name, of):
    x, center = gaussians(3, 4, 5)
    wanted = of(center, 0.75).log_prob(x).sum(-1)
    torch.testing.assert_close(log_likelihood(x, center, 0.75, name), wanted)
    torch.testing.assert_close(log_gaussian(x, center, x), normal(center, x).log_prob(x).sum(-1))


def test_draws_have_mean_and_variance_and_pass_gradients_on():
    torch.manual_seed(0)
    mean, log_variance = torch.tensor([1.0, -2.0]), torch.tensor([0.0, 1.0])
    many = draw(mean.expand(20000, 2), log_variance.expand(20000, 2))
    torch.testing.assert_close(many.mean(0), mean, atol=0.05, rtol=0)
    torch.testing.assert_close(many.var(0), log_variance.exp(), atol=0.1, rtol=0)
    leaf = log_variance.clone().requires_grad_()
    assert torch.autograd.grad(draw(mean, leaf).sum(), leaf)[0].abs().sum() > 0


@given(st.integers(0, 2**31), st.integers(1, 8), st.floats(0.1, 100))
def test_cubo_by_its_definition(seed, samples, spread):
    log_weight = spread * gaussians(seed, samples, 3)[0]
    for row, found in zip(log_weight.T.tolist(), cubo(log_weight).tolist(), strict=True):
        top = max(row)
        mean = sum(math.exp(2 * (one - top)) for one in row) / samples
        assert found == pytest.approx(top + math.log(mean) / 2, rel=1e-9, abs=1e-9)


def test_cubo_bounds_the_evidence_from_above():
    """x = z + noise, both standard normal, seen through a q that is not the posterior."""
    torch.manual_seed(0)
    x, one = torch.tensor([0.7], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    q = (0.2 + one, one)
    z = draw(q[0].expand(200000, 1), q[1].expand(200000, 1))
    log_weight = log_gaussian(z, one, one) + log_gaussian(x, z, one) - log_gaussian(z, *q)
    evidence = Normal(0.0, math.sqrt(2)).log_prob(x).item()
    assert log_weight.mean() < evidence - 0.01 and cubo(log_weight) > evidence + 0.01


def test_weights_that_are_lost_get_no_gradient():
    log_weight = torch.tensor([0.0, -3.0, -60.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(cubo(log_weight[:, None]).sum(), log_weight)
    assert gradient[0] > gradient[1] > 0 and gradient[2] == 0
