"""Hyperbolic space against Minkowski algebra with all coordinates written out, in plain Python."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from braindecode_ssr.retrieval.hyperbolic import (
    CURVATURE,
    FARTHEST,
    distance,
    expmap0,
    geodesic,
    logmap0,
    pairwise_distance,
)


def time_part(point, c):
    return (1 / c + point.square().sum(-1)).sqrt()


def lorentz_inner(x, y, c):
    return (x * y).sum(-1) - time_part(x, c) * time_part(y, c)


def tangents(n, seed, length=1.5, width=5, dtype=torch.float64):
    """Vectors of random directions and of lengths up to ``length``."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, width, dtype=dtype, generator=generator)
    lengths = length * torch.rand(n, 1, dtype=dtype, generator=generator)
    return lengths * torch.nn.functional.normalize(rows, dim=-1)


def by_hand(tangent, c):
    """The point (time, space ...) as cosh(|u|) o + sinh(|u|) u / |u|, with o the origin, by coordinates."""
    length = math.sqrt(c * sum(value * value for value in tangent))
    factor = math.sinh(length) / length if length else 1.0
    return [math.cosh(length) / math.sqrt(c), *(factor * value for value in tangent)]


def minkowski(p, q):
    return -p[0] * q[0] + sum(a * b for a, b in zip(p[1:], q[1:], strict=True))


def slow_distance(p, q, c):
    return math.acosh(max(1.0, -c * minkowski(p, q))) / math.sqrt(c)


def slow_geodesic(p, q, share, c):
    """Along the unit tangent at p that points to q: what is left of q without its part along p."""
    along = [b + c * minkowski(p, q) * a for a, b in zip(p, q, strict=True)]
    length = math.sqrt(minkowski(along, along))
    angle = share * math.sqrt(c) * slow_distance(p, q, c)
    step = math.sinh(angle) / math.sqrt(c) / length
    return [math.cosh(angle) * a + step * b for a, b in zip(p, along, strict=True)]


seeds = st.integers(0, 2**31)
curvatures = st.sampled_from([CURVATURE, 0.3, 1.0, 4.0])


@given(seeds, curvatures)
@settings(max_examples=25)
def test_points_inner_products_and_distances_equal_the_algebra(seed, c):
    u, v = tangents(4, seed), tangents(3, seed + 1)
    x, y = expmap0(u, c), expmap0(v, c)
    p, q = ([by_hand(row, c) for row in rows.tolist()] for rows in (u, v))
    expected = torch.tensor(p, dtype=torch.float64)
    torch.testing.assert_close(time_part(x, c), expected[:, 0])
    torch.testing.assert_close(x, expected[:, 1:])
    inner = [minkowski(a, b) for a, b in zip(p, q, strict=False)]
    torch.testing.assert_close(lorentz_inner(x[:3], y, c).tolist(), inner)
    apart = [[slow_distance(a, b, c) for b in q] for a in p]
    torch.testing.assert_close(pairwise_distance(x, y, c).tolist(), apart)
    torch.testing.assert_close(distance(x[:3], y, c), pairwise_distance(x, y, c).diagonal())


