"""Labels of subjects, sessions and runs: ``sub-02`` is the subject 2, ``sub-S01`` the subject ``"S01"``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from string import digits as DIGITS

from .errors import UsageError
from .registry import nearest

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
    listed = ", ".join(map(str, known[:20])) + (" ..." if len(known) > 20 else "")
    if len(known) > 2 and known == list(range(1, len(known) + 1)):
        listed = f"1 to {len(known)}"
    raise UsageError(
        f"there is no subject {text} in {where}; its subjects are {listed}",
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
