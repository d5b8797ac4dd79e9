"""
.. _linear-model:

The linear model that is hard to beat
=====================================

Before you call a network good, compare it with a linear model, and not only with the usual one: ridge
regression from brain to image features is a weak baseline.
:class:`~braindecode_ssr.training.encoding.EncodingModel` is linear, too, but uses three things that ridge
does not: responses are smooth in time, the noise is estimated from the residuals, and candidates are
compared after this noise is whitened. It trains in seconds.
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

######################################################################
# Trials and features
# -------------------
#
# The average trial of each image at 17 channels over the back of the head, and the features of the images.
# With so few images, we need the strong responses of version 1 of the simulation (``tiny-v1``).

import tempfile
from pathlib import Path

from braindecode_ssr import FeatureStore, ThingsSim, prepare
from braindecode_ssr.config import TrialSpec
from braindecode_ssr.images import extract

dataset = ThingsSim(Path(tempfile.mkdtemp()) / "things-sim", preset="tiny-v1")
features = FeatureStore(dataset.derived / "features")
encoder = dataset.default_encoder
extract(dataset, encoder, ["original"], features)
store = prepare(dataset, 5, TrialSpec(whitening="none"))
train, test = (store.average(split, channels="occipital-17") for split in ("train", "test"))
y_train, y_test = (
    features.read(encoder, "original", part.table["image_id"].tolist()) for part in (train, test)
)
train.x.shape, y_train.shape

######################################################################
# Two linear models
# -----------------
#
# Ridge regression *decodes*: it predicts image features from brain responses. The encoding model predicts
# brain responses from image features; its time functions, components, penalty and rank are chosen by
# cross-validation over concepts.

import numpy as np
from sklearn.linear_model import RidgeCV

from braindecode_ssr.retrieval.ranks import cosine, rank_of_target
from braindecode_ssr.training.encoding import EncodingModel

ridge = RidgeCV(np.logspace(0, 8, 17)).fit(train.x.reshape(len(train.x), -1) * 1e6, y_train)
model = EncodingModel(store.sfreq, store.tmin)
model.fit(train.x, y_train, groups=train.table["concept"].to_numpy())
model.choices_.query("chosen")


def decoding_top1(x, y):
    """Top-1 accuracy of ridge regression."""
    mean = y_train.mean(axis=0)
    found = cosine(ridge.predict(x.reshape(len(x), -1) * 1e6) - mean, y - mean)
    return (rank_of_target(found, np.arange(len(x))) == 1).mean()


######################################################################
# Accuracy
# --------
#
# Top-1 accuracy against the number of test trials averaged, each the mean of ten random draws.

import matplotlib.pyplot as plt

repetitions = (1, 2, 4, 8, 16)
curves = {"ridge regression": [], "encoding model": []}
for n in repetitions:
    draws = [
        store.average("test", channels="occipital-17", repetitions=n, seed=seed).x
        for seed in range(10)
    ]
    curves["ridge regression"].append(np.mean([decoding_top1(x, y_test) for x in draws]))
    curves["encoding model"].append(np.mean([model.score(x, y_test) for x in draws]))
figure, axis = plt.subplots(figsize=(5.5, 3.5), layout="constrained")
for (name, top1), marker in zip(curves.items(), "so", strict=True):
    axis.semilogx(repetitions, top1, marker=marker, base=2, label=name)
axis.axhline(1 / len(test.x), color="gray", linestyle=":", label="chance")
axis.set(xlabel="test trials averaged", ylabel="top-1 accuracy", xticks=repetitions, ylim=(0, 1))
axis.set_xticklabels(repetitions)
axis.legend()

######################################################################
# What the model has found
# ------------------------
#
# The weights of a linear model reflect noise as well as signal, so they cannot be interpreted; their
# *patterns*, the covariance of a component with the trials, can (Haufe et al. 2014). Here is the pattern of
# the first component over time and over all 63 channels.

import mne

whole = store.average("train").x
flat = whole.reshape(len(whole), -1)
component = model.transform(train.x)[:, 0]
pattern = ((flat - flat.mean(0)).T @ (component - component.mean())).reshape(whole.shape[1:])
evoked = mne.EvokedArray(
    pattern / np.abs(pattern).max() * 1e-6, store.info, tmin=store.tmin, verbose="error"
)
picture = evoked.plot_joint(
    times=[0.12, 0.36, 0.55], title="pattern of the first component (scaled)"
)

######################################################################
# On the command line: ``ssr-bd train --method encoding``. In :doc:`/evidence` it beats every network on
# simulated data, where responses are close to linear in what the simulated eye sees. We have not measured it
# on real recordings, but it takes only a minute to find out on yours.
