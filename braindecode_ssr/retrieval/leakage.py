"""The guard of zero-shot: no test concept, no test image among the training ones."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

from ..errors import LeakageError


def folded(concept: str) -> str:
    """A concept's name without what is mere spelling: two concepts of equal folded names are one.

    Case, Unicode form, ``_``, hyphens and spaces, and the five digits before THINGS' folder names do not
    count. The digit by which THINGS tells homonyms apart (``bat1``, ``bat2``) does.

    Examples
    --------
    >>> folded("Hot_Dog") == folded("00012_hot-dog"), folded("bat1") == folded("bat2")
    (True, False)
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", concept).casefold())
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    text = re.sub(r"[\s_\-\u2010-\u2015\u2212]+", " ", text).strip()
    text = re.sub(r"^\d{5} ", "", text)
    return re.sub(r"(?<=[^\W\d]) (?=\d+$)", "", text)


def check_disjoint(
    train: Iterable[str],
    test: Iterable[str],
    source: str,
    alike: Callable[[str], str] = folded,
) -> None:
    """Raise if a name of the test split occurs in the training split.

    Parameters
    ----------
    train, test : iterable of str
        Concepts, or image ids, of the two splits.
    source : str
        Where they come from, for the message.
    alike : callable
        Two names are the same if this gives the same of them; ``str`` for image ids.

    Raises
    ------
    LeakageError
        If the two have a name in common.
    """
    tested = {alike(name): name for name in sorted(set(test))}
    shared = sorted((name, tested[alike(name)]) for name in set(train) if alike(name) in tested)
    if shared:
        name, other = shared[0]
        spelled = "" if name == other else f", there as {other!r}"
        raise LeakageError(
            f"{name!r} is in the training split and in the test split{spelled}; {len(shared)} such names "
            f"in {source}",
            "remove them from the training split: zero-shot retrieval needs unseen concepts",
        )


def check_contents(pairs: Iterable[tuple[str, str]], what: str, source: str) -> None:
    """Raise if there is a training image with the content of a test image.

    Parameters
    ----------
    pairs : iterable of (str, str)
        Image ids: of training, of the test.
    what : str
        What they have in common.
    source : str
        Where they come from, for the message.

    Raises
    ------
    LeakageError
        Names the first pair.
    """
    pairs = list(pairs)
    if pairs:
        raise LeakageError(
            f"the training image {pairs[0][0]!r} and the test image {pairs[0][1]!r} have {what} "
            f"({len(pairs)} such pairs in {source})",
            "leave one of the two out of the study, or correct the file that is wrong; zero-shot retrieval "
            "needs unseen images",
        )
