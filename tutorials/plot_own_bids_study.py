"""
.. _own-bids-study:

Your own study in BIDS
======================

Your recordings, your images: a folder in BIDS, as mne-bids writes it, is all that is asked. You will
see a study written from arrays, checked, refused because of one wrong cell in a table, and trained on;
the picture at the end shows which images the trained run takes the seen ones for.
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

######################################################################
# What a lab has
# --------------
#
# Recordings, in each of which one image after the other was shown, and image files. Here the simulator
# stands in for the lab: eight recordings of one person, training and test images in four sessions.

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
# They go below ``stimuli``. The folder that an image is in is its concept.

study = folder / "mystudy"
for image in lab.images["image_id"]:
    path = study / "stimuli" / f"{image}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lab.jpeg(image))

######################################################################
# Recordings and events
# ---------------------
#
# mne-bids writes the recordings. In ``events.tsv``, BIDS's own column ``stim_file`` names the image,
# and a column ``split`` says whether it is trained on or tested. Instead of that column there may be
# one list of tested concepts for the whole study, ``test_concepts.txt``.

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
# Is it what it should be?
# ------------------------
#
# ``ssr-bd data check bids --data-dir mystudy`` reads every file and prints what it found.

import subprocess

check = ["ssr-bd", "data", "check", "bids", "--data-dir", "mystudy"]
done = subprocess.run(check, cwd=folder, capture_output=True, text=True, check=True)
found = done.stdout.splitlines()
first = next(row for row, line in enumerate(found) if "recording of subject" in line)
print(*found[first : first + 6], sep="\n")

######################################################################
# What is wrong is refused
# ------------------------
#
# Somebody edits the last table, and one training trial becomes a test trial. Its concept would now be
# trained on *and* tested; what looks like retrieval of unseen concepts would not be that.

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
# As with any other dataset. ``pyramid`` is an image encoder without weights, for a first look; for real
# images, take one of ``ssr-bd list encoders``. In the shell: ``ssr-bd train --dataset bids --data-dir
# mystudy --subject 5 --encoder pyramid``.

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
# Best, middle and worst queries: what was seen, and the five nearest of the tested images.

figure = run.plot_retrieval(each=2)

######################################################################
# What next? :doc:`/bids` is the whole contract: several runs, bad channels and segments, MEG, sidecar
# files, and what is refused. :ref:`new-recording` uses the run on later recordings of the same person,
# and :doc:`/evaluations` says which number to report.

import shutil

shutil.rmtree(folder)
