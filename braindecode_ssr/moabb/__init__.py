"""The datasets in MOABB's style, a paradigm for image retrieval, and zero-shot splitters.

Nothing is imported before a name is asked for: MOABB takes seconds.
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
    """Put the datasets where MOABB looks for datasets: into the module ``moabb.datasets``.

    MOABB looks nowhere else: its lists are the classes of that module. Afterwards ``dataset_search``,
    ``moabb.datasets.Gifford2022``, its catalogue of metadata and braindecode's
    ``MOABBDataset("Gifford2022", ...)`` know them. This changes MOABB's module: code that asks
    MOABB for all datasets gets these too, so it is done only on request. Calling it again changes
    nothing. Everything else in MOABB takes the datasets themselves, without this.
    """
    import moabb.datasets
    from moabb.datasets import metadata, utils

    for name in DATASETS:
        setattr(moabb.datasets, name, getattr(import_module(".datasets", __package__), name))
    utils._init_dataset()
    metadata.DATASET_METADATA_CATALOG._catalog = None  # made again when it is asked for
