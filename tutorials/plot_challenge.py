"""
.. _challenge-numbers:

The challenge's numbers on simulated data
=========================================

The EEG-to-image task of the NeurIPS 2026 EEG challenge asks for a model that takes one epoch and predicts the
features of the image that was seen. Here we train NeuralBench's recipe on simulated recordings, compute the
challenge's two scores, and write a submission.
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

######################################################################
# Train the recipe
# ----------------
#
# Recordings are filtered, resampled to 120 Hz, scaled and clamped; EEGNet learns to predict frozen image
# features with a contrastive loss in one direction. The learning rate is larger than in the recipe
# because the data are small, and version 1 of the simulation has stronger responses.
# ``protocol="pooled"`` would train on all ten people.

import tempfile
from pathlib import Path

from braindecode_ssr import evaluate, train

folder = Path(tempfile.mkdtemp())
run = train(
    dataset="things-sim",
    preset="tiny-v1",
    subject=5,
    method="neuralbench",
    epochs=20,
    lr=3e-3,
    data_dir=folder / "data",
    out=folder / "runs",
)
run.spec.trials

######################################################################
# The challenge's two scores
# --------------------------
#
# ``challenge`` averages the predictions of all trials of an image. In ``challenge-warmup`` each trial is
# a query of its own, which is much harder. ``default`` is the usual way, which averages the signals
# before the model.

import pandas as pd

names = ["default", "challenge", "challenge-warmup"]
numbers = [evaluate(run.path, name)[1] for name in names]
columns = ["top1", "top5", "chance_top1", "chance_top5", "repetitions"]
table = pd.DataFrame(numbers, index=names)[columns]
table.round(3)

######################################################################
# The same run, tested in three ways:

import matplotlib.pyplot as plt

fig, ax = plt.subplots(layout="constrained")
table[["top1", "top5"]].plot.bar(ax=ax, rot=0, ylim=(0, 1), ylabel="accuracy among 16 images")
for name, style in (("chance_top1", ":"), ("chance_top5", "--")):
    ax.axhline(table[name].iloc[0], color="black", linestyle=style, label=name.replace("_", ", "))
ax.legend(ncols=2, loc="upper right")
plt.show()

######################################################################
# The submission
# --------------
#
# ``submission.py`` and ``model.pt`` run without this package. They take channels in any order, by name, and
# batches of any size.

from braindecode_ssr.sharing.export import export, load_submission

written = export(run.path, "challenge", folder / "submission")
written["files"], written["difference"]

######################################################################
# This is how the challenge's kit loads it:

import torch

meta = {
    "ch_names": written["channels"],
    "n_times": written["n_times"],
    "sfreq": written["sfreq"],
    "n_outputs": run.record["n_features"],
    "device": "cpu",
    "submission_dir": str(folder / "submission"),
}
model = load_submission(folder / "submission").load_model(meta)
model.predict(torch.randn(3, len(written["channels"]), written["n_times"])).shape

######################################################################
# What next?
# ----------
#
# * The whole protocol, and where ours may differ: :doc:`/challenge`.
# * What the other evaluations mean: :ref:`honest-numbers`.

import shutil

shutil.rmtree(folder)
