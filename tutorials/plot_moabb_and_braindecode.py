"""
.. _moabb-and-braindecode:

The same data in MOABB and in braindecode
=========================================

If you already work with MOABB or braindecode, you can use the datasets of this package with either. This
tutorial loads one experiment through both, shows that the trials are the same, and lets MOABB score image
retrieval within and across people. It runs on simulated data in less than half a minute; nothing is
downloaded.

.. contents:: This tutorial covers:
   :local:
   :depth: 1
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

######################################################################
# A MOABB dataset
# ---------------
#
# ``Gifford2022`` is THINGS-EEG2, ``Hebart2023`` is THINGS-MEG, and ``SimulatedThings`` simulates an
# experiment of the same design. Each session has two runs: training images, and test images of concepts
# that do not occur among the training images.

import shutil
import tempfile
from pathlib import Path

from braindecode_ssr.moabb import SimulatedThings

folder = Path(tempfile.mkdtemp())
dataset = SimulatedThings(subjects=[1, 2, 3], root=folder / "things-sim")
recordings = dataset.get_data(subjects=[1])
recordings[1]["0"]

######################################################################
# MOABB's events say whether an image is for training or for the test. Which image it was is an extra of each
# annotation.

raw = recordings[1]["0"]["0train"]
raw.annotations[:4].to_data_frame()

######################################################################
# A MOABB paradigm
# ----------------
#
# ``ImageRetrieval`` cuts trials and labels each with its image. It takes MOABB's usual parameters.

from braindecode_ssr.moabb import ImageRetrieval

occipital = ["O1", "Oz", "O2", "PO3", "POz", "PO4", "PO7", "PO8", "P7", "P3", "Pz", "P4", "P8"]
paradigm = ImageRetrieval(channels=occipital, baseline=(-0.1, 0), resample=100)
x, images, table = paradigm.get_data(dataset, additional_metadata="all")
table.head()

######################################################################
# With an image every 200 ms, each trial also contains responses to the images before and after. The
# average over all trials is a ripple at the rate of presentation (images are on the screen during the
# yellow stretches). Differences between images are far smaller than that.

import matplotlib.pyplot as plt
import numpy as np

times = np.arange(x.shape[2]) / 100
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", sharey=True)
for axis, run, title in zip(axes, ["0train", "1test"], ["training", "test"], strict=True):
    axis.plot(times, x[table["run"] == run].mean(axis=0).T, linewidth=1)
    for onset in np.arange(0, 1, 0.2):
        axis.axvspan(onset, onset + 0.1, color="gold", alpha=0.25, linewidth=0)
    axis.set(title=f"{title} images", xlabel="seconds after onset", xlim=(0, 1))
axes[0].set_ylabel("microvolts")
axes[0].legend(["each line a channel"], fontsize=8, loc="upper right")

######################################################################
# The same trials in braindecode
# ------------------------------
#
# Every dataset gives its recordings as a ``BaseConcatDataset``. The extras of the annotations become
# columns of the metadata of windows.

from braindecode.preprocessing import create_windows_from_events

concat = dataset.source().to_braindecode(1)
windows = create_windows_from_events(concat)
windows.get_metadata()[["image_id", "concept", "split", "subject", "session"]].head()

######################################################################
# These are the trials of MOABB, at the original sampling rate and without baseline correction. The largest
# difference, in microvolts:

same, _, _ = ImageRetrieval().get_data(dataset, subjects=[1])
float(max(abs(1e6 * windows[i][0] - same[i]).max() for i in range(len(windows))))

######################################################################
# Everything in braindecode works on them: ``split``, ``set_target``, ``save``, ``EEGRegressor``. For
# large data there is a faster way to the same type: a trial store is cut, whitened and written once, and
# then provides windows without copying.

from braindecode_ssr import prepare
from braindecode_ssr.config import TrialSpec

own = dataset.source()
store = prepare(own, 1, TrialSpec())
fast = store.to_braindecode(own.images)
{name: len(part) for name, part in fast.split("split").items()}

######################################################################
# Features of images
# ------------------
#
# To retrieve images, brain responses are mapped to image features, which a frozen encoder computes.
# ``pyramid`` needs no pretrained weights.

import pandas as pd

from braindecode_ssr.images.features import extract
from braindecode_ssr.images.store import FeatureStore

features = FeatureStore(own.derived / "features")
extract(own, "pyramid", ("original",), features)
names = own.images["image_id"].tolist()
features = pd.DataFrame(features.read("pyramid", "original", names), index=names)
features.shape

######################################################################
# MOABB's evaluations, with no concept on both sides
# --------------------------------------------------
#
# MOABB's own splits would train on test images. ``ImageRetrieval.evaluation`` does not: ``"intra"``
# trains on a person's training images and tests on their test images; ``"inter"`` trains on the training
# images of all other people. Both refuse data in which a concept occurs on both sides. Here we score a
# ridge regression.

from sklearn.linear_model import Ridge

from braindecode_ssr.moabb import FeatureRegression, LeaveSubjectOutZeroShot

pipelines = {"ridge": FeatureRegression(features, Ridge(alpha=3e3))}
scores = {
    protocol: paradigm.evaluation(
        protocol, [dataset], hdf5_path=str(folder / "results"), overwrite=True
    ).process(pipelines)
    for protocol in ("intra", "inter")
}
columns = ["subject", "session", "score_top1", "score_top5", "samples", "samples_test", "n_classes"]
scores["intra"][columns]

######################################################################
# Each dot is one session of one person: about 6 trials of each of the 16 test images are averaged and
# compared with all 16 images. A linear model transfers less well to another person.

figure, axes = plt.subplots(1, 2, figsize=(8, 3.5), layout="constrained", sharey=True)
rng = np.random.default_rng(0)
for axis, k in zip(axes, (1, 5), strict=True):
    for place, name in enumerate(scores):
        found = scores[name][f"score_top{k}"]
        spread = rng.uniform(-0.12, 0.12, len(found))
        subjects = scores[name]["subject"].astype(int)
        axis.scatter(place + spread, found, c=subjects, cmap="Dark2", vmin=1, vmax=8, zorder=2)
        axis.hlines(found.mean(), place - 0.25, place + 0.25, color="black", zorder=3)
    axis.axhline(k / 16, color="black", linestyle=":", label="chance")
    axis.set_xticks(range(2), ["within a person", "across people"])
    axis.set(title=f"top {k}", xlim=(-0.6, 1.6), ylim=(-0.03, 1.05))
axes[0].set_ylabel("share of images")
axes[0].legend()

######################################################################
# What a split looks like
# -----------------------
#
# The folds of ``LeaveSubjectOutZeroShot``, trial by trial in the order of recording. Trials that share a
# person or a concept with the other side are left out.

folds = list(LeaveSubjectOutZeroShot().split(table, images, table["subject"]))
rows = np.zeros((len(folds), len(table)))
for row, (train, test) in zip(rows, folds, strict=True):
    row[train], row[test] = 1, 2

from matplotlib.colors import ListedColormap

figure, axis = plt.subplots(figsize=(9, 2.6), layout="constrained")
colors = ListedColormap(["#e8e8e8", "tab:blue", "tab:orange"])
picture = axis.imshow(rows, aspect="auto", interpolation="nearest", cmap=colors)
axis.set(xlabel="trial", yticks=range(3), yticklabels=[f"subject {s} tested" for s in (1, 2, 3)])
for border in np.flatnonzero(np.diff(table["subject"])) + 0.5:
    axis.axvline(border, color="black", linewidth=1)
bar = figure.colorbar(picture, ax=axis, ticks=[1 / 3, 1, 5 / 3])
bar.ax.set_yticklabels(["left out", "trained on", "tested"])

######################################################################
# The real recordings
# -------------------
#
# Replace ``SimulatedThings`` with ``Gifford2022(subjects=[5], root=DIR)`` or ``Hebart2023(subjects=[2],
# root=DIR)`` to do the same with THINGS-EEG2 and THINGS-MEG. MOABB keeps whole recordings in memory, so
# choose ``sessions``; :doc:`/hosts` says how much memory that takes.

shutil.rmtree(folder)
