"""
.. _first-retrieval:

First retrieval in five minutes
===============================

A person looks at images, one every 200 ms, while EEG is recorded. Afterwards, from the brain response
alone: which image was it? This tutorial goes the whole road on simulated data, in the smallest size
there is, so that it runs in less than a minute on a laptop. Nothing is downloaded.

.. contents:: This tutorial covers:
   :local:
   :depth: 1
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

# sphinx_gallery_thumbnail_number = 5

######################################################################
# An experiment
# -------------
#
# ``things-sim`` simulates an experiment with the design of THINGS-EEG2. A dataset knows its
# subjects, its images by name, and its recordings; trials and image features that are made of
# them are kept in its folder.

import tempfile
from pathlib import Path

from braindecode_ssr.datasets.things_sim import ThingsSim

folder = Path(tempfile.mkdtemp())
dataset = ThingsSim(folder / "things-sim", preset="tiny")
dataset.images.groupby("split")[["image_id", "concept"]].nunique()

######################################################################
# No concept of the test split occurs in the training split: that is what *zero-shot* means. The
# sixteen images below are of concepts that training will never see.

import matplotlib.pyplot as plt

test = dataset.images[dataset.images["split"] == "test"]
figure, axes = plt.subplots(2, 8, figsize=(10, 3), layout="constrained")
for axis, image in zip(axes.flat, test.itertuples(), strict=False):
    axis.imshow(dataset.image(image.image_id))
    axis.set_title(image.concept, fontsize=7)
    axis.axis("off")

######################################################################
# Recordings are continuous. They are MNE Raw objects inside braindecode datasets; each image is
# an annotation.

recordings = dataset.to_braindecode(subject=5)
recordings.datasets[0].raw.annotations.to_data_frame().head()

######################################################################
# Trials
# ------
#
# Recordings become trials: cut around each onset, baseline subtracted, resampled to 250 Hz.
# Trials lie in a *trial store*, an array on disk with a table that names the image of each row.
# To look at the response in volts we leave the noise normalisation out, which training puts in.

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.trials.prepare import prepare

store = prepare(dataset, 5, TrialSpec(whitening="none", start=-0.2))
store

######################################################################

store.table.head()

######################################################################
# The average over all training trials is what every image evokes. Responses to single images
# differ from it by little, and that little is all there is to decode.

import mne

averages = store.average("train")
evoked = mne.EvokedArray(averages.x.mean(axis=0), store.info, tmin=-0.2, verbose="error")
evoked.plot_joint(times=[0.1, 0.2, 0.4], title="all training images")

######################################################################
# Image features
# --------------
#
# On the other side, a frozen encoder turns every image, and altered *views* of it, into features.
# ``pyramid`` needs no weights: energies of oriented filters at several scales. ``open-clip``
# encoders are chosen in the same way.

from braindecode_ssr.images.features import extract
from braindecode_ssr.images.store import FeatureStore

views = ("original", "blur", "noise", "low-resolution", "mosaic")
features = FeatureStore(dataset.derived / "features")
extract(dataset, "pyramid", views, features)
original = features.read("pyramid", "original", test["image_id"].tolist())
original.shape

######################################################################
# Which test images are alike for the encoder? Those will be mixed up most easily.

from braindecode_ssr.retrieval.ranks import cosine

alike = cosine(original - original.mean(axis=0), original - original.mean(axis=0))
figure, axis = plt.subplots(figsize=(6.5, 5), layout="constrained")
picture = axis.imshow(alike, cmap="RdBu_r", vmin=-1, vmax=1)
axis.set_xticks(range(len(test)), test["concept"], rotation=90, fontsize=7)
axis.set_yticks(range(len(test)), test["concept"], fontsize=7)
figure.colorbar(picture, ax=axis, label="cosine of centred features")

######################################################################
# Training
# --------
#
# A run is described by one spec. What is left out has a default, or is chosen by the data: 17
# occipito-parietal channels and the backbone ``EEGProject`` for a single subject. ``train`` makes
# a run folder.

from braindecode_ssr.pipeline import train
from braindecode_ssr.resolve import run_spec

spec = run_spec(
    {
        "data": {"dataset": "things-sim", "preset": "tiny", "subject": 5},
        "model": {"n_outputs": 128},
        "train": {"epochs": 30, "batch_size": 32, "lr": 1e-3},
    }
)
run = train(spec, data_dir=dataset.root, out=folder / "runs")

######################################################################
# Every part of the loss is in the history. ``brain_view``, ``brain_original`` and
# ``view_original`` are the three contrasts; the two reconstructions guess a masked half of one
# embedding from the rest and from the other embedding.

parts = ["brain_view", "brain_original", "view_original", "reconstruct_view", "reconstruct_brain"]
figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
run.history.plot(x="epoch", y=parts, ylabel="loss", ax=axis)

######################################################################
# Retrieval
# ---------
#
# The test: all trials of a test image are averaged, embedded, and compared with all test images.
# The table has one row per query; rank 1 means that the seen image was nearest.

run.queries[["image_id", "rank", "score", "top_1", "top_2", "top_3"]].head()

######################################################################

import pandas as pd

shown = ["top1", "chance_top1", "ceiling_top1", "top5", "chance_top5", "ceiling_top5", "n_queries"]
pd.Series({name: run.summary[name] for name in shown}).round(3)

######################################################################
# ``ceiling`` is what an ideal observer reaches that knows the true responses and the noise. Only
# a simulation can tell. With so little data the model stays below it.
#
# What did the model see? On the left the image that was shown, then the five nearest.

figure, axes = plt.subplots(4, 6, figsize=(8, 6), layout="constrained")
for row, query in zip(axes, run.queries.itertuples(), strict=False):
    nearest = [getattr(query, f"top_{place}") for place in range(1, 6)]
    for axis, image_id in zip(row, [query.image_id, *nearest], strict=True):
        axis.imshow(dataset.image(image_id))
        axis.set_xticks([])
        axis.set_yticks([])
        for side in axis.spines.values():
            right = axis is not row[0] and image_id == query.image_id
            side.set(color="tab:green" if right else "white", linewidth=4)
for axis, title in zip(axes[0], ["shown", "1st", "2nd", "3rd", "4th", "5th"], strict=True):
    axis.set_title(title)

######################################################################
# Ranks of all queries; guessing would make all bars equally high.

figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
axis.hist(run.queries["rank"], bins=[place - 0.5 for place in range(1, len(test) + 2)])
axis.axhline(1, color="black", linestyle=":", label="chance")
axis.set(xlabel="rank of the image that was shown", ylabel="queries")
axis.legend()

######################################################################
# How many repetitions does it take?
# ----------------------------------
#
# A finished run is tested again with fewer trials averaged per image.

from braindecode_ssr.config import EvaluationSpec
from braindecode_ssr.pipeline import evaluate

most = run.summary["repetitions"]
numbers = {}
for repetitions in sorted({1, 2, 4, 8, most}):
    _, summary = evaluate(run.path, EvaluationSpec(repetitions=repetitions))
    numbers[repetitions] = {"model": summary["top1"], "ceiling": summary["ceiling_top1"]}

figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
pd.DataFrame(numbers).T.plot(marker="o", logx=True, ylim=(0, 1.05), ax=axis)
axis.axhline(summary["chance_top1"], color="black", linestyle=":", label="chance")
axis.set(xlabel="repetitions averaged", ylabel="top-1 accuracy")
axis.set_xticks(list(numbers), [str(repetitions) for repetitions in numbers])
axis.legend()

######################################################################
# Where to go from here
# ---------------------
#
# - The same on a shell: ``ssr-bd train --dataset things-sim --subject 5``.
# - Another brain encoder: ``"model": {"backbone": "EEGNet"}``, or any other name of
#   ``ssr-bd list backbones``.
# - Other people's brains: ``"data": {"protocol": "inter"}`` trains on all other subjects.
# - Recordings instead of a simulation: ``"data": {"dataset": "things-eeg"}``.

import shutil

shutil.rmtree(folder)
