"""Real BIDS folders for tests, written by mne-bids: THINGS-EEG2, THINGS-EEG1, a study of one's own."""

import warnings
from pathlib import Path

import edfio  # noqa: F401  mne-bids writes EDF and BDF with it
import mne
import mne_bids
import numpy as np
import pandas as pd
import pybv  # noqa: F401  and BrainVision with this
from PIL import Image

from braindecode_ssr.simulation.experiment import TARGET
from braindecode_ssr.simulation.layouts import write_raw

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


def eeg1_events(samples, images, tests, sfreq, seed=0):
    """The 21 columns of THINGS-EEG1: every image once, then the validation images; onsets in samples.

    Parameters
    ----------
    images : list of (concept, file)
        Shown once each; ``object`` names the concept.
    tests : list of (concept, file)
        In the order shown; ``object`` is -1.
    """
    shown = [(c, f, 0) for c, f in images] + [(c, f, 1) for c, f in tests]
    n = len(shown)
    numbers = {pair: k for k, pair in enumerate(dict.fromkeys(tests))}
    return pd.DataFrame(
        {
            "onset": np.round(samples * 1000 / sfreq).astype(int),
            "duration": 50,
            "eventnumber": range(n),
            "blocksequencenumber": [-1 if test else 0 for *_, test in shown],
            "isteststim": [test for *_, test in shown],
            "object": ["-1" if test else concept for concept, _, test in shown],
            "objectnumber": [-1 if test else 7 for *_, test in shown],
            "presentationnumber": range(n),
            "sequencenumber": 0,
            "stim": [f"stimuli\\{concept}\\{file}" for concept, file, _ in shown],
            "stimnumber": [-1 if test else 3 for *_, test in shown],
            "teststimnumber": [numbers[c, f] if test else -1 for c, f, test in shown],
            "withinsequencenumber": 0,
            "istarget": (np.arange(n) % 23 == 5).astype(int),
            "stimname": [file for _, file, _ in shown],
            "response": 0,
            "rt": 0.0,
            "correct": 0,
            "time_stimon": samples / sfreq - 11.8,
            "time_stimoff": samples / sfreq - 11.75,
            "stimdur": 0.05,
        }
    )


def eeg1_images(n_concepts=6, n_images=3, n_test=2):
    """Images of some concepts, and one more of each of the first of them for the validation part."""
    images = [
        (f"thing{c}", f"thing{c}_{k:02d}s.jpg")
        for c in range(1, n_concepts + 1)
        for k in range(1, n_images + 1)
    ]
    tests = [(f"thing{c}", f"thing{c}_13s.jpg") for c in range(1, n_test + 1)]
    return images, tests


def write_eeg1(root, subject, ch_names, sfreq=250.0, repetitions=4, seed=0, images=None):
    """A subject of a small THINGS-EEG1; returns the path of the events."""
    rng = np.random.default_rng([seed, subject])
    images, tests = images or eeg1_images()
    images = [images[k] for k in rng.permutation(len(images))]
    tests = [tests[k] for k in rng.permutation(np.repeat(np.arange(len(tests)), repetitions))]
    step = round(0.1 * sfreq)
    samples = round(3 * sfreq) + step * np.arange(len(images) + len(tests))
    samples[len(images) :] += round(2 * sfreq)  # a pause before the validation part
    data = rng.normal(0, 1e-5, (len(ch_names), samples[-1] + round(2 * sfreq)))
    names = {"subject": f"{subject:02d}", "task": "rsvp"}
    stem = write_run(root, data, ch_names, sfreq, "BrainVision", **names)
    return write_events(stem, eeg1_events(samples, images, tests, sfreq))


STUDY = [
    (concept, f"{concept}_{k}")
    for concept in ("apple", "book", "cat", "door", "egg")
    for k in range(2)
]


def write_study(
    root,
    ch_names,
    fmt="BrainVision",
    datatype="eeg",
    ch_types="eeg",
    labels=("01", "02"),
    sfreq=250.0,
    sessions=("1", "2"),
):
    """A study of one's own: sessions of two runs, ten images of five concepts, ``egg`` is tested; rest."""
    rng = np.random.default_rng(0)
    for label in labels:
        for session in sessions:
            names = {"subject": label, "session": session}
            for run in ("1", "2"):
                shown = rng.permutation(np.repeat(np.arange(len(STUDY)), 2))
                samples = round(2 * sfreq) + round(0.25 * sfreq) * np.arange(len(shown))
                data = rng.normal(0, 1e-5, (len(ch_names), samples[-1] + round(2 * sfreq)))
                where = {**names, "task": "look", "run": run}
                stem = write_run(root, data, ch_names, sfreq, fmt, datatype, ch_types, **where)
                write_events(stem, study_events(samples / sfreq, [STUDY[k] for k in shown]))
            rest = rng.normal(0, 1e-5, (len(ch_names), round(4 * sfreq)))
            where = {**names, "task": "rest"}
            write_run(root, rest, ch_names, sfreq, fmt, datatype, ch_types, **where)
    for k, (concept, name) in enumerate(STUDY):
        path = Path(root) / "stimuli" / concept / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (20 * k, 255 - 20 * k, 80)).save(path)
    return Path(root)


def study_events(onsets, shown):
    """Each image, and a press of a key in between."""
    rows = [
        (onset, 0.1, f"{concept}/{name}.png", "test" if concept == "egg" else "train")
        for onset, (concept, name) in zip(onsets, shown, strict=True)
    ]
    rows.append((onsets[-1] + 0.5, 0.0, None, None))
    return pd.DataFrame(rows, columns=["onset", "duration", "image", "split"])
