"""
.. _things-meg-regions:

THINGS-MEG, region by region
============================

Which sensors carry information about the image that was seen? Here we read files in the layout of
THINGS-MEG, look at the field over the helmet, and train a model on each region of sensors alone.
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

######################################################################
# The files
# ---------
#
# The real files are 8.26 GB per subject (``ssr-bd data fetch things-meg --subject 2 --data-dir DIR
# --yes``). Here we simulate small ones with the same names. Like the published ones, they hold epochs that
# are z-scored by their baseline and therefore have no unit.

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
# Each test image was shown once in each of the twelve sessions, each training image once overall. Test
# concepts also occur among the training images; those trials are left out, or the test would not be
# zero-shot.

from braindecode_ssr import prepare
from braindecode_ssr.config import TrialSpec

store = prepare(dataset, 1, TrialSpec(whitening="none"))
store.table.groupby("split", sort=False)["session"].value_counts().unstack()

######################################################################
# Images are on for 500 ms, about 1.5 s apart, so that unlike in THINGS-EEG2 responses hardly overlap. How
# much does the averaged field differ between test images, over time and over the helmet?

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
# ``data.channels`` takes regions of the helmet, or several joined as ``meg-occipital-parietal``; on the
# command line, ``--set data.channels=meg-occipital``. The linear encoding model trains on each in seconds.

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
# Left: the accuracy of each region, drawn at its sensors. Right: the same with 95 % intervals, which are wide
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
# In the simulation, early responses are strongest over occipital sensors and late ones over temporal and
# parietal sensors. MEG fields spread widely, however, so each region also picks up sources below its
# neighbors: the map shows where the signal can be read out, not where it comes from.
#
# With the real files
# -------------------
#
# The real data have 271 sensors, 39 to 68 per region, and 200 test images, so chance is 0.5 %. Networks are
# trained as on EEG, for example with ``--method ssr``.
#
# What next? :doc:`/meg` describes the files, the choice of normalization, and how to train on EEG and MEG
# without seeing each other's test concepts. :ref:`when-and-where` asks one trained model instead of training
# one for each region.

import shutil

shutil.rmtree(folder)
