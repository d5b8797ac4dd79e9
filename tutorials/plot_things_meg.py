"""
.. _things-meg-regions:

THINGS-MEG, region by region
============================

You will see files in the layout of THINGS-MEG, the field over the helmet while images are on, and a
model trained on each region of sensors alone: where is the information on which image was seen?
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

######################################################################
# The files
# ---------
#
# The real ones are 8.26 GB a subject, ``ssr-bd data fetch things-meg --subject 2 --data-dir DIR
# --yes``. Here are simulated ones of the smallest size, with the same names: trials that are cut
# already and z-scored on their own baseline, so that they have no unit.

import tempfile
from pathlib import Path

from braindecode_ssr import ThingsMEG
from braindecode_ssr.pipeline import simulate

folder = Path(tempfile.mkdtemp())
meg = folder / "meg"
simulate("things-sim", meg, layout="meg", preset="tiny-v1", subjects=(1,))
dataset = ThingsMEG(meg)
dataset.images.groupby("split", sort=False)[["image_id", "concept"]].nunique()

######################################################################
# Trials
# ------
#
# Each test image was shown once in each of twelve sessions, a training image once in all. The concepts
# of test images are shown in training sessions, too: those trials are left out, or the test would not
# be zero-shot.

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.trials.prepare import prepare

store = prepare(dataset, 1, TrialSpec(whitening="none"))
store.table.groupby("split", sort=False)["session"].value_counts().unstack()

######################################################################
# An image stays for 500 ms, and the next one comes after 1.5 s: unlike in THINGS-EEG2, the response has
# time to unfold. How much the mean field differs between test images, over time and over the helmet:

import matplotlib.pyplot as plt
import mne

mne.set_log_level("error")
differs = store.average("test").x.std(axis=0)
evoked = mne.EvokedArray(differs, store.info, tmin=store.tmin, verbose="error")
picture = evoked.plot_joint(
    times=[0.1, 0.2, 0.4],
    title="standard deviation over test images",
    ts_args={"scalings": 1, "units": "baseline SDs"},
    topomap_args={
        "scalings": 1,
        "units": "SDs",
        "cmap": "viridis",
        "contours": 0,
        "vlim": (0, None),
    },
)

######################################################################
# Five regions
# ------------
#
# ``data.channels`` takes regions of the helmet, also joined as ``meg-occipital-parietal``; in the
# shell, ``--set data.channels=meg-occipital``. The linear encoding model is trained on each, in
# seconds.

import pandas as pd

from braindecode_ssr import train

recipe = {"dataset": "things-meg", "subject": 1, "data_dir": meg, "out": folder / "runs"}
regions = ["frontal", "central", "temporal", "parietal", "occipital"]
runs = {
    region: train(**recipe, method="encoding", **{"data.channels": f"meg-{region}"})
    for region in regions
}
runs["all"] = train(**recipe, method="encoding")
columns = ["top1", "top5", "mean_rank", "chance_top1"]
table = pd.DataFrame({name: {c: run.summary[c] for c in columns} for name, run in runs.items()}).T
table.insert(0, "sensors", [len(run.channels.ch_names) for run in runs.values()])
table

######################################################################
# Left, each sensor has the accuracy of its region. Right, the same with 95 % intervals, which are wide
# with 16 test images.

import numpy as np
from scipy.stats import binomtest

figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
value = np.full(len(store.info.ch_names), np.nan)
for region in regions:
    picks = [store.info.ch_names.index(name) for name in runs[region].channels.ch_names]
    value[picks] = runs[region].summary["top1"]
drawn, _ = mne.viz.plot_topomap(
    data=value,
    pos=store.info,
    axes=axes[0],
    image_interp="nearest",
    contours=0,
    sensors="k.",
    cmap="viridis",
    vlim=(0, 1),
    show=False,
)
figure.colorbar(drawn, ax=axes[0], label="top-1 accuracy of the region", shrink=0.8)
n = runs["all"].summary["n_queries"]
for place, run in enumerate(runs.values()):
    top1 = run.summary["top1"]
    interval = binomtest(round(top1 * n), n).proportion_ci(method="wilson")
    axes[1].plot(interval, [place, place], color="tab:blue", linewidth=5, alpha=0.35)
    axes[1].plot(top1, place, "o", color="tab:blue")
axes[1].axvline(1 / n, color="gray", linestyle=":", label="chance")
axes[1].set_yticks(range(len(runs)), runs)
axes[1].set(xlabel="top-1 accuracy", xlim=(0, 1))
axes[1].legend()

######################################################################
# In the simulation, early responses are strongest over occipital sensors and late ones over temporal
# and parietal ones. Fields of MEG spread widely, however, so that a region also sees sources under its
# neighbors: such a picture tells where the signal can be read, not where it comes from.
#
# With the real files
# -------------------
#
# There are 271 sensors and 200 test images. Each region has 39 to 68 sensors, ``--method ssr`` is
# trained as on EEG, and chance is 0.5 %.
#
# What next? :doc:`/meg` has the files, the choice of the normalization, and how EEG and MEG are trained
# together without seeing each other's test concepts. :ref:`when-and-where` asks one trained model
# instead of training one per region.

import shutil

shutil.rmtree(folder)
