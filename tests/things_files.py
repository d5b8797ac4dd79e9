"""Small files in the layouts of THINGS-EEG2, for tests: raw sessions, image lists, released forms.

The images are noise; names, channels, shapes and containers are those of the published files.
"""

import json
import pickle
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from braindecode_ssr.preprocessing.channels import OCCIPITAL_17, THINGS_EEG_63, THINGS_EEG_63_RAW

TARGET = 99999
TRAIN = [  # folder, file: digits, hyphens and underscores as in the real list
    ("00001_aardvark", "aardvark_01b.jpg"),
    ("00001_aardvark", "aardvark_02s.jpg"),
    ("00002_t-shirt", "t-shirt_01b.jpg"),
    ("00002_t-shirt", "t-shirt_02s.jpg"),
    ("00003_bat1", "bat1_01b.jpg"),
    ("00003_bat1", "bat1_02n.jpg"),
]
TEST = [
    ("00001_aircraft_carrier", "aircraft_carrier_06s.jpg"),
    ("00002_baton4", "baton4_12s.jpg"),
    ("00003_wok", "wok_12s.jpg"),
]


def write_metadata(root, train=TRAIN, test=TEST, folder="image_set"):
    """``image_metadata.npy`` of (folder, file) pairs, as published."""
    content = {
        "test_img_concepts": [f for f, _ in test],
        "test_img_concepts_THINGS": [f for f, _ in test],
        "test_img_files": [f for _, f in test],
        "train_img_files": [f for _, f in train],
        "train_img_concepts": [f for f, _ in train],
        "train_img_concepts_THINGS": [f for f, _ in train],
    }
    path = Path(root) / folder / "image_metadata.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, content)
    return path


def write_images(root, train=TRAIN, test=TEST, names=("training_images", "test_images")):
    """A small JPEG for every image of the list."""
    rng = np.random.default_rng(0)
    for split, pairs in zip(names, (train, test), strict=True):
        for folder, file in pairs:
            path = Path(root) / "image_set" / split / folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(path)


def presentations(n_images, repetitions, seed=0, gap=200, first=400):
    """Onsets and codes: every image some times in random order, a target among them."""
    rng = np.random.default_rng(seed)
    codes = np.append(np.repeat(np.arange(1, n_images + 1), repetitions), TARGET)
    codes = rng.permutation(codes)
    return first + gap * np.arange(len(codes)), codes


def raw_content(samples, codes, ch_names=THINGS_EEG_63_RAW, sfreq=1000.0, seed=0, tail=1200):
    """The dict of a raw file: noise in volts, and the events in the last row."""
    rng = np.random.default_rng(seed)
    n_samples = int(max(samples)) + tail
    data = np.zeros((len(ch_names) + 1, n_samples))
    data[:-1] = rng.normal(0, 1e-5, (len(ch_names), n_samples))
    data[-1, samples] = codes
    return {
        "raw_eeg_data": data,
        "ch_names": [*ch_names, "stim"],
        "ch_types": ["eeg"] * len(ch_names) + ["stim"],
        "sfreq": sfreq,
        "highpass": 0.01,
        "lowpass": 100.0,
    }


def write_raw_session(
    root, subject=5, session=1, train=None, test=None, train_name="raw_eeg_training.npy", **content
):
    """Both files of a session; ``train`` and ``test`` are dicts of :func:`raw_content`."""
    folder = Path(root) / "Raw_data" / f"sub-{subject:02d}" / f"ses-{session:02d}"
    folder.mkdir(parents=True, exist_ok=True)
    if train is None:
        train = raw_content(*presentations(len(TRAIN), 2, seed=session), seed=session, **content)
    if test is None:
        test = raw_content(*presentations(len(TEST), 3, seed=session), seed=9 + session, **content)
    np.save(folder / train_name, train)
    np.save(folder / "raw_eeg_test.npy", test)
    return folder


