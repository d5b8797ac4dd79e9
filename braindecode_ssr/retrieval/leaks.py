"""The flags that a number carries when it was not obtained in the default way."""

from __future__ import annotations

from collections.abc import Iterable

from ..config import EvaluationSpec
from ..registry import unknown_name

LEAKS = {
    "test-selection": "the epoch, layer or setting was chosen on the test itself",
    "test-images": "test images, though not the tested trials, had a part in training or in a choice",
    "altered-gallery": "the candidates are altered copies of the test images, not the images that were seen",
    "class-templates": "the candidates are means of other images of a concept, not the images that were seen",
    "transductive": "all test queries were looked at together: the answer to one depends on the others",
    "oracle-union": "a hit of any of several modalities counts as a hit",
    "fewer-candidates": "each query is ranked among a part of the test images only",
    "test-in-whitening": "their authors whitened these files with the noise of training and test trials",
    "pretrained-elsewhere": "the backbone was pretrained on recordings that may show the tested concepts",
}
"""Word to what a reader must know. A row of a table with any of them is no peer of one without."""


def leaks_of(evaluation: EvaluationSpec) -> tuple[str, ...]:
    """The words that an evaluation deserves, whatever its name says, in the order of ``LEAKS``.

    Parameters
    ----------
    evaluation : EvaluationSpec
        Repetitions are no leak: fewer make the test harder.
    """
    true = {
        "test-selection": evaluation.selection == "oracle",
        "altered-gallery": evaluation.gallery == "views",
        "class-templates": evaluation.gallery == "concept",
        "transductive": evaluation.correction != "none",
        "fewer-candidates": evaluation.n_way is not None,
    }
    return tuple(word for word in LEAKS if true.get(word))


def checked_leaks(words: Iterable[str]) -> tuple[str, ...]:
    """The words once each, in the order of ``LEAKS``.

    Raises
    ------
    UsageError
        If one is not among them.
    """
    words = set(words)
    unknown = sorted(words - set(LEAKS))
    if unknown:
        raise unknown_name("flag of a protocol", unknown[0], list(LEAKS))
    return tuple(word for word in LEAKS if word in words)
