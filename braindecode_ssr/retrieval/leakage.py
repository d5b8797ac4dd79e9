"""The guard of zero-shot: no test concept, no test image among the training ones."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import LeakageError


def check_disjoint(train: Iterable[str], test: Iterable[str], source: str) -> None:
    """Raise if a name of the test split occurs in the training split.

    Parameters
    ----------
    train, test : iterable of str
        Concepts, or image ids, of the two splits.
    source : str
        Where they come from, for the message.

    Raises
    ------
    LeakageError
        If the two have a name in common.
    """
    shared = sorted(set(train) & set(test))
    if shared:
        raise LeakageError(
            "no test concept or image in the training split",
            f"{len(shared)} in both, the first {shared[0]!r}, in {source}",
            "remove them from the training split: zero-shot retrieval needs unseen concepts",
        )
