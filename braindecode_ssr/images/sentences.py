"""Features of sentences: which encoders read, what stands in where none does, one vector per image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from ..files import sha256
from .encoders import parts_of, reads_text
from .store import FeatureStore
from .tables import WORDS
from .views import View, is_text, view_name

if TYPE_CHECKING:
    from .encoders.base import ImageEncoder

READER = "RN50/openai"


def check_reads(encoder: str | ImageEncoder, view: str) -> None:
    """Raise unless an encoder, or that of a name, reads sentences.

    Raises
    ------
    UsageError
        If it looks at images only.
    """
    named = isinstance(encoder, str)
    if reads_text(encoder) if named else hasattr(encoder, "encode_text"):
        return
    raise UsageError(
        f"an encoder that reads sentences, for the view {view}",
        f"{encoder if named else encoder.name}, which looks at images only",
        f"choose the output of a model of open_clip, such as --encoder {READER}",
    )


def text_or_original(
    views: tuple[str, ...], encoder: str, store: FeatureStore, other: str = ""
) -> tuple[tuple[str, ...], list[str]]:
    """Views with originals in place of text, where an encoder has no features of it and can make none.

    Parameters
    ----------
    views : tuple of str
        Those wanted.
    encoder : str
        Its name, or the names of several with ``+`` between them.
    store : FeatureStore
        Where its features are.
    other : str
        An encoder to suggest, if it reads sentences.

    Returns
    -------
    views : tuple of str
        Those to be had.
    notes : list of str
        What was replaced, and which command brings it.
    """
    lacking = {view: _who_lacks(view, encoder, store) for view in views if is_text(view)}
    kept = tuple(dict.fromkeys("original" if lacking.get(view) else view for view in views))
    if kept == views:
        return views, []
    view, name = next((view, names[0]) for view, names in lacking.items() if names)
    why, how = "reads no sentences", store.how_to_extract(_reader(other), view)
    if store.imported(name):
        why, how = "was imported without them", store.how_to_import(name, view)
    return kept, [
        f"views {', '.join(kept)} instead of {', '.join(views)}: {name} {why}; this brings them: {how}"
    ]


def _who_lacks(view: str, encoder: str, store: FeatureStore) -> list[str]:
    """Those, of one encoder or of several side by side, that have no features of text and can make none."""
    return [
        name
        for name in parts_of(encoder)
        if view_name(view) not in store.views(name)
        and (not reads_text(name) or store.imported(name))
    ]


def fingerprint_in(encoder: ImageEncoder, view: View) -> str:
    """The fingerprint of an encoder's features in a view: of words, with what it reads them with."""
    if not view.of_words:
        return encoder.fingerprint
    text = json.dumps(_of_text(encoder), sort_keys=True)
    return encoder.fingerprint + WORDS + sha256(text)


def details_in(encoder: ImageEncoder, view: View) -> dict[str, Any]:
    """What an encoder's features in a view depend on."""
    details = getattr(encoder, "description", dict)()
    return {**details, **_of_text(encoder)} if view.of_words else details


def read_sentences(encoder: ImageEncoder, view: View, concepts: Sequence[str]) -> np.ndarray:
    """Features of the sentences about concepts; each sentence is read once.

    Parameters
    ----------
    encoder : ImageEncoder
    view : View
        One of words.
    concepts : sequence of str, length n

    Returns
    -------
    ndarray of float32, shape (n, d)
    """
    sentences = view.sentences(concepts)
    rows = {sentence: row for row, sentence in enumerate(dict.fromkeys(sentences))}
    features = np.asarray(encoder.encode_text(list(rows)).float().cpu())
    return features[[rows[sentence] for sentence in sentences]]


def _reader(encoder: str) -> str:
    readers = filter(reads_text, parts_of(encoder))
    return next(readers, READER).removeprefix("open-clip:")


def _of_text(encoder: ImageEncoder) -> dict[str, Any]:
    return getattr(encoder, "text_description", dict)()
