"""The datasets in MOABB's style, a paradigm for image retrieval, and zero-shot splitters.

Nothing is imported before a name is asked for: MOABB takes seconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_LAZY = {
    "Gifford2022": "datasets",
    "Hebart2023": "datasets",
    "SimulatedThings": "datasets",
    "ImageRetrieval": "paradigm",
    "FeatureRegression": "paradigm",
    "LeaveConceptsOut": "splits",
    "PublishedSplit": "splits",
    "LeaveSubjectOutZeroShot": "splits",
    "of_test_runs": "splits",
}

__all__ = [*_LAZY]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])


DATASETS = {
    "Gifford2022": "gifford2022",
    "Hebart2023": "hebart2023",
    "SimulatedThings": "simulated_things",
}


def register() -> None:
    """Put the datasets where MOABB looks for datasets: into the module ``moabb.datasets``.

    MOABB has no other door: its lists are the classes of that module. Afterwards ``dataset_search``,
    ``moabb.datasets.Gifford2022``, its catalogue of metadata and braindecode's
    ``MOABBDataset("Gifford2022", ...)`` know them. It changes a module of somebody else, and whoever asks
    MOABB for all datasets gets these too; so it is done only when it is called. Calling it again changes
    nothing. Everything else in MOABB takes the datasets themselves, without this.
    """
    import moabb.datasets
    from moabb.datasets import metadata, utils

    for name, module in DATASETS.items():
        setattr(moabb.datasets, name, getattr(import_module(f".{module}", __package__), name))
    utils._init_dataset()
    metadata.DATASET_METADATA_CATALOG._catalog = None  # made again when it is asked for
