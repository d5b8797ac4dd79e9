"""
.. _things-eeg2-for-real:

THINGS-EEG2 for real
====================

The commands that download THINGS-EEG2 and train on it, and the same steps executed on files with its
layout and names but simulated content. The plot at the end is a good first look at real data, too: how
accuracy grows with the number of trials averaged.
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
# To try one real recording in five minutes, replace ``things-eeg`` with ``things-eeg-sample`` in these lines
# and add ``--method encoding`` to the last: a quarter of a gigabyte, 150 training and 50 test images.
#
# ``things-eeg`` uses the trials that the authors preprocessed: 17 channels at 100 Hz. ``--form raw`` fetches
# the recordings instead: 63 channels at 1000 Hz, 6 GB per subject. Images are encoded by CLIP's ResNet-50,
# whose weights are downloaded once.
#
# The same layout, simulated
# --------------------------
#
# We write raw recordings, images and metadata under their published names, with simulated content, and
# image features, so that no pretrained weights are needed.

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
# The numbers of images and concepts are read from the files, so the small copy works like the real one.

import pandas as pd

from braindecode_ssr import ThingsEEG

dataset = ThingsEEG(folder / "DIR")
counts = dataset.images.groupby("split", sort=False)[["image_id", "concept"]].nunique()
published = pd.DataFrame(
    {"image_id": [16540, 200], "concept": [1654, 200]}, index=["train", "test"]
)
pd.concat({"here": counts, "published": published}, axis=1)

######################################################################
# A recording is an MNE ``Raw`` in volts; its annotations name the images.

raw = dataset.to_braindecode(5).datasets[0].raw
raw.annotations[:3].to_data_frame()

######################################################################
# Trials
# ------
#
# With an image every 200 ms, responses overlap, and the mean response is a ripple. Decoding relies on the
# small differences between images.

import matplotlib.pyplot as plt
import mne

from braindecode_ssr import prepare
from braindecode_ssr.config import TrialSpec

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
# The ``train`` command above, in Python. It trains on 17 channels over the back of the head and averages the
# trials of each training image. The test trials are used only after training.

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
# The test averages all trials of an image. With fewer, it gets harder; here each number is drawn at random
# three times. Dotted lines are chance.

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
# * **Size.** 16,540 training images and 200 test images with 80 trials each. Chance is 0.5 % top-1;
#   accuracies among 16 candidates and among 200 cannot be compared.
# * **Noise.** The simulated noise is weak enough to learn from tiny data. On the real trials, published top-1
#   accuracies within a person range from 6 to 91 %, tested in different ways: see :doc:`/methods`.
# * **Time.** 16,540 images and 50 epochs take a while without a GPU: :doc:`/numbers` has measurements.
# * **Settings.** ``epochs``, ``lr`` and ``batch_size`` above suit 96 images. Leave them out for real data, as
#   in the commands at the top.
#
# What next? :doc:`/fetch` lists the sizes of all downloads, :doc:`/data` the released forms, and
# :doc:`/evaluations` explains which numbers can be compared. For MEG, see :ref:`things-meg-regions`.

import shutil

shutil.rmtree(folder)
