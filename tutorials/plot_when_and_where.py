"""
.. _when-and-where:

When can an image be decoded, and where?
========================================

Two questions that are often confused: what do the *data* tell about an image at a time, and what does a
trained *model* look at? You will see both as curves over time, and the model's answer on the head.
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

######################################################################
# A run on the whole head
# -----------------------
#
# One simulated person, all 63 channels. Version 1 of the simulation has strong responses, which so few
# images need.

import tempfile
from pathlib import Path

from braindecode_ssr import train

folder = Path(tempfile.mkdtemp())
run = train(
    dataset="things-sim",
    preset="tiny-v1",
    subject=5,
    **{"data.channels": "all"},
    epochs=20,
    batch_size=32,
    lr=1e-3,
    data_dir=folder / "sim",
    out=folder / "runs",
)
run

######################################################################
# When do the data tell?
# ----------------------
#
# A linear encoding model is fitted and tested on windows of 100 ms, one after the other: each sees
# nothing but its window. Trials and image features are those that the run has prepared.

import pandas as pd

from braindecode_ssr import FeatureStore, ThingsSim
from braindecode_ssr.config import TrialSpec
from braindecode_ssr.training.encoding import EncodingModel
from braindecode_ssr.trials.prepare import prepare

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
# When does the model look?
# -------------------------
#
# The trained model stays as it is. Of each test trial, only a sliding window of 100 ms is kept; the
# rest is replaced by the mean training trial.

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
# In the first tens of milliseconds no response has reached the cortex, real or simulated: a curve that
# is well above chance there has a leak. A model that was trained on whole trials gets little out of a
# single window, because it adds up evidence over time: the curve of all samples until then says how fast.
# ``run.plot_time_windows()`` draws both of its curves with their uncertainty.

######################################################################
# Where does it look?
# -------------------
#
# Integrated gradients say for each sample how much it adds to the similarity with the right image.
# Above, on the head for eight stretches of time; below, summed over all electrodes.

figure = run.plot_attribution()

######################################################################
# The other way is to keep only a sensor and its four neighbors, or to take them away:

figure = run.plot_regions()

######################################################################
# Where keeping helps, there is information; where taking away hurts, it is nowhere else. The two maps
# need not agree, because neighboring electrodes see much the same.
#
# What next? ``ssr-bd report RUNS --plots --interpret`` draws these figures for every method.
# :ref:`things-meg-regions` trains anew on each region, :ref:`linear-model` reads patterns of a linear
# model.

import shutil

shutil.rmtree(folder)
