"""
.. _own-bids-study:

Your own study in BIDS
======================

To use your own recordings and images, put them into a BIDS folder, as mne-bids writes it. Here we write a
study, check it, see how one wrong cell in a table is caught, train on it, and look at the retrieved images.
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

######################################################################
# What a lab has
# --------------
#
# Recordings during which images were shown, and the image files. Here the simulator stands in for the lab:
# eight recordings of one person, training and test images in each of four sessions.

import tempfile
from pathlib import Path

from braindecode_ssr import ThingsSim

folder = Path(tempfile.mkdtemp())
lab = ThingsSim(folder / "lab", preset="tiny-v1")
recordings = list(lab.recordings(5))
recordings[0].to_raw(lab.images)

######################################################################
# Images
# ------
#
# They go into ``stimuli``; the folder of an image names its concept.

study = folder / "mystudy"
for image in lab.images["image_id"]:
    path = study / "stimuli" / f"{image}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lab.jpeg(image))

######################################################################
# Recordings and events
# ---------------------
#
# mne-bids writes the recordings. In ``events.tsv``, the BIDS column ``stim_file`` names the image, and a
# column ``split`` says whether it is for training or for the test. Instead of this column, you can list the
# test concepts of the whole study in ``test_concepts.txt``.

import mne
import mne_bids
import pandas as pd

for recording in recordings:
    raw = mne.io.RawArray(recording.data, recording.info, verbose="error")
    raw.info["line_freq"] = 50
    path = mne_bids.BIDSPath(
        root=study,
        subject="05",
        session=f"{recording.session:02d}",
        task="look",
        run="1" if recording.split == "train" else "2",
        datatype="eeg",
    )
    mne_bids.write_raw_bids(raw, path, format="BrainVision", allow_preload=True, verbose="error")
    shown = lab.images[lab.images["split"] == recording.split].set_index("number")
    images = shown["image_id"].loc[recording.numbers].to_numpy()
    events = {
        "onset": recording.samples / recording.sfreq,
        "duration": 0.1,
        "stim_file": images + ".jpg",
        "split": recording.split,
    }
    path.update(suffix="events", extension=".tsv")
    pd.DataFrame(events).to_csv(path.fpath, sep="\t", index=False)

mne_bids.print_dir_tree(study / "sub-05", max_depth=2)

######################################################################
# Check the study
# ---------------
#
# ``ssr-bd data check bids --data-dir mystudy`` reads every file and prints what it finds.

import subprocess

check = ["ssr-bd", "data", "check", "bids", "--data-dir", "mystudy"]
done = subprocess.run(check, cwd=folder, capture_output=True, text=True, check=True)
found = done.stdout.splitlines()
first = next(row for row, line in enumerate(found) if "recording of subject" in line)
print(*found[first : first + 6], sep="\n")

######################################################################
# Mistakes are caught
# -------------------
#
# Suppose someone edits a table, and one training trial becomes a test trial. Its concept would then be in
# both training and test, and the test would no longer be zero-shot.

from braindecode_ssr import BIDSImages
from braindecode_ssr.errors import SSRError

table = path.copy().update(run="1").fpath
right = table.read_text()
table.write_text(right.replace("train", "test", 1))
try:
    BIDSImages(study).images
except SSRError as error:
    print(error)
finally:
    table.write_text(right)

######################################################################
# Train
# -----
#
# Train as on any other dataset. ``pyramid`` is an image encoder without pretrained weights, for a first
# look; for real images, choose one from ``ssr-bd list encoders``. On the command line: ``ssr-bd train
# --dataset bids --data-dir mystudy --subject 5 --encoder pyramid``.

from braindecode_ssr import train

run = train(
    dataset="bids",
    data_dir=study,
    subject=5,
    encoder="pyramid",
    epochs=30,
    batch_size=32,
    lr=1e-3,
    **{"data.channels": "occipital-17"},
    out=folder / "runs",
)
pd.Series({name: run.summary[name] for name in ("top1", "chance_top1", "top5", "chance_top5")})

######################################################################
# Best, middle and worst queries: the image that was seen, and the five nearest of the test images.

figure = run.plot_retrieval(each=2)

######################################################################
# What next? :doc:`/bids` has all the details: several runs, bad channels and segments, MEG, sidecar files,
# and what is refused. :ref:`new-recording` uses a run on later recordings of the same person, and
# :doc:`/evaluations` explains which number to report.

import shutil

shutil.rmtree(folder)
