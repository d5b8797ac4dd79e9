"""One candidate for each query, so that the sum of similarities is largest (Kuhn 1955)."""

from __future__ import annotations

import numpy as np

from .ranks import TIE


def hungarian(similarity: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Similarities with the candidate that is assigned to a query above all others.

    **Transductive**: it uses that every test image was shown and belongs to one query, which nobody knows of
    a single brain response, and it answers all queries together: an easy query takes its image away from a
    hard one.

    Parameters
    ----------
    similarity : ndarray, shape (q, g)
        Higher is nearer. With more queries than candidates, some get none.
    targets : ndarray of int, shape (q,)
        Column of each query's own image; used only to break ties *against* it, as everywhere: of assignments
        that are equally good the one with the fewest hits is taken.

    Returns
    -------
    ndarray, shape (q, g)
        As given, but the assigned candidate of a query is nearer than any other.
    """
    from scipy.optimize import linear_sum_assignment

    against = np.array(similarity, dtype=np.float64)
    against[np.arange(len(targets)), targets] -= TIE
    rows, columns = linear_sum_assignment(against, maximize=True)
    assigned = np.array(similarity, dtype=np.float64)
    assigned[rows, columns] = assigned.max() + 1
    return assigned
