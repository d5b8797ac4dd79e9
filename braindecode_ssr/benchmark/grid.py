"""What is asked of a benchmark: methods, subjects, protocols, seeds and evaluations, each with each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from ..config import Spec, Subject, merge
from ..errors import UsageError
from ..registry import unknown_name

PROTOCOLS = ("intra", "inter")


class Grid(Spec):
    """A grid of runs.

    Parameters
    ----------
    methods : tuple of str
        Registered names.
    subjects : tuple of int or str
        Those that are tested.
    protocols : tuple of {"intra", "inter"}
    seeds : tuple of int
        One run each.
    evaluations : tuple of str
        How numbers are obtained, in the words of :mod:`braindecode_ssr.retrieval.protocols`.
    settings : dict
        Nested settings of all runs, dataset included.
    threads : int
        Of each run's numerical libraries. How many there are changes the last digits of a sum: that is why
        it is asked for here, and does not follow from how many runs go at a time.
    """

    methods: tuple[str, ...] = Field(min_length=1)
    subjects: tuple[Subject, ...] = Field(min_length=1)
    protocols: tuple[str, ...] = ("intra",)
    seeds: tuple[int, ...] = (0,)
    evaluations: tuple[str, ...] = ("default",)
    settings: dict[str, Any] = Field(default_factory=dict)
    threads: int = Field(default=1, ge=1)

    def cells(self) -> Iterator[dict[str, Any]]:
        """The nested settings of each run, evaluations left aside: by protocol, method, subject, seed."""
        for protocol in self.protocols:
            for method in self.methods:
                for subject in self.subjects:
                    for seed in self.seeds:
                        yield merge(
                            self.settings,
                            {
                                "method": method,
                                "data": {"subject": subject, "protocol": protocol},
                                "train": {"seed": seed},
                            },
                        )


def seeds_of(text: str) -> tuple[int, ...]:
    """Seeds as people write them: ``"3"`` is how many (0, 1, 2), ``"0,3,7"`` and ``"4-6"`` are which.

    Raises
    ------
    UsageError
        If it is none of these.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        numbers = (first, last) if dash else (first,)
        if not all(number.isdecimal() and number.isascii() for number in numbers):
            raise _no_seeds(text)
        if dash and int(first) > int(last):
            raise _no_seeds(text)
        seeds += range(int(first), int(numbers[-1]) + 1)
    if "," not in text and "-" not in text:
        seeds = list(range(seeds[0]))
    if not seeds:
        raise _no_seeds(text)
    return tuple(dict.fromkeys(seeds))


def protocols_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """Protocols that exist, each once; both for none.

    Raises
    ------
    UsageError
        If one does not.
    """
    for name in names:
        if name not in PROTOCOLS:
            raise unknown_name("protocol", name, list(PROTOCOLS))
    return tuple(dict.fromkeys(names)) or PROTOCOLS


def _no_seeds(text: str) -> UsageError:
    return UsageError(
        "how many seeds (--seeds 3), or which (--seeds 0,3,7 or 4-6)", repr(text), "write it so"
    )
