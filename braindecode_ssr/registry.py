"""Names that users type: of parts, in one table per kind, and the labels of subjects."""

from __future__ import annotations

import difflib
import importlib
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from importlib.metadata import entry_points
from string import digits as DIGITS
from typing import Any, TypeVar, get_args

from .errors import UsageError, listed

Choice = TypeVar("Choice", bound=str)


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
        return isinstance(name, str) and plain_name(name) in map(plain_name, self)

    def name_of(self, name: str) -> str:
        """The name as registered; raises UsageError with the closest names if it is unknown."""
        known = {plain_name(other): other for other in self}
        if plain_name(name) in known:
            return known[plain_name(name)]
        raise unknown_name(self.kind, name, list(known.values()))

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = self._all()[self.name_of(name)].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def resolve(self, part: Any) -> Any:
        """A part given by name or as the object itself."""
        return self[part] if isinstance(part, str) else part


MAX_LISTED = 20
"""Names in an error that has found a similar one."""


def unknown_name(kind: str, name: str, known: list[str]) -> UsageError:
    """The error for an unknown name, with the most similar name, and the whole list unless that is long."""
    near = nearest(name, known)
    hints = [f"did you mean {near!r}?"] if near else []
    if not near or len(known) <= MAX_LISTED:
        hints.append(f"choose one of: {', '.join(known)}")
    return UsageError(f"unknown {kind}: {name!r}", " ".join(hints))


def check_name(kind: str, name: str, known: Collection[str]) -> str:
    """The name, if it is a known one; else the error of :func:`unknown_name`."""
    if name not in known:
        raise unknown_name(kind, name, list(known))
    return name


def check_choice(name: str, value: Choice, literal: Any) -> Choice:
    """The value, if it is one of those of a ``Literal``; else UsageError."""
    known = get_args(literal)
    if value not in known:
        near = nearest(str(value), list(known))
        raise UsageError(
            f"{name} has to be one of {', '.join(map(repr, known))}, not {value!r}",
            f"did you mean {near!r}?" if near else "choose one of them",
        )
    return value


def nearest(name: str, known: list[str]) -> str | None:
    near = difflib.get_close_matches(name.lower(), [other.lower() for other in known], 1, 0.5)
    return next((other for other in known if near and other.lower() == near[0]), None)


def plain_name(name: str) -> str:
    """A name without what does not matter: case, hyphens and underscores."""
    return name.lower().replace("-", "").replace("_", "")


# -- labels of subjects: 2 for sub-02, "S01" for sub-S01 -----------------------------------------------------

Label = int | str
"""An int for numeric labels, such as 2 for ``sub-02``; otherwise a str, such as ``"S01"``."""
LONGEST_NUMBER = 15
"""Maximum digits of a numeric label; tables would round longer ones."""


def typed_label(text: str | int, kind: str = "sub") -> Label:
    """Parse a label typed by a user: ``5`` is a number; ``05``, ``sub-5`` and ``S01`` are exact labels."""
    label = str(text).strip().removeprefix(f"{kind}-")
    if isinstance(text, bool) or not re.fullmatch(r"[A-Za-z0-9+]+", label):
        raise UsageError(
            f"{str(text)!r} is not the label of a subject: labels are letters and digits",
            "write it as the folder is named, such as sub-05 or sub-S01, or 5 for sub-05",
        )
    exact = str(text).strip() != label or label != label.lstrip("0")
    return label if exact else as_read(label)


def as_read(text: str | int) -> Label:
    """Parse a label read from a table: ``"5"`` becomes 5, all others are unchanged."""
    plain = re.fullmatch(rf"0|[1-9]\d{{0,{LONGEST_NUMBER - 1}}}", str(text), re.ASCII)
    return int(text) if plain else str(text)


def label_ids(labels: Iterable[str]) -> dict[Label, str]:
    """Map IDs to labels in natural order; the ID is the number of a label unless two labels share it.

    ``["S01", "10", "02"]`` gives ``{2: "02", 10: "10", "S01": "S01"}``; ``2`` and ``02`` together keep
    their labels.
    """
    labels = set(labels)
    number = {label: as_number(label) for label in labels if label}
    shared = Counter(number.values())
    ids = {label if shared[number[label]] > 1 else number[label]: label for label in number}
    if "" in labels:  # the name has no such entity
        ids["none" if ids else 1] = ""
    return dict(sorted(ids.items(), key=lambda item: natural(item[0])))


def find_label(asked: Label, ids: Collection[Label], where: str) -> Label:
    """Look up a label in ``ids``: the exact label, otherwise the only one with the same number."""
    text = str(asked).strip().removeprefix("sub-")
    if isinstance(asked, str) and text in ids:
        return text
    number = as_number(text)
    same = [label for label in ids if isinstance(number, int) and as_number(str(label)) == number]
    if len(same) == 1:
        return same[0]
    if same:
        names = [folder_name(label) for label in same]
        raise UsageError(
            f"subject {text} may be {' or '.join(names)} of {where}",
            f"give the name of the folder, such as --subject {names[0]}",
        )
    near = nearest(text, [str(label) for label in ids]) if isinstance(number, str) else None
    known = list(ids)
    shown = listed(known, MAX_LISTED)
    if len(known) > 2 and known == list(range(1, len(known) + 1)):
        shown = f"1 to {len(known)}"
    raise UsageError(
        f"there is no subject {text} in {where}; its subjects are {shown}",
        (f"did you mean {near!r}? " if near else "") + "choose one of these with --subject",
    )


def folder_name(label: Label, kind: str = "sub") -> str:
    """``sub-05`` for 5, ``sub-S01`` for ``"S01"``."""
    return f"{kind}-{label:02d}" if isinstance(label, int) else f"{kind}-{label}"


def short_name(label: Label) -> str:
    """``S5`` for 5, ``S01`` for ``"S01"``; used as a column header."""
    return f"S{label}" if isinstance(label, int) else label


def natural(label: Label) -> tuple:
    """Sort key: numbers first, and ``S2`` before ``S10``."""
    if isinstance(label, int):
        return (0, label, ())
    parts = re.findall(r"[0-9]+|[^0-9]+", label)
    split = tuple(
        (0, int(part), "") if part[0] in DIGITS else (1, 0, part.lower()) for part in parts
    )
    return (1, 0, split, label)


def as_number(label: str) -> Label:
    """2 for ``"02"``; ``"S01"`` is unchanged."""
    plain = label.isascii() and label.isdecimal()
    return as_read(label.lstrip("0") or "0") if plain else label
