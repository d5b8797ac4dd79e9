"""Datasets of people looking at images: by name, and the folder each is read from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError
from ..files import read_json
from ..registry import Registry

if TYPE_CHECKING:
    from ..config import DataSpec
    from .base import ImageDataset

DATASETS = Registry(
    "dataset",
    {
        "things-sim": "braindecode_ssr.datasets.things_sim:ThingsSim",
        "things-eeg": "braindecode_ssr.datasets.things_eeg.dataset:ThingsEEG",
        "things-eeg-sample": "braindecode_ssr.datasets.things_eeg.sample:ThingsEEGSample",
        "things-meg": "braindecode_ssr.datasets.things_meg.dataset:ThingsMEG",
        "things-eeg1": "braindecode_ssr.datasets.bids.things:ThingsEEG1",
        "alljoined": "braindecode_ssr.datasets.alljoined:Alljoined",
        "alljoined1": "braindecode_ssr.datasets.alljoined1:Alljoined1",
        "bids": "braindecode_ssr.datasets.bids.study:BIDSImages",
    },
)


def data_root(name: str, data_dir: str | Path | None = None) -> Path:
    """The folder of a dataset: ``data_dir`` itself, or ``<name>`` below $SSR_DATA or MNE's data folder."""
    if data_dir is not None:
        return Path(data_dir).expanduser()
    return Path(os.environ.get("SSR_DATA") or _mne_data()).expanduser() / name


def _mne_data() -> str:
    """MNE's data folder, found as MNE finds it, without importing MNE."""
    if os.environ.get("MNE_DATA"):
        return os.environ["MNE_DATA"]
    home = Path(os.environ.get("_MNE_FAKE_HOME_DIR") or Path.home())
    settings = read_json(home / ".mne" / "mne-python.json")
    return (settings or {}).get("MNE_DATA") or str(home / "mne_data")


def open_dataset(data: DataSpec, data_dir: str | Path | None = None) -> ImageDataset:
    """The dataset of a spec; reads nothing yet. DataError if there is a file where its folder should be."""
    dataset = DATASETS[data.dataset]
    options = {name: getattr(data, name) for name in dataset.options}
    root = data_root(DATASETS.name_of(data.dataset), data_dir)
    existing = next(path for path in (root, *root.absolute().parents) if path.exists())
    if not existing.is_dir():
        found = f"{root} cannot be a data folder: {existing} is a file"
        raise DataError(found, "change --data-dir")
    return dataset(root, **options)
