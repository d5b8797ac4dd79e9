"""
.. _views-and-encoders:

Views and encoders
==================

The brain does not register every pixel of a picture, so many methods train on *views*: altered copies of the
image, passed through a frozen image encoder. Here you will see what blur, noise, mosaic and fovea do to a
picture, whether an encoder still recognizes it, and how training on views affects retrieval.
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

# sphinx_gallery_thumbnail_number = 1

######################################################################
# Views
# -----
#
# A view is a function from images to images. It has a name, and parameters that you can write into the name;
# the defaults are the published values.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from braindecode_ssr import ThingsSim
from braindecode_ssr.images import build_view

dataset = ThingsSim(Path(tempfile.mkdtemp()) / "things-sim", preset="tiny")
names = dataset.images.query("split == 'test'")["image_id"].tolist()
pixels = [np.array(dataset.image(name).resize((224, 224))) for name in names[:4]]
pixels = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)

views = ["original", "blur", "noise", "low-resolution", "mosaic", "fovea"]
stronger = ["blur?kernel=101", "noise?sd=100", "low-resolution?scale=0.03", "mosaic?level=28"]
figure, axes = plt.subplots(4, 10, figsize=(13, 5.6), layout="constrained")
for column, view in zip(axes.T, views + stronger, strict=True):
    seen = build_view(view)(pixels, seed=range(4))
    for axis, image in zip(column, seen, strict=True):
        axis.imshow(image.permute(1, 2, 0))
        axis.set(xticks=[], yticks=[])
    column[0].set_title(view.replace("?", "\n"), fontsize=8)

######################################################################
# The first six columns use the published values, for pictures of 224 pixels; the last four are stronger.
# You can add a view of your own as :ref:`plugin-in-ten-lines` adds a loss.
#
# What does an encoder recognize?
# -------------------------------
#
# An encoder turns a picture into a vector. Two come with the package and need no pretrained weights:
# ``pyramid`` measures oriented edges at several scales, and ``simnet`` is a small random network. Real
# studies use CLIP or DINOv2 in the same way (``ssr-bd list encoders``). Features are stored by encoder
# and view, and computed only once.

from braindecode_ssr import FeatureStore
from braindecode_ssr.images import extract

store = FeatureStore.of(dataset)
encoders = ("pyramid", "simnet")
for encoder in encoders:
    extract(dataset, encoder, views + stronger, store)
store.read("pyramid", "blur", names).shape

######################################################################
# How similar are a view and its own picture to the encoder, compared with two different pictures? The mean of
# the originals is subtracted from the features; otherwise all pictures would look alike.

from braindecode_ssr.retrieval.ranks import cosine


def alike(encoder, view):
    """Cosines of the test images in a view (rows) and of the originals (columns)."""
    original = store.read(encoder, "original", names)
    center = original.mean(axis=0)
    return cosine(store.read(encoder, view, names) - center, original - center)


figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
others = ~np.eye(len(names), dtype=bool)
for axis, encoder in zip(axes, encoders, strict=True):
    for place, view in enumerate(views + stronger):
        cosines = alike(encoder, view)
        for mask, color, side in ((others, "0.75", -0.15), (~others, "tab:blue", 0.15)):
            found = cosines[mask]
            axis.plot(np.full(len(found), place + side), found, ".", color=color, markersize=4)
    axis.axhline(0, color="black", linewidth=0.5)
    axis.set_xticks(range(len(views + stronger)), views + stronger, rotation=90, fontsize=8)
    axis.set_title(encoder)
axes[0].plot([], [], ".", color="tab:blue", label="its own picture")
axes[0].plot([], [], ".", color="0.75", label="another picture")
axes[0].set_ylabel("cosine of view and original")
figure.legend(loc="outside upper right", ncols=2, fontsize=8)

######################################################################
# Where blue and gray overlap, the encoder can no longer tell which picture a view was made from: too much was
# removed. Which views do this depends on the encoder, so look before you choose.
#
# Effect on retrieval
# -------------------
#
# Now with brain responses: a linear model (:ref:`linear-model`) is trained on the features of views and
# tested, as always, among the *original* test images. ``pooled`` is the mean of the four views that SSR
# and NeuroBridge use.

from braindecode_ssr import prepare
from braindecode_ssr.config import TrialSpec
from braindecode_ssr.training.encoding import EncodingModel

trials = prepare(dataset, 5, TrialSpec(whitening="none"))
train = trials.average("train", channels="occipital-17")
draws = [
    trials.average("test", channels="occipital-17", repetitions=4, seed=seed).x
    for seed in range(10)
]
groups = train.table["concept"].to_numpy()


def top1(encoder, views):
    """Top-1 accuracy, trained on the mean features of some views."""
    features = [store.read(encoder, view, train.table["image_id"].tolist()) for view in views]
    model = EncodingModel(trials.sfreq, trials.tmin)
    model.fit(train.x, np.mean(features, axis=0), groups=groups)
    originals = store.read(encoder, "original", names)
    return np.mean([model.score(x, originals) for x in draws])


trained_on = {
    "original": ["original"],
    "pooled": ["blur", "noise", "low-resolution", "mosaic"],
    "blur?kernel=101": ["blur?kernel=101"],
}
accuracy = {encoder: [top1(encoder, v) for v in trained_on.values()] for encoder in encoders}

######################################################################

figure, axis = plt.subplots(figsize=(6.5, 3.5), layout="constrained")
for place, (encoder, found) in enumerate(accuracy.items()):
    axis.bar(np.arange(len(found)) + 0.4 * place - 0.2, found, 0.38, label=encoder)
axis.axhline(1 / len(names), color="black", linestyle=":", label="chance")
axis.set_xticks(range(len(trained_on)), trained_on)
axis.set(xlabel="trained on", ylabel="top-1 accuracy, 4 trials averaged", ylim=(0, 1))
axis.legend(fontsize=8)

######################################################################
# Sixteen images of one person show only large differences; :doc:`/evidence` has ten people and 200 images.
# Testing among views instead of originals is a different task, which tables flag ``altered-gallery``.
#
# What next
# ---------
#
# - Choose views for a run: ``train(..., **{"images.views": ["blur", "mosaic"]})``, on the command line
#   ``--set 'images.views=["blur", "mosaic"]'``.
# - What SSR does with original *and* views: :ref:`loss-part-by-part`.
# - How the choice of a gallery shows in a table: :ref:`honest-numbers`.

import shutil

shutil.rmtree(dataset.root.parent)
