"""Published numbers, to stand beside ours: whose, on what, obtained how."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from ..errors import UsageError
from ..labels import Label
from ..methods import METHODS
from ..methods.base import Method
from ..retrieval.leaks import LEAKS
from ..retrieval.protocols import protocol_of

STANDS_FOR = {"things-sim": "things-eeg"}
"""A simulated dataset to the recorded one that it imitates, whose published numbers are shown, named so."""


def method_of(name: str) -> Method | None:
    """A registered method; None if the runs are of one that is not known here."""
    return METHODS[name] if name in METHODS else None


def published_of(row: dict[str, Any]) -> dict[str, Any]:
    """What was published of a row's method on its dataset under its protocol.

    Parameters
    ----------
    row : dict
        With ``dataset``, ``protocol``, ``method``.

    Returns
    -------
    dict
        ``published_dataset``; ``published_top1, published_top5`` (fractions); ``published_seeds``;
        ``published_flags`` (joined by ``;``); ``published_source``. Empty where nothing was published.
    """
    method = method_of(row["method"])
    dataset = STANDS_FOR.get(row["dataset"], row["dataset"])
    numbers = method.published.get(dataset, {}).get(row["protocol"]) if method else None
    if numbers is None:
        return {}
    return {
        "published_dataset": dataset,
        "published_top1": numbers[0] / 100,
        "published_top5": numbers[1] / 100,
        "published_seeds": method.seeds,
        "published_flags": ";".join(published_flags(method)),
        "published_source": f"{method.title}, {method.venue}: {method.source}"
        if method.venue
        else method.source,
    }


def published_flags(method: Method) -> tuple[str, ...]:
    """What a reader of a method's published numbers must know, in words of ``LEAKS``."""
    return protocol_of("as-published", method).flags


def published_for(subjects: Iterable[Label], values: tuple[float, ...]) -> bool:
    """Whether there is a published value of each subject."""
    return all(isinstance(subject, int) and 0 < subject <= len(values) for subject in subjects)


def published_subjects(row: dict[str, Any], metric: str) -> tuple[float, ...]:
    """Published accuracies of each subject, as fractions; empty where they are not known.

    Only of the dataset itself: subjects of a simulated one are nobody's.
    """
    method = method_of(row["method"])
    of_dataset = method.published_subjects.get(row["dataset"], {}) if method else {}
    return tuple(value / 100 for value in of_dataset.get(row["protocol"], {}).get(metric, ()))


def gallery_of(row: dict[str, Any]) -> str:
    """The gallery of a row: as its runs say, or else as its evaluation is defined."""
    told = row.get("gallery")
    if isinstance(told, str) and told:
        return told
    try:
        return protocol_of(row["evaluation"], method_of(row["method"])).spec.gallery
    except UsageError:
        return "not told"


def with_published(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary with what was published, with the gallery, and with what flags mean in words."""
    rows = [
        {**row, "gallery": gallery_of(row), **published_of(row)}
        for row in summary.to_dict("records")
    ]
    for row in rows:
        row["flags_mean"] = meaning([row["flags"], row.get("published_flags", "")])
    table = pd.DataFrame(rows)
    texts = [name for name in ("published_flags", "published_source") if name in table]
    return table.fillna({name: "" for name in texts})


def meaning(flags: Iterable[str]) -> str:
    """What all words of some ``flags`` cells say, each once, in the order of ``LEAKS``."""
    words = {word for cell in flags for word in cell.split(";") if word}
    ordered = [*(word for word in LEAKS if word in words), *sorted(words - set(LEAKS))]
    return "; ".join(f"{word}: {LEAKS.get(word, 'not known to this version')}" for word in ordered)
