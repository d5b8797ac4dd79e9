"""Datasets of people looking at images, by name."""

from __future__ import annotations

from ..registry import Registry

DATASETS = Registry(
    "dataset",
    {
        "things-sim": "braindecode_ssr.datasets.things_sim:ThingsSim",
        "things-eeg": "braindecode_ssr.datasets.things_eeg.dataset:ThingsEEG",
        "things-eeg-sample": "braindecode_ssr.datasets.things_eeg.sample:ThingsEEGSample",
        "things-meg": "braindecode_ssr.datasets.things_meg.dataset:ThingsMEG",
        "things-eeg1": "braindecode_ssr.datasets.bids.things:ThingsEEG1",
        "alljoined": "braindecode_ssr.datasets.alljoined:Alljoined",
        "bids": "braindecode_ssr.datasets.bids.study:BIDSImages",
    },
)
