"""Similarities as a transport plan in which no candidate is used more than its share (Cuturi 2013)."""

from __future__ import annotations

import numpy as np

TEMPERATURE = 0.05
ITERATIONS = 1000
TOLERANCE = 1e-9


def sinkhorn(
    similarity: np.ndarray, temperature: float = TEMPERATURE, iterations: int = ITERATIONS
) -> np.ndarray:
    """Logarithm of the plan whose rows sum to 1 and whose columns sum to q / g.

    The plan is ``exp(similarity / temperature)`` with rows and columns scaled in turn (arXiv:1306.0895,
    algorithm 1), in logarithms, until no sum of a row changes by more than a billionth.

    **Transductive**: it uses that every test image is asked for equally often, which nobody knows of a single
    brain response, and the answer to one query depends on all others.

    Parameters
    ----------
    similarity : ndarray, shape (q, g)
        Cosines.
    temperature : float
        The smaller, the nearer to the best assignment of one candidate to each query.
    iterations : int
        At most.

    Returns
    -------
    ndarray, shape (q, g)
    """
    from scipy.special import logsumexp

    n_queries, n_gallery = similarity.shape
    plan = np.asarray(similarity, dtype=np.float64) / temperature
    plan = plan - logsumexp(plan, axis=1, keepdims=True)
    share = np.log(n_queries / n_gallery)
    for _ in range(iterations):
        plan = plan + share - logsumexp(plan, axis=0, keepdims=True)
        rows = logsumexp(plan, axis=1, keepdims=True)
        plan = plan - rows
        if np.abs(np.expm1(rows)).max() < TOLERANCE:
            break
    return plan
