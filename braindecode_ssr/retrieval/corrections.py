"""What is done with the similarities of all queries together before they are ranked.

Every correction but ``"none"`` is transductive: it looks at all test queries at once. The default is none.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..registry import unknown_name
from .csls import csls
from .hungarian import hungarian
from .sinkhorn import sinkhorn

CORRECTIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "none": lambda similarity, targets: similarity,
    "csls": lambda similarity, targets: csls(similarity),
    "hungarian": hungarian,
    "sinkhorn": lambda similarity, targets: sinkhorn(similarity),
}
"""Name to a function of similarities (q, g) and the columns of the own images (q,)."""


def correct(similarity: np.ndarray, targets: np.ndarray, correction: str = "none") -> np.ndarray:
    """Similarities as they are to be ranked, shape (q, g).

    Raises
    ------
    UsageError
        If there is no correction of that name.
    """
    if correction not in CORRECTIONS:
        raise unknown_name("correction", correction, list(CORRECTIONS))
    return CORRECTIONS[correction](similarity, targets)
