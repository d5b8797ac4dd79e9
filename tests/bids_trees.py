"""Real BIDS folders for tests, written by mne-bids: THINGS-EEG2, THINGS-EEG1, a study of one's own."""

import warnings
from pathlib import Path

import mne
import mne_bids
import numpy as np
import pandas as pd

from braindecode_ssr.simulation.design import TARGET
from braindecode_ssr.simulation.layout import write_raw

BOM = "\ufeff"


def write_run(root, data, ch_names, sfreq, fmt, datatype="eeg", ch_types="eeg", **entities):
    """One recording by mne-bids; returns its path without suffix and extension."""
    info = mne.create_info(list(ch_names), sfreq, ch_types)
    info["line_freq"] = 50
    raw = mne.io.RawArray(data, info, verbose="error")
    path = mne_bids.BIDSPath(root=root, datatype=datatype, **entities)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mne_bids.write_raw_bids(
            raw, path, format=fmt, allow_preload=True, overwrite=True, verbose="error"
        )
    return Path(path.directory) / path.basename


def write_events(stem, table, bom=False):
    """``events.tsv`` of a recording."""
    text = table.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n")
    path = Path(f"{stem}_events.tsv")
    path.write_text((BOM if bom else "") + text, encoding="utf-8")
    return path


def nemar_events(samples, numbers, sfreq, images):
    """The events of a run as NEMAR nm000232 lists them; ``TARGET`` is a target."""
    images = images.set_index("number")
    folders = images["file"].str.split("/").str[0]
    target = numbers == TARGET
    return pd.DataFrame(
        {
            "onset": samples / sfreq,
            "duration": 0.1,
            "sample": samples,
            "value": np.where(target, 255, numbers % 99 + 1),
            "trial_type": np.where(target, "target", "image"),
            "tot_img_number": [None if t else n for t, n in zip(target, numbers, strict=True)],
            "category_name": [
                None if t else folders[n] for t, n in zip(target, numbers, strict=True)
            ],
            "block": 1,
        }
    )


def write_things_bids(dataset, subject, root, fmt="BDF", sessions=None):
    """A simulated subject as NEMAR has the real ones: five training runs (here two), a test run, rest."""
    images = dataset.images
    for session in sessions or dataset.sessions:
        entities = {"subject": f"{subject:02d}", "session": f"{session:02d}"}
        for split in ("train", "test"):
            data, events = dataset.session(subject, session, split)
            joins = events.joins
            for run, (first, stop) in enumerate(zip(joins[:-1], joins[1:], strict=True), 1):
                inside = (events.samples >= first) & (events.samples < stop)
                label = {"run": f"{run:02d}"} if split == "train" else {}
                signal, sfreq = data[:-1, first:stop], dataset.preset.sfreq
                names = {**entities, "task": split, **label}
                stem = write_run(root, signal, dataset.ch_names, sfreq, fmt, **names)
                shown = (events.samples[inside] - first, events.numbers[inside])
                listed = images[images["split"] == split]
                write_events(stem, nemar_events(*shown, sfreq, listed), bom=True)
    return root


def write_both(dataset, subject, raw_root, bids_root, fmt="BDF", sessions=None):
    """The same subject as raw files and as BIDS, each with the image list."""
    write_raw(dataset, [subject], raw_root)
    write_things_bids(dataset, subject, bids_root, fmt, sessions)
    source = Path(raw_root) / "image_set" / "image_metadata.npy"
    target = Path(bids_root) / "stimuli" / "image_metadata.npy"
    target.parent.mkdir(parents=True)
    target.write_bytes(source.read_bytes())