def write_things(root, subjects=(5,), sessions=2, images=True, **content):
    """A whole reduced set: image list, images, raw sessions."""
    write_metadata(root)
    if images:
        write_images(root)
    for subject in subjects:
        for session in range(1, sessions + 1):
            write_raw_session(root, subject, session, **content)
    return Path(root)


def released_arrays(n_channels, n_times, train_repetitions=4, test_repetitions=6, seed=0):
    """Whitened trials (images, repetitions, channels, times) of both splits."""
    rng = np.random.default_rng(seed)
    shapes = ((len(TRAIN), train_repetitions), (len(TEST), test_repetitions))
    return tuple(rng.normal(size=(*shape, n_channels, n_times)) for shape in shapes)


def _subject_folder(root, name, subject):
    folder = Path(root) / name / f"sub-{subject:02d}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_gifford(root, subject=5, ch_names=OCCIPITAL_17):
    """Gifford's form: ``np.save`` of a dict, 100 Hz, -0.2 to 0.79 s."""
    folder = _subject_folder(root, "Preprocessed_data", subject)
    arrays = released_arrays(len(ch_names), 100)
    times = np.round(np.arange(-0.2, 0.795, 0.01), 2)
    for name, data in zip(("training", "test"), arrays, strict=True):
        content = {"preprocessed_eeg_data": data, "ch_names": list(ch_names), "times": times}
        np.save(folder / f"preprocessed_eeg_{name}.npy", content)
    return arrays


def write_nice(root, subject=5, n_axis=300, ch_names=THINGS_EEG_63):
    """NICE's and ATM's form: bare pickles of protocol 4; ``times`` begins at -0.2 s."""
    folder = _subject_folder(root, "Preprocessed_data_250Hz", subject)
    arrays = released_arrays(len(ch_names), 250)
    times = -0.2 + np.arange(n_axis) / 250
    for name, data in zip(("training", "test"), arrays, strict=True):
        content = {"preprocessed_eeg_data": data, "ch_names": list(ch_names), "times": times}
        path = folder / f"preprocessed_eeg_{name}.npy"
        path.write_bytes(pickle.dumps(content, protocol=4))
    return arrays


def write_ubp(root, subject=5, protocol=5, train=TRAIN, separator="/"):
    """UBP's form: ``torch.save`` of a dict with float16 trials, image paths and sessions from 0."""
    folder = _subject_folder(root, "Preprocessed_data_250Hz_whiten", subject)
    arrays = tuple(data.astype(np.float16) for data in released_arrays(63, 250))
    for name, data, pairs in zip(("train", "test"), arrays, (train, TEST), strict=True):
        n, repetitions = data.shape[:2]
        paths = [separator.join([f"{name}_images", *pair]) for pair in pairs]
        content = {
            "eeg": data,
            "label": np.tile(np.arange(n)[:, None], (1, repetitions)),
            "img": np.tile(np.array(paths)[:, None], (1, repetitions)),
            "text": np.tile(np.array(paths)[:, None], (1, repetitions)),
            "session": np.tile(np.arange(repetitions) // 2, (n, 1)).astype(float),
            "ch_names": list(THINGS_EEG_63),
            "times": -0.2 + np.arange(300) / 250,
        }
        torch.save(content, folder / f"{name}.pt", pickle_protocol=protocol)
    return arrays


def write_neurobridge(root, subject=5, normalization="mvnn"):
    """NeuroBridge's form: plain float32 arrays (concepts, images, repetitions, chans, times)."""
    folder = _subject_folder(root, "preprocessed_eeg", subject)
    train, test = (data.astype(np.float32) for data in released_arrays(63, 250))
    np.save(folder / "train.npy", train.reshape(len(TRAIN) // 2, 2, *train.shape[1:]))
    np.save(folder / "test.npy", test[:, None])
    info = {
        "ch_names": list(THINGS_EEG_63),
        "times": (-0.2 + np.arange(300) / 250).tolist(),
        "sfreq": 250.0,
        "normalization": normalization,
        "precision": "fp32",
    }
    (folder.parent / "info.json").write_text(json.dumps(info), encoding="utf-8")
    return train, test
