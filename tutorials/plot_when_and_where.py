"""
.. _when-and-where:

When can an image be decoded, and where?
========================================

Two questions are easily confused: when do the *data* carry information about the image, and when does a
trained *model* use it? Here we answer both as curves over time, and ask the model which sensors it uses.
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

######################################################################
# A run on the whole head
# -----------------------
#
# One simulated person, all 63 channels. With so few images we need the strong responses of version 1 of
# the simulation (``tiny-v1``).

import tempfile
from pathlib import Path

from braindecode_ssr import train

folder = Path(tempfile.mkdtemp())
run = train(
    dataset="things-sim",
    preset="tiny-v1",
    subject=5,
    **{"data.channels": "all", "model.width": 256},
    epochs=20,
    batch_size=32,
    lr=1e-3,
    data_dir=folder / "sim",
    out=folder / "runs",
)
run

######################################################################
# When is there information in the data?
# --------------------------------------
#
# We fit and test a linear encoding model on one 100 ms window after another, so that it sees nothing
# outside its window. Trials and image features are those that the run has prepared.

import pandas as pd

from braindecode_ssr import FeatureStore, ThingsSim, prepare
from braindecode_ssr.config import TrialSpec
from braindecode_ssr.training.encoding import EncodingModel

dataset = ThingsSim(folder / "sim", preset="tiny-v1")
store = prepare(dataset, 5, TrialSpec())
stored = FeatureStore(dataset.derived / "features")
parts = {split: store.average(split) for split in ("train", "test")}
features = {
    split: stored.read(dataset.default_encoder, "original", part.table["image_id"].tolist())
    for split, part in parts.items()
}
width, rows = round(0.1 * store.sfreq), []
for first in range(0, parts["train"].x.shape[2] - width + 1, width):
    window = slice(first, first + width)
    start = store.tmin + first / store.sfreq
    model = EncodingModel(store.sfreq, 0.05, n_components=(48,), penalties=(0.1, 1.0))
    model.fit(
        parts["train"].x[:, :, window],
        features["train"],
        parts["train"].table["concept"].to_numpy(),
    )
    top1 = model.score(parts["test"].x[:, :, window], features["test"])
    rows.append({"start": start, "center": start + 0.05, "top1": top1})
data_tell = pd.DataFrame(rows)

######################################################################
# When does the model use it?
# ---------------------------
#
# The trained model stays as it is. In each test trial we keep only a sliding window of 100 ms and replace
# the rest with the mean training trial.

look = run.interpret()
windows = look.time_windows(window=0.1, step=0.02)
model_looks = windows[windows["kind"] == "only"]

import matplotlib.pyplot as plt

figure, axis = plt.subplots(figsize=(7, 3.5), layout="constrained")
axis.bar(
    data_tell["center"],
    data_tell["top1"],
    0.09,
    color="lightgray",
    label="window alone, fitted anew",
)
axis.plot(
    model_looks[["start", "stop"]].mean(axis=1),
    model_looks["top1"],
    label="trained model, window kept",
)
until = windows[windows["kind"] == "until"]
axis.plot(until["stop"], until["top1"], label="trained model, all until then")
axis.axhline(run.summary["chance_top1"], color="black", linestyle=":", label="chance")
axis.set(xlabel="seconds after onset", ylabel="top-1 accuracy", ylim=(0, 1.03), xlim=(0, 1))
axis.legend(fontsize=8, loc="upper right")

######################################################################
# In the first tens of milliseconds no response has reached the cortex, real or simulated: accuracy well
# above chance there would point to a leak. A model trained on whole trials gets little out of a single
# window because it accumulates evidence over time; the third curve shows how fast.
# ``run.plot_time_windows()`` draws the two curves of the model with their uncertainty.

######################################################################
# Which sensors does it use?
# --------------------------
#
# Integrated gradients say how much each sample adds to the similarity with the right image: on the head in
# eight time windows (above), and summed over all electrodes (below).

figure = run.plot_attribution()

######################################################################
# Another way is to keep only a sensor and its four nearest neighbors, or to remove them:

figure = run.plot_regions()

######################################################################
# Where keeping a group of sensors is enough to retrieve images, it carries information; where removing it
# hurts, the information is not found elsewhere. The two maps need not agree, because neighboring electrodes
# record much the same signal.
#
# What next? ``ssr-bd report RUNS --plots --interpret`` draws these figures for every method.
# :ref:`things-meg-regions` trains anew on each region, :ref:`linear-model` reads patterns of a linear
# model.

import shutil

shutil.rmtree(folder)
