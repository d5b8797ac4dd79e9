"""Small files in the layout of THINGS-MEG, for tests, written by MNE itself as split fif files.

The signals and images are noise; names, columns, paths and THINGS numbers are those of the published files.
"""

from pathlib import Path

import mne
import numpy as np
import pandas as pd
from PIL import Image

CATCH = 999999
EXP = {  # THINGS image number -> concept, file; two concepts are tested as well
    1: ("aardvark", "aardvark_01b.jpg"),
    2: ("aardvark", "aardvark_02s.jpg"),
    127: ("aircraft_carrier", "aircraft_carrier_01b.jpg"),
    128: ("aircraft_carrier", "aircraft_carrier_02s.jpg"),
    178: ("alligator", "alligator_01b.jpg"),
    1439: ("baton4", "baton4_01b.jpg"),
    1440: ("baton4", "baton4_02s.jpg"),
    22696: ("t-shirt", "t-shirt_01b.jpg"),
    22697: ("t-shirt", "t-shirt_02s.jpg"),
}
TEST = {
    148: ("aircraft_carrier", "aircraft_carrier_22s.jpg"),
    191: ("alligator", "alligator_14n.jpg"),
}
TRAIN_CONCEPTS = ["aardvark", "baton4", "t-shirt"]
SESSIONS = 3
SENSORS = [f"M{side}{region}{k}-1609" for side in "LR" for region in "FTCPO" for k in (11, 12, 13)]
COLUMNS = (
    "trial_type image_nr category_nr exemplar_nr test_image_nr things_category_nr things_image_nr "
    "things_exemplar_nr image_path onset image_on image_off responded key_id key_time RT session_nr run_nr"
).split()


def attributes(sessions=SESSIONS, seed=0):
    """Every exp image once, test images and two catch trials in every session, with NaN where published."""
    rng = np.random.default_rng(seed)
    rows = []
    order = rng.permutation(list(EXP))
    for session in range(1, sessions + 1):
        shown = [("exp", number) for number in order[session - 1 :: sessions]]
        shown += [("test", number) for number in TEST] + [("catch", None)] * 2
        rows += [(*shown[k], session) for k in rng.permutation(len(shown))]
    return pd.DataFrame([_row(*row) for row in rows])[COLUMNS]


def _row(kind, number, session):
    row = dict.fromkeys(COLUMNS, np.nan) | {"trial_type": kind, "session_nr": session, "run_nr": 1}
    if kind == "catch":
        return row | {"image_path": "images_catch_meg/catch_07.jpg", "responded": 1}
    concept, file = (EXP if kind == "exp" else TEST)[number]
    path = f"images_meg/{concept}/{file}" if kind == "exp" else f"images_test_meg/{file}"
    return row | {"things_image_nr": float(number), "image_path": path, "responded": 0}


def signals(n_trials, sensors=SENSORS, n_times=281, seed=0):
    """Noise with another mean and scale on every sensor."""
    rng = np.random.default_rng(seed)
    scale = np.linspace(0.5, 2, len(sensors))[:, None]
    data = rng.normal(size=(n_trials, len(sensors), n_times)) * scale + scale
    return data.astype(np.float32).astype(np.float64)


def epochs(table=None, data=None, sensors=SENSORS, codes=None):
    """MNE epochs of a table of trials; None as metadata if the table is False."""
    rows = attributes() if table is None or table is False else table
    if codes is None:
        codes = rows["things_image_nr"].fillna(CATCH).to_numpy(int)
    data = signals(len(rows), sensors) if data is None else data
    info = mne.create_info(list(sensors), 200.0, "mag", verbose="error")
    events = np.stack([300 * np.arange(len(rows)), np.zeros(len(rows), int), codes], axis=1)
    metadata = None if table is False else rows
    return mne.EpochsArray(data, info, events, tmin=-0.1, metadata=metadata, verbose="error")


def write_subject(
    root, subject=1, made=None, folder="derivatives/preprocessed", split_size="1.26MB"
):
    """The parts of a subject, as MNE splits them; their paths in order."""
    place = Path(root) / folder
    place.mkdir(parents=True, exist_ok=True)
    first = place / f"preprocessed_P{subject}-epo.fif"
    made = epochs() if made is None else made
    made.save(first, split_size=split_size, overwrite=True, verbose="error")
    return [first, *sorted(place.glob(f"preprocessed_P{subject}-epo-*.fif"))]


def write_images(root, folder="object_images"):
    """A small JPEG for every image."""
    rng = np.random.default_rng(0)
    for concept, file in (*EXP.values(), *TEST.values()):
        path = Path(root) / folder / concept / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(path)
