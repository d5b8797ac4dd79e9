"""MOABB datasets, a paradigm for image retrieval, and zero-shot splitters.

Names are imported lazily because MOABB takes seconds to import.
"""

from __future__ import annotations

from importlib import import_module

import lazy_loader

__getattr__, _, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "datasets": ["Gifford2022", "Hebart2023", "SimulatedThings"],
        "paradigm": [
            *("ImageRetrieval", "FeatureRegression"),
            *("LeaveConceptsOut", "PublishedSplit", "LeaveSubjectOutZeroShot", "of_test_runs"),
        ],
    },
)

__all__ += ["register"]
DATASETS = ("Gifford2022", "Hebart2023", "SimulatedThings")


def __dir__() -> list[str]:
    return __all__


def register() -> None:
    """Add the datasets to ``moabb.datasets`` and ``ImageRetrieval`` to ``moabb.paradigms``.

    Afterwards ``dataset_search``, ``moabb.datasets.Gifford2022``, MOABB's metadata catalog, braindecode's
    ``MOABBDataset("Gifford2022", ...)`` and pipeline files that name the paradigm find them. Because this
    modifies MOABB's modules, so that code listing all datasets gets these too, it happens only on request;
    repeated calls have no further effect. The rest of MOABB accepts the objects without registration.
    """
    import moabb.datasets
    import moabb.paradigms
    from moabb.datasets import metadata, utils

    for name in DATASETS:
        setattr(moabb.datasets, name, getattr(import_module(".datasets", __package__), name))
    moabb.paradigms.ImageRetrieval = import_module(".paradigm", __package__).ImageRetrieval
    utils._init_dataset()
    metadata.DATASET_METADATA_CATALOG._catalog = None  # rebuilt on next use
