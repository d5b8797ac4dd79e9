import math
import pickle

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from braindecode_ssr.errors import UsageError
from braindecode_ssr.losses import Similarity, symmetric_info_nce
from braindecode_ssr.losses.base import REGIMES

LEARNED = ["free-learned", "raw-learned", "unit"]
PUBLISHED = {
    "free": 2.727,
    "free-learned": 2.727,
    "raw": 2.659,
    "raw-learned": 2.659,
    "unit": 14.286,
    "unit-fixed": 14.286,
}


def test_every_regime_starts_at_its_published_scale():
    assert set(PUBLISHED) == set(REGIMES)
    for regime, scale in PUBLISHED.items():
        assert torch.as_tensor(Similarity(regime).scale()).item() == pytest.approx(scale, abs=5e-4)
        assert bool(list(Similarity(regime).parameters())) is (regime in LEARNED)
    assert Similarity("free").scale() == pytest.approx(math.log(1 + 1 / 0.07), rel=1e-12)


@pytest.mark.parametrize("regime", list(REGIMES))
def test_which_lengths_matter(regime):
    similarity, (x, y) = Similarity(regime), torch.randn(2, 5, 4)
    first, second, _ = similarity(3 * x, 3 * y)
    wanted = x / x.norm(dim=1, keepdim=True) if regime.startswith("unit") else 3 * x
    torch.testing.assert_close(first, wanted)
    torch.testing.assert_close(second, y / y.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("start, bound", [(500.0, 100.0), (-50.0, 1.0)])
@pytest.mark.parametrize("regime", LEARNED)
def test_a_learned_scale_stays_in_bounds_and_comes_back(regime, start, bound):
    similarity = Similarity(regime)
    with torch.no_grad():
        similarity.raw_scale.fill_(start)
    x, y = torch.randn(2, 8, 4)
    assert similarity.scale().item() == pytest.approx(bound, rel=1e-5)
    symmetric_info_nce(*similarity(x, y)).backward()
    assert similarity.raw_scale.grad.abs() > 0


@pytest.mark.parametrize("regime", list(REGIMES))
def test_a_custom_scale(regime):
    assert torch.as_tensor(Similarity(regime, scale=5.0).scale()).item() == pytest.approx(5.0)


@pytest.mark.parametrize("scale", [0.0, -1.0, 0.99, 101.0, math.nan, math.inf])
def test_a_scale_that_makes_no_sense(scale):
    with pytest.raises(UsageError, match="scale .* in .1, 100."):
        Similarity(scale=scale)


@pytest.mark.parametrize("regime", LEARNED)
def test_several_pairs_share_one_learned_scale(regime):
    """The scale is clamped in place before each pair: backward must still find what it saved."""
    similarity, batch = Similarity(regime), torch.randn(3, 4, 6, requires_grad=True)
    pairs = [(0, 1), (0, 2), (1, 2)]
    sum(symmetric_info_nce(*similarity(batch[i], batch[j])) for i, j in pairs).backward()
    assert similarity.raw_scale.grad.abs() > 0


@pytest.mark.parametrize("regime", list(REGIMES))
def test_pickled_and_back(regime):
    similarity, (x, y) = Similarity(regime, scale=3.0), torch.randn(2, 4, 6)
    again = pickle.loads(pickle.dumps(similarity))
    assert all(map(torch.equal, again(x, y)[:2], similarity(x, y)[:2]))
    assert torch.equal(*(torch.as_tensor(part.scale()) for part in (again, similarity)))


@given(st.floats(1.0, 100.0), st.sampled_from(sorted(REGIMES)))
@settings(max_examples=30)
def test_inverse_undoes_function(scale, regime):
    rule = REGIMES[regime]
    number = torch.tensor(rule.inverse(scale), dtype=torch.float64)
    assert rule.function(number).item() == pytest.approx(scale, rel=1e-9)
