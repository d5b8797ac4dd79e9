"""A sentence made of the concept's name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...errors import UsageError

PLACE = "{}"


def text(concepts: Sequence[str], *, template: str = "This picture is {}") -> list[str]:
    """A sentence about the image's concept, which the encoder reads instead of seeing the image.

    Parameters
    ----------
    concepts : sequence of str, length n
        The concept of each image.
    template : str
        The sentence, ``{}`` for the words of the concept. Published: that of ATM.

    Returns
    -------
    list of str, length n

    Raises
    ------
    UsageError
        If the template has no place for the concept, or more than one.

    References
    ----------
    ATM, arXiv 2403.07721; its public code writes names as folders have them.

    Examples
    --------
    >>> text(["aircraft_carrier", "baton4"])
    ['This picture is aircraft carrier', 'This picture is baton']
    """
    if template.count(PLACE) != 1:
        raise UsageError(
            f"a template with one {PLACE} for the words of the concept",
            repr(template),
            'write for example "text?template=a photo of a {}"',
        )
    return [template.replace(PLACE, concept_words(concept)) for concept in concepts]


def concept_words(concept: str) -> str:
    """The words of a concept's name.

    Underscores are spaces; the digit by which THINGS tells homonyms apart (``bat1``, ``bat2``) is not said.
    """
    return re.sub(r"(?<=[^\W\d_])_?\d$", "", concept).replace("_", " ").strip()
