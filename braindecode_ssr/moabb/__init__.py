"""The datasets in MOABB's style, a paradigm for image retrieval, and zero-shot splitters.

Nothing is imported before a name is asked for: MOABB takes seconds.
"""

from __future__ import annotations

from typing import Any

_LAZY = {
    "Gifford2022": "gifford2022",
    "Hebart2023": "hebart2023",
    "SimulatedThings": "simulated_things",
    "ImageRetrieval": "paradigm",
    "FeatureRegression": "regression",
    "LeaveConceptsOut": "splits",
    "PublishedSplit": "splits",
    "LeaveSubjectOutZeroShot": "splits",
    "of_test_runs": "splits",
    "register": "registration",
}

__all__ = [*_LAZY]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
