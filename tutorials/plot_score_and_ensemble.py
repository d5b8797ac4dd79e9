"""
.. _score-and-ensemble:

Score anything, and average it
==============================

If your decoder is written in another language, or in one cell of a notebook, all you need is a matrix: how
similar is each response to each image. Here such matrices become retrieval tables with intervals and flags,
and averaging several of them beats each one alone.
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

# sphinx_gallery_thumbnail_number = 2

######################################################################
# Some other program
# ------------------
#
# A few lines of scikit-learn: ridge regression predicts the response to each candidate image from its
# features, and predictions are correlated with measured responses. Each session of one person gives a
# matrix. (With so few images, we need the strong responses of version 1 of the simulation.)

import tempfile
from pathlib import Path

import numpy as np
from sklearn.linear_model import Ridge

from braindecode_ssr import FeatureStore, ThingsSim, prepare
from braindecode_ssr.config import TrialSpec
from braindecode_ssr.images import extract

folder = Path(tempfile.mkdtemp())
dataset = ThingsSim(folder / "things-sim", preset="tiny-v1")
encoder = dataset.default_encoder
features = FeatureStore.of(dataset)
extract(dataset, encoder, ["original"], features)
trials = prepare(dataset, 5, TrialSpec(sfreq=50))

train = trials.average("train", channels="occipital-17")
train_ids = train.table["image_id"].tolist()
test_ids = sorted(trials.table.query("split == 'test'")["image_id"].unique())
seen, candidates = (features.read(encoder, "original", ids) for ids in (train_ids, test_ids))
mean, scale = seen.mean(axis=0), seen.std(axis=0) + 1e-6
responses = train.x.reshape(len(train.x), -1)
ridge = Ridge(1e3).fit((seen - mean) / scale, responses)
predicted = ridge.predict((candidates - mean) / scale) - responses.mean(axis=0)

channels = trials.pick("occipital-17")
similarities = {}
for session, rows in trials.table.query("split == 'test'").groupby("session"):
    x = [trials.trials[of.index][:, channels].mean(axis=0) for _, of in rows.groupby("image_id")]
    measured = np.reshape(x, (len(x), -1)) - responses.mean(axis=0)
    near = np.corrcoef(measured, predicted)[: len(x), len(x) :]
    similarities[f"session {session}"] = near

######################################################################
# Score
# -----
#
# Rows are queries and columns are candidates, matched **by name**, here the same names for both. Ties count
# against the decoder. Labels say where the numbers come from, so that they can go into a table with others.

from braindecode_ssr import score

labels = {"dataset": "things-sim", "protocol": "intra", "subject": 5}
queries, summary = score(similarities["session 1"], images=test_ids, method="session 1", **labels)
{name: summary[name] for name in ("top1", "top1_low", "top1_high", "chance_top1", "flags")}

######################################################################

queries[["image_id", "rank", "score", "top_1", "top_2", "top_3"]].head()

######################################################################
# Corrections that answer all queries jointly are possible, and flagged. What a program did before cannot be
# seen in a matrix; declare it, for example with ``flags=["test-selection"]``.

score(similarities["session 1"], images=test_ids, evaluation="correction=csls")[1]["flags"]

######################################################################
# Ensemble
# --------
#
# ``ensemble`` averages the similarities of files or runs, each standardized over the candidates of a query.
# A file holds the matrix and its names; a ``.csv`` with names in the first row and column works, too.

from braindecode_ssr import ensemble

files = []
for name, near in similarities.items():
    files.append(folder / f"{name}.npz")
    np.savez(files[-1], similarity=near, image_ids=test_ids)
scores = folder / "scores"
_, together = ensemble(files, method="four sessions", out=scores / "ensemble", **labels)
together["method"], together["flags"]

######################################################################
# Four weak matrices and their mean. The right answers are on the diagonal.

import matplotlib.pyplot as plt

from braindecode_ssr.retrieval.ranks import ensemble as mean_similarity

members = list(similarities.values())
panels = {**similarities, "ensemble": mean_similarity(members, [1, 1, 1, 1])}
found = {
    name: score(near, images=test_ids, method=name, out=scores / name, **labels)[1]
    for name, near in similarities.items()
}
found["ensemble"] = together
figure, axes = plt.subplots(1, 5, figsize=(13, 3.6), layout="constrained", sharey=True)
for axis, (name, near) in zip(axes, panels.items(), strict=True):
    standard = (near - near.mean(axis=1, keepdims=True)) / near.std(axis=1, keepdims=True)
    picture = axis.imshow(standard, cmap="RdBu_r", vmin=-2.5, vmax=2.5)
    axis.set(title=f"{name}\ntop-1 {found[name]['top1']:.0%}", xlabel="candidate")
axes[0].set(ylabel="query", yticks=range(0, 16, 5))
figure.colorbar(picture, ax=axes, label="standardized similarity", shrink=0.7)

######################################################################
# Accuracy with 95 % intervals over queries, which are wide with sixteen images.

figure, axis = plt.subplots(figsize=(5.5, 3.2), layout="constrained")
for place, numbers in enumerate(found.values()):
    ends = [[numbers["top1"] - numbers["top1_low"]], [numbers["top1_high"] - numbers["top1"]]]
    axis.errorbar(place, numbers["top1"], yerr=ends, fmt="o", color="tab:blue", capsize=4)
axis.axhline(1 / len(test_ids), color="black", linestyle=":", label="chance")
axis.set_xticks(range(len(found)), found)
axis.set(ylabel="top-1 accuracy", ylim=(0, 1))
axis.legend()

######################################################################
# What next
# ---------
#
# - ``ssr-bd score FILE`` and ``ssr-bd ensemble RUN RUN ...`` do the same on the command line: :doc:`/score`.
# - ``out=`` wrote folders that a report reads like runs: :ref:`benchmark-and-report`.
# - Ensembles of runs: pass their folders to ``ensemble``, or let ``ssr-bd benchmark --ensemble seeds``
#   average all seeds of a method: :doc:`/benchmark`.

import shutil

shutil.rmtree(folder)
