"""
.. _things-eeg2-for-real:

THINGS-EEG2 for real
====================

You will see the commands that download THINGS-EEG2 and train on it, and the same steps executed on
files that have its layout and names but simulated content. The picture at the end is the one to look at
first with real data, too: how accuracy grows with the number of trials that are averaged.
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

######################################################################
# What you run
# ------------
#
# .. code-block:: bash
#
#     ssr-bd data where things-eeg --subject 5                      # what there is, and its size
#     ssr-bd data fetch things-eeg --subject 5 --data-dir DIR --yes # 1.74 GB: one subject, and the images
#     ssr-bd data check things-eeg --subject 5 --data-dir DIR       # reads every file
#     ssr-bd train --dataset things-eeg --subject 5 --data-dir DIR
#
# For five minutes with one real recording, replace ``things-eeg`` by ``things-eeg-sample`` in these lines and
# add ``--method encoding`` to the last: a quarter of a gigabyte, 150 images to train on and 50 to test.
#
# ``things-eeg`` takes the trials that the authors preprocessed: 17 channels at 100 Hz. ``--form raw``
# fetches the recordings, 63 channels at 1000 Hz, 6 GB a subject. Images are encoded by CLIP's ResNet-50,
# whose weights are downloaded once.
#
# The same layout, simulated
# --------------------------
#
# Raw recordings, images and their list under their published names, in the smallest size; and image
# features, so that no weights are needed.

import subprocess
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp())


def shell(command):
    """Run a command in the folder, and print what it prints."""
    done = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True, check=True)
    print(done.stdout)


shell("ssr-bd data simulate things-sim --layout raw --preset tiny-v1 --subject 5 --out DIR")
shell("ssr-bd data check things-eeg --subject 5 --data-dir DIR")

######################################################################
# The dataset in Python
# ---------------------
#
# All counts are read from the files, never assumed; that is why the small copy works.

import pandas as pd

from braindecode_ssr import ThingsEEG

dataset = ThingsEEG(folder / "DIR")
counts = dataset.images.groupby("split", sort=False)[["image_id", "concept"]].nunique()
published = pd.DataFrame(
    {"image_id": [16540, 200], "concept": [1654, 200]}, index=["train", "test"]
)
pd.concat({"here": counts, "published": published}, axis=1)

######################################################################
# A recording is a ``Raw`` of MNE, in volts; its annotations say which image was shown.

raw = dataset.to_braindecode(5).datasets[0].raw
raw.annotations[:3].to_data_frame()

######################################################################
# Trials
# ------
#
# Images follow one another every 200 ms, so the mean response is a ripple: each image's own response
# on top of those to its neighbors. What is decoded is the little by which it differs between images.

import matplotlib.pyplot as plt
import mne

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.trials.prepare import prepare

store = prepare(dataset, 5, TrialSpec(whitening="none", start=-0.2))
mne.set_log_level("error")
mean = store.average("train").x.mean(axis=0)
evoked = mne.EvokedArray(
    mean, store.info, tmin=store.tmin, nave=(store.table["split"] == "train").sum()
)
picture = evoked.plot_joint(times=[0.11, 0.21, 0.31], title="mean of all training trials")

######################################################################
# Train
# -----
#
# The second command in Python. It trains on 17 channels over the back of the head, each training image
# as the mean of its trials, and never opens a test trial before the end.

from braindecode_ssr import evaluate, train

run = train(
    dataset="things-eeg",
    data_dir=folder / "DIR",
    subject=5,
    out=folder / "runs",
    epochs=30,
    batch_size=32,
    lr=1e-3,
)
run

######################################################################
# How many trials?
# ----------------
#
# The test averages all trials of an image. With fewer, at random and drawn three times, it gets harder.
# Dotted lines are chance.

most = run.summary["repetitions"]
rows = []
for n in (1, 2, 4, 8, 16):
    for seed in range(3):
        _, result = evaluate(run.path, f"repetitions={n}", trial_seed=seed)
        rows.append({"n": n, "top-1": result["top1"], "top-5": result["top5"]})
accuracy = pd.DataFrame(rows).set_index("n")

figure, axis = plt.subplots(figsize=(5.5, 3.5), layout="constrained")
for k, color in ((1, "tab:blue"), (5, "tab:orange")):
    axis.plot(accuracy.index, accuracy[f"top-{k}"], ".", color=color, alpha=0.5)
    axis.plot(accuracy.groupby("n")[f"top-{k}"].mean(), "o-", color=color, label=f"top-{k}")
    axis.axhline(run.summary[f"chance_top{k}"], color=color, linestyle=":")
axis.set_xscale("log", base=2)
axis.set_xticks(accuracy.index.unique(), accuracy.index.unique())
axis.set(xlabel="test trials averaged", ylabel="accuracy", ylim=(0, 1.03))
axis.legend()

######################################################################
# What differs with the real files
# --------------------------------
#
# * **Size.** 16,540 training images and 200 test images, 80 trials of each test image. Chance is 0.5 %
#   top-1, and a number from 16 candidates says nothing about one from 200.
# * **Noise.** The simulation's was chosen so that tiny data can be learned. For real trials, published
#   methods say 6 to 91 % top-1 within a person, tested in different ways: :doc:`/methods` has each.
# * **Time.** 16,540 images and 50 epochs take a while without a GPU: :doc:`/numbers` has measurements.
# * **Settings.** ``lr`` and ``batch_size`` above suit 96 images. Leave them out, as in the commands at
#   the top.
#
# What next? :doc:`/fetch` has sizes and times of all downloads, :doc:`/data` the released forms, and
# :doc:`/evaluations` what makes numbers comparable. :ref:`things-meg-regions` does MEG.

import shutil

shutil.rmtree(folder)
