"""
.. _first-retrieval:

First retrieval in five minutes
===============================

A person looks at a stream of images, one every 200 ms, while EEG is recorded. From the brain response
alone, can we tell which image it was? This tutorial takes you from recordings to retrieved images on a
small simulated dataset. It runs in less than a minute on a laptop, and nothing is downloaded.

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
# ``things-sim`` simulates an experiment with the design of THINGS-EEG2. A dataset object knows its
# subjects, images and recordings; the trials and image features made from them are kept in its folder.

import tempfile
from pathlib import Path

from braindecode_ssr.datasets.things_sim import ThingsSim

folder = Path(tempfile.mkdtemp())
dataset = ThingsSim(folder / "things-sim", preset="tiny")
dataset.images.groupby("split")[["image_id", "concept"]].nunique()

######################################################################
# The test concepts do not occur in the training split: this is what *zero-shot* means. The model
# will never see any of the sixteen concepts below during training.

import matplotlib.pyplot as plt

test = dataset.images[dataset.images["split"] == "test"]
figure, axes = plt.subplots(2, 8, figsize=(10, 3), layout="constrained")
for axis, image in zip(axes.flat, test.itertuples(), strict=False):
    axis.imshow(dataset.image(image.image_id))
    axis.set_title(image.concept, fontsize=7)
    axis.axis("off")

######################################################################
# Recordings are continuous: MNE ``Raw`` objects inside a braindecode dataset, in which each image
# is an annotation.

recordings = dataset.to_braindecode(subject=5)
recordings.datasets[0].raw.annotations.to_data_frame().head()

######################################################################
# Trials
# ------
#
# Recordings are cut into trials around each onset, baseline-corrected and resampled to 250 Hz. Trials
# are kept in a *trial store*: an array on disk, and a table that names the image of each row. Training
# also whitens the noise; we leave that out here to see the response in volts.

from braindecode_ssr import prepare
from braindecode_ssr.config import TrialSpec

store = prepare(dataset, 5, TrialSpec(whitening="none", start=-0.2))
store

######################################################################

store.table.head()

######################################################################
# The average over all training trials is the response that all images share. Single images differ
# from it only slightly, and these differences are all there is to decode.

import mne

mne.set_log_level("error")

averages = store.average("train")
evoked = mne.EvokedArray(averages.x.mean(axis=0), store.info, tmin=-0.2, verbose="error")
evoked.plot_joint(times=[0.1, 0.2, 0.4], title="all training images")

######################################################################
# Image features
# --------------
#
# On the image side, a frozen encoder turns each image, and altered *views* of it, into features.
# ``pyramid`` needs no pretrained weights: it measures the energy of oriented filters at several scales.
# CLIP, DINOv2 and others are chosen by name in the same way.

from braindecode_ssr.images.features import extract
from braindecode_ssr.images.store import FeatureStore

views = ("original", "blur", "noise", "low-resolution", "mosaic")
features = FeatureStore(dataset.derived / "features")
extract(dataset, "pyramid", views, features)
original = features.read("pyramid", "original", test["image_id"].tolist())
original.shape

######################################################################
# Which test images look alike to the encoder? These are the ones most easily confused.

from braindecode_ssr.retrieval.ranks import cosine

alike = cosine(original - original.mean(axis=0), original - original.mean(axis=0))
figure, axis = plt.subplots(figsize=(6.5, 5), layout="constrained")
picture = axis.imshow(alike, cmap="RdBu_r", vmin=-1, vmax=1)
axis.set_xticks(range(len(test)), test["concept"], rotation=90, fontsize=7)
axis.set_yticks(range(len(test)), test["concept"], fontsize=7)
figure.colorbar(picture, ax=axis, label="cosine of centered features")

######################################################################
# Training
# --------
#
# One spec describes a run. ``method`` names a recipe: ``ssr-tuned`` is SSR with settings that were chosen
# on training concepts of the simulation. What you leave out takes its default, which may depend on the
# data, such as the image encoder. ``train`` writes a run folder.

from braindecode_ssr.pipeline import train
from braindecode_ssr.resolve import run_spec

spec = run_spec(
    {
        "method": "ssr-tuned",
        "data": {"dataset": "things-sim", "preset": "tiny", "subject": 5},
        "train": {"epochs": 20},
    }
)
run = train(spec, data_dir=dataset.root, out=folder / "runs")

######################################################################
# The history has every part of the loss. ``brain_view``, ``brain_original`` and ``view_original``
# are the three contrasts; the two reconstructions predict a masked half of one embedding from its other
# half and from the other modality.

parts = ["brain_view", "brain_original", "view_original", "reconstruct_view", "reconstruct_brain"]
figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
run.history.plot(x="epoch", y=parts, ylabel="loss", ax=axis)

######################################################################
# Retrieval
# ---------
#
# For the test, all trials of a test image are averaged, embedded, and compared with every test image.
# The table has one row per query; rank 1 means that the image that was seen came first.

run.queries[["image_id", "rank", "score", "top_1", "top_2", "top_3"]].head()

######################################################################

import pandas as pd

shown = ["top1", "chance_top1", "ceiling_top1", "top5", "chance_top5", "ceiling_top5", "n_queries"]
pd.Series({name: run.summary[name] for name in shown}).round(3)

######################################################################
# ``ceiling`` is the accuracy of an ideal observer who knows the true responses and the noise, which
# only a simulation can tell. With so little data, the model stays below it.
#
# Here is what was retrieved, for the two best, middle and worst queries: on the left the image that was
# seen, then the five nearest. The right one has a green frame.

figure = run.plot_retrieval()

######################################################################
# The ranks of all queries. If the model were guessing, all bars would be about equally high.

figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
axis.hist(run.queries["rank"], bins=[place - 0.5 for place in range(1, len(test) + 2)])
axis.axhline(1, color="black", linestyle=":", label="chance")
axis.set(xlabel="rank of the image that was shown", ylabel="queries")
axis.legend()

######################################################################
# How many repetitions does it take?
# ----------------------------------
#
# A finished run can be tested again with fewer trials averaged per image. One of 16 queries is six
# points of accuracy, so the curves are rough.

from braindecode_ssr.config import EvaluationSpec
from braindecode_ssr.pipeline import evaluate

most = run.summary["repetitions"]
numbers = {}
for repetitions in sorted({1, 2, 4, 8, most}):
    _, summary = evaluate(run.path, EvaluationSpec(repetitions=repetitions))
    numbers[repetitions] = {"top-1": summary["top1"], "top-5": summary["top5"]}

figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
pd.DataFrame(numbers).T.plot(marker="o", logx=True, ylim=(0, 1.05), ax=axis)
for name, color in (("chance_top1", "C0"), ("chance_top5", "C1")):
    axis.axhline(summary[name], color=color, linestyle=":")
axis.set(xlabel="repetitions averaged", ylabel="accuracy (dotted: chance)")
axis.set_xticks(list(numbers), [str(repetitions) for repetitions in numbers])
axis.legend()

######################################################################
# Where to go from here
# ---------------------
#
# - From the command line: ``ssr-bd train --dataset things-sim --subject 5``.
# - Another brain encoder: ``"model": {"backbone": "EEGNet"}``, or any name from
#   ``ssr-bd list backbones``; see :ref:`swap-backbone`.
# - Across people: ``"data": {"protocol": "inter"}`` trains on all other subjects; see :ref:`subjects`.
# - Real recordings: ``"data": {"dataset": "things-eeg"}``; see :ref:`things-eeg2-for-real`.

import shutil

shutil.rmtree(folder)
