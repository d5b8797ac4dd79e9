"""Names to objects: one table per kind of part, loaded when asked for."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

from .errors import UsageError


class Registry:
    """The parts of one kind, by name.

    A part is written down as ``"module:attribute"`` and imported when it is asked for, so that
    listing names costs nothing. Other packages add parts through the entry-point group
    ``braindecode_ssr.<kind>s``. Case, hyphens and underscores in names do not matter.

    Parameters
    ----------
    kind : str
        What the parts are, in the singular, as users read it: ``"loss"``, ``"dataset"``.
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

    @property
    def group(self) -> str:
        """The entry-point group in which other packages announce parts of this kind."""
        plural = self.kind + ("es" if self.kind.endswith("s") else "s")
        return f"braindecode_ssr.{plural.replace(' ', '_')}"

    def parts(self) -> dict[str, str]:
        """Own parts and those of entry points, name to ``"module:attribute"``; own ones win.

        Entry points are read once: a look takes tens of milliseconds.
        """
        if self._foreign is None:
            self._foreign = {point.name: point.value for point in entry_points(group=self.group)}
        return {**self._foreign, **self._parts}

    def names(self) -> list[str]:
        """All names, own ones first."""
        parts = self.parts()
        return [*self._parts, *sorted(set(parts) - set(self._parts))]

    def is_own(self, name: str) -> bool:
        """Whether a registered part is one of this package, not of an entry point."""
        return self.name_of(name) in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _key(name) in {_key(known) for known in self.names()}

    def name_of(self, name: str) -> str:
        """The name as registered, or an error with the closest names.

        Raises
        ------
        UsageError
            If nothing is registered under that name.
        """
        known = {_key(other): other for other in self.names()}
        if _key(name) in known:
            return known[_key(name)]
        raise unknown_name(self.kind, name, list(known.values()))

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = self.parts()[self.name_of(name)].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def resolve(self, part: Any) -> Any:
        """A part given by name or as the object itself."""
        return self[part] if isinstance(part, str) else part


def unknown_name(kind: str, name: str, known: list[str]) -> UsageError:
    """The error for a name that is not known, with the nearest names and the whole list."""
    near = nearest(name, known)
    hint = f"did you mean {near!r}? " if near else ""
    return UsageError(
        f"the name of {'an' if kind[0] in 'aeiou' else 'a'} {kind}",
        f"{name!r}",
        f"{hint}choose one of: {', '.join(known)}",
    )


def nearest(name: str, known: list[str]) -> str | None:
    """The known name that is most like a name, if one is like it at all."""
    near = difflib.get_close_matches(name.lower(), [other.lower() for other in known], 1, 0.5)
    return next((other for other in known if near and other.lower() == near[0]), None)


def _key(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