@given(seeds, curvatures, st.floats(0, 1))
@settings(max_examples=25)
def test_geodesics_equal_the_algebra_and_are_walked_evenly(seed, c, share):
    x, y = (expmap0(tangents(3, seed + k), c) for k in (0, 1))
    point = geodesic(x, y, torch.full((3, 1), share, dtype=torch.float64), c)
    for a, b, found in zip(x, y, point, strict=True):
        ends = ([time_part(end, c).item(), *end.tolist()] for end in (a, b))
        torch.testing.assert_close(found.tolist(), slow_geodesic(*ends, share, c)[1:])
    whole = distance(x, y, c)
    torch.testing.assert_close(distance(x, point, c), share * whole, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(distance(point, y, c), (1 - share) * whole, atol=1e-5, rtol=1e-6)


@given(seeds, curvatures)
@settings(max_examples=25)
def test_it_is_a_space(seed, c):
    x, y, z = (expmap0(tangents(6, seed + k), c) for k in range(3))
    torch.testing.assert_close(lorentz_inner(x, x, c), torch.full_like(x[:, 0], -1 / c))
    torch.testing.assert_close(distance(x, y, c), distance(y, x, c))
    assert (distance(x, z, c) <= distance(x, y, c) + distance(y, z, c) + 1e-9).all()
    assert (distance(x, y, c) > 0).all() and (distance(x, x, c) < 1e-5).all()


@given(seeds, curvatures)
@settings(max_examples=25)
def test_a_tangent_vector_is_as_long_as_its_point_is_far_and_comes_back(seed, c):
    u = tangents(6, seed)
    x = expmap0(u, c)
    torch.testing.assert_close(distance(x, torch.zeros_like(x), c), u.norm(dim=1))
    torch.testing.assert_close(logmap0(x, c), u)


@given(seeds, curvatures)
@settings(max_examples=10)
def test_lengths_can_take_the_part_of_the_curvature(seed, c):
    """Why no run has a curvature of its own."""
    u, v = tangents(5, seed), tangents(5, seed + 1)
    one = distance(expmap0(c**0.5 * u, 1.0), expmap0(c**0.5 * v, 1.0), 1.0)
    torch.testing.assert_close(distance(expmap0(u, c), expmap0(v, c), c), one / c**0.5)


def test_it_is_flat_where_vectors_are_short_and_bends_towards_the_origin_where_they_are_long():
    u, v = 1e-3 * torch.eye(2, dtype=torch.float64)
    apart = distance(expmap0(u), expmap0(v))
    torch.testing.assert_close(apart, (u - v).norm(), rtol=1e-6, atol=0)
    far = expmap0(20 * torch.eye(2, dtype=torch.float64))
    middle = logmap0(geodesic(far[0], far[1], torch.tensor([0.5], dtype=torch.float64)))
    assert middle.norm() < 0.3 * 20 / 2**0.5  # that of the straight line is 20 / sqrt(2) away


def test_ends_and_coinciding_points():
    x, y = expmap0(tangents(4, 0)), expmap0(tangents(4, 1))
    nothing, all_of_it = torch.zeros(4, 1).double(), torch.ones(4, 1).double()
    torch.testing.assert_close(geodesic(x, y, nothing), x)
    torch.testing.assert_close(geodesic(x, y, all_of_it), y)
    torch.testing.assert_close(geodesic(x, x, 0.3 * all_of_it), x)
    assert torch.equal(geodesic(0 * x, 0 * x, 0.3 * all_of_it), 0 * x)


def test_gradients_numerically():
    u, v = tangents(3, 0).requires_grad_(), tangents(3, 1).requires_grad_()
    share = torch.rand(3, 1, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(expmap0, (u,))
    assert torch.autograd.gradcheck(logmap0, (u,))
    assert torch.autograd.gradcheck(distance, (u, v))
    assert torch.autograd.gradcheck(pairwise_distance, (u, v))
    assert torch.autograd.gradcheck(geodesic, (u, v, share))


def test_gradients_at_the_origin_are_those_of_the_map():
    zero = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    for function in (expmap0, logmap0):
        jacobian = torch.autograd.functional.jacobian(function, zero)[0, :, 0]
        torch.testing.assert_close(jacobian, torch.eye(3, dtype=torch.float64))
    away = torch.tensor([[0.0, 2.0, 0.0]], dtype=torch.float64)
    (slope,) = torch.autograd.grad(distance(zero, away).sum(), zero)
    torch.testing.assert_close(slope, torch.tensor([[0.0, -1.0, 0.0]], dtype=torch.float64))


LENGTHS = [0.0, 1e-30, 1e-12, 1e-6, 1e-3, 0.5, 20.0, 100.0, 1e4]


@pytest.mark.parametrize("turn", [0.0, 1e-4, 1.0, math.pi])
def test_float32_stays_finite(turn):
    lengths = torch.tensor(LENGTHS)
    direction = torch.tensor([math.cos(turn), math.sin(turn)])
    u = torch.stack([lengths, 0 * lengths], 1).repeat_interleave(len(LENGTHS), 0).requires_grad_()
    v = (lengths[:, None] * direction).repeat(len(LENGTHS), 1).requires_grad_()
    x, y = expmap0(u), expmap0(v)
    way = logmap0(geodesic(x, y, torch.full((len(u), 1), 0.3)))
    apart = pairwise_distance(x, y)
    assert way.isfinite().all() and apart.isfinite().all()
    for total in (way.sum(), apart.diagonal().sum(), distance(x, y).sum()):
        for slope in torch.autograd.grad(total, (u, v), retain_graph=True):
            assert slope.isfinite().all() and (slope.norm(dim=1) < 10).all()


@pytest.mark.parametrize("length", [1e-6, 1e-2, 1.0, 20.0, 60.0, 150.0])
def test_float32_keeps_lengths(length):
    u = torch.tensor([[0.6 * length, 0.8 * length]])
    torch.testing.assert_close(logmap0(expmap0(u)), u, rtol=1e-5, atol=0)
    if length >= 1e-2:
        zero = torch.zeros_like(u)
        torch.testing.assert_close(distance(expmap0(u), zero), u.norm(dim=1), rtol=1e-4, atol=0)


def test_what_is_too_far_is_brought_back_along_its_direction():
    far = expmap0(torch.tensor([[3e3, 4e3]]))
    limit = FARTHEST / CURVATURE**0.5
    torch.testing.assert_close(logmap0(far), limit * torch.tensor([[0.6, 0.8]]))


@pytest.mark.parametrize("apart", [0.1, 1.0])
def test_near_points_in_float32(apart):
    """acosh of an inner product rounded to float32 gives 0, or is off by a tenth."""
    u = torch.tensor([[1.0, 0.0], [1.0 + apart, 0.0]])
    found = distance(*expmap0(u)).item()
    assert found == pytest.approx(apart, rel=1e-3)
