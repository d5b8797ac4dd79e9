"""Names to objects: one table per kind of part; parts are imported when they are used."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

from .errors import UsageError


class Registry:
    """The parts of one kind, by name.

    A part is written as ``"module:attribute"`` and imported when it is looked up, so that listing names
    is fast. Other packages add parts through the entry-point group ``braindecode_ssr.<kind>s``. Case,
    hyphens and underscores in names do not matter.

    Parameters
    ----------
    kind : str
        The kind of part as users read it, in the singular: ``"loss"``, ``"dataset"``.
    parts : dict of str to str
        Name to ``"module:attribute"``.

    Examples
    --------
    >>> numbers = Registry("number", {"pi": "math:pi"})
    >>> round(numbers["PI"], 2)
    3.14
    """

    def __init__(self, kind: str, parts: dict[str, str]) -> None:
        self.kind = kind
        self._parts = parts
        self._foreign: dict[str, str] | None = None
        self._searched: list[str] = []

    def _all(self) -> dict[str, str]:
        """Our own parts, then those of entry points, read once for each sys.path; our own win."""
        if self._foreign is None or self._searched not in ([], sys.path):
            self._searched = list(sys.path)
            plural = (self.kind + ("es" if self.kind.endswith("s") else "s")).replace(" ", "_")
            points = entry_points(group=f"braindecode_ssr.{plural}")
            self._foreign = {point.name: point.value for point in points}
        foreign = {name: self._foreign[name] for name in sorted(self._foreign)}
        return {**self._parts, **foreign, **self._parts}

    def names(self) -> list[str]:
        """All names, our own first."""
        return list(self._all())

    def is_own(self, name: str) -> bool:
        """Whether a part is registered by this package, not by an entry point."""
        return self.name_of(name) in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _key(name) in map(_key, self)

    def name_of(self, name: str) -> str:
        """The name as registered; raises UsageError with the closest names if it is unknown."""
        known = {_key(other): other for other in self}
        if _key(name) in known:
            return known[_key(name)]
        raise unknown_name(self.kind, name, list(known.values()))

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = self._all()[self.name_of(name)].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def resolve(self, part: Any) -> Any:
        """A part given by name or as the object itself."""
        return self[part] if isinstance(part, str) else part


def unknown_name(kind: str, name: str, known: list[str]) -> UsageError:
    """The error for an unknown name, with the most similar name and the whole list."""
    near = nearest(name, known)
    hint = f"did you mean {near!r}? " if near else ""
    return UsageError(f"unknown {kind}: {name!r}", f"{hint}choose one of: {', '.join(known)}")


def nearest(name: str, known: list[str]) -> str | None:
    near = difflib.get_close_matches(name.lower(), [other.lower() for other in known], 1, 0.5)
    return next((other for other in known if near and other.lower() == near[0]), None)


def _key(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
