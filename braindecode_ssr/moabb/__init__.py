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
        "paradigm": ["ImageRetrieval", "FeatureRegression"],
        "splits": ["LeaveConceptsOut", "PublishedSplit", "LeaveSubjectOutZeroShot", "of_test_runs"],
    },
)

__all__ += ["register"]
DATASETS = ("Gifford2022", "Hebart2023", "SimulatedThings")


def __dir__() -> list[str]:
    return __all__


def register() -> None:
    """Add the datasets to the module ``moabb.datasets``, where MOABB looks up datasets.

    Afterwards ``dataset_search``, ``moabb.datasets.Gifford2022``, MOABB's metadata catalog and braindecode's
    ``MOABBDataset("Gifford2022", ...)`` find them. Because this modifies MOABB's module, so that code listing
    all datasets gets these too, it happens only on request; repeated calls have no further effect. The rest
    of MOABB accepts the dataset objects without registration.
    """
    import moabb.datasets
    from moabb.datasets import metadata, utils

    for name in DATASETS:
        setattr(moabb.datasets, name, getattr(import_module(".datasets", __package__), name))
    utils._init_dataset()
    metadata.DATASET_METADATA_CATALOG._catalog = None  # rebuilt on next use
