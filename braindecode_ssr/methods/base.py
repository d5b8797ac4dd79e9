"""What a method file holds."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ..config import Spec


class Method(Spec):
    """A recipe: what differs from the defaults of a run, and where it comes from.

    Parameters
    ----------
    name, title : str
        Registered name, and the name in tables.
    year : int
        Of publication.
    source : str
        Citation with a link where there is one.
    views : tuple of str
        Views pooled into the augmented feature; empty if the method uses originals only.
    settings : dict
        Nested settings laid over the defaults of :class:`~braindecode_ssr.config.RunSpec`.
    published : dict
        Mean top-1 and top-5 in percent per dataset and protocol, as published.
    known_to_differ : tuple of str
        Where the default run differs from the published one.
    """

    name: str
    title: str
    year: int
    source: str
    views: tuple[str, ...] = ()
    settings: dict[str, Any] = Field(default_factory=dict)
    published: dict[str, dict[str, tuple[float, float]]] = Field(default_factory=dict)
    known_to_differ: tuple[str, ...] = ()
