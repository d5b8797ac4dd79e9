"""Datasets of people looking at images, one file each."""

from ..registry import Registry

DATASETS = Registry(
    "dataset",
    {
        "things-sim": "braindecode_ssr.datasets.things_sim:ThingsSim",
        "things-eeg": "braindecode_ssr.datasets.things_eeg.dataset:ThingsEEG",
        "things-meg": "braindecode_ssr.datasets.things_meg.dataset:ThingsMEG",
        "things-eeg1": "braindecode_ssr.datasets.bids.things:ThingsEEG1",
        "bids": "braindecode_ssr.datasets.bids.study:OwnBids",
    },
)
