import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment, minimize

from braindecode_ssr.retrieval.ranks import sinkhorn


def slow(similarity, temperature, sweeps=2000):
    """Rows and columns scaled in turn, without logarithms, by plain loops."""
    plan = np.exp(similarity / temperature)
    n_queries, n_gallery = plan.shape
    for _ in range(sweeps):
        for j in range(n_gallery):
            plan[:, j] *= n_queries / n_gallery / sum(plan[:, j])
        for i in range(n_queries):
            plan[i] /= sum(plan[i])
    return plan


@pytest.mark.parametrize("shape", [(6, 6), (4, 7), (7, 4), (1, 3)])
@pytest.mark.parametrize("temperature", [0.2, 0.5])
def test_it_is_scaling_by_loops(shape, temperature):
    similarity = np.random.default_rng(0).uniform(-1, 1, size=shape)
    plan = np.exp(sinkhorn(similarity, temperature))
    np.testing.assert_allclose(plan, slow(similarity, temperature), atol=1e-7)
    np.testing.assert_allclose(plan.sum(axis=1), 1)
    np.testing.assert_allclose(plan.sum(axis=0), shape[0] / shape[1], rtol=1e-6)


def test_it_solves_the_regularized_transport_problem():
    """The dual, minimised by scipy, gives the same plan."""
    similarity, temperature = np.random.default_rng(3).uniform(-1, 1, size=(4, 5)), 0.3
    columns = np.full(5, 4 / 5)

    def plan_of(potentials):
        return np.exp((similarity + potentials[:4, None] + potentials[None, 4:]) / temperature)

    def dual(potentials):
        plan = plan_of(potentials)
        gradient = np.concatenate([plan.sum(axis=1) - 1, plan.sum(axis=0) - columns])
        value = temperature * plan.sum() - potentials[:4].sum() - potentials[4:] @ columns
        return value, gradient

    best = minimize(dual, np.zeros(9), jac=True, method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(
        np.exp(sinkhorn(similarity, temperature)), plan_of(best.x), atol=1e-5
    )


def test_when_it_is_cold_it_is_the_best_assignment():
    similarity = np.random.default_rng(4).uniform(-1, 1, size=(8, 8))
    assigned = linear_sum_assignment(similarity, maximize=True)[1]
    assert sinkhorn(similarity, 0.01).argmax(axis=1).tolist() == assigned.tolist()


def test_equal_candidates_stay_equal():
    similarity = np.random.default_rng(6).uniform(-1, 1, size=(9, 9))
    similarity[:, 4] = similarity[:, 2]
    plan = sinkhorn(similarity)
    assert np.isfinite(plan).all() and (plan[:, 4] == plan[:, 2]).all()
