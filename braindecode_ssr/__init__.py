"""Decode which image a person saw, from EEG or MEG, with any braindecode model.

Importing the package tells braindecode about SSR and loads nothing else: neither torch nor
braindecode. The public names are loaded when they are asked for.
"""

from __future__ import annotations

import lazy_loader

from .models.names import register

__version__ = "0.1.0"

__getattr__, _, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "models.ssr": ["SSR"],
        "losses.ssr": ["SSRLoss"],
        "training.retriever": ["EEGRetriever"],
        "datasets.things_eeg.dataset": ["ThingsEEG"],
        "datasets.things_meg.dataset": ["ThingsMEG"],
        "datasets.things_sim": ["ThingsSim"],
        "datasets.bids.study": ["BIDSImages"],
        "trials.prepare": ["prepare"],
        "trials.store": ["TrialStore"],
        "images.store": ["FeatureStore"],
        "pipeline": ["train", "evaluate"],
        "sharing.score": ["score"],
        "sharing.ensemble": ["ensemble"],
        "sharing.export": ["push"],
        "inference.trained": ["load_run", "retrieve"],
        "benchmarking.run": ["benchmark"],
        "reporting": ["report"],
        "calibrate": ["finetune"],
    },
)
__all__ += ["__version__"]


def __dir__() -> list[str]:
    return __all__


register()
