"""
.. _honest-numbers:

Honest numbers: one run, tested in many ways
============================================

How good is a decoder? That depends on how you test it. Here one finished run is tested in eight ways and gets
as many different numbers. You will see what each way does, how tables flag it, and which numbers can be
compared.
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

######################################################################
# One run
# -------
#
# A NeuroBridge model of one simulated person. ``train.keep="every"`` keeps the weights of each epoch,
# which some of the tests below need; a small width saves disk space.

import tempfile
from pathlib import Path

from braindecode_ssr import train

folder = Path(tempfile.mkdtemp())
run = train(
    dataset="things-sim",
    preset="tiny",
    subject=5,
    method="neurobridge",
    epochs=20,
    lr=1e-3,
    data_dir=folder / "things-sim",
    out=folder / "runs",
    **{"train.keep": "every", "model.width": 128},
)
run

######################################################################
# Many tests
# ----------
#
# ``evaluate_each`` tests the run again without training anything.
#
# ``default``
#   The last epoch; all original test images as candidates; all trials averaged; each query on its own.
# ``repetitions=1``
#   A single trial of each image instead of the average of all.
# ``n-way=4``
#   The right image among 4 candidates, averaged over all choices of the other three.
# ``correction=csls`` and ``hungarian``
#   All queries are answered jointly. The second even assumes that every image was shown equally often.
# ``gallery=views``
#   The candidates are altered copies (views), as in training, not the images that the person saw.
# ``selection=oracle``
#   The epoch with the best accuracy on this very test.
# ``as-published``
#   What the method's public code does, here the last two together.

import pandas as pd

from braindecode_ssr.pipeline import evaluate_each

ways = [
    "default",
    "repetitions=1",
    "n-way=4",
    "correction=csls",
    "correction=hungarian",
    "gallery=views",
    "selection=oracle",
    "as-published",
]
results = pd.DataFrame([summary for _, summary in evaluate_each(run.path, ways)])
columns = ["evaluation", "top1", "chance_top1", "repetitions", "gallery", "selection", "flags"]
results[columns].round(3)

######################################################################
# Flags are set automatically and cannot be switched off. Flagged bars are hatched: they answer a different
# question from the first bar.

import matplotlib.pyplot as plt

figure, axis = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
for place, row in enumerate(results.itertuples()):
    flags = ", ".join(row.flags)
    style = {"hatch": "//", "alpha": 0.6} if flags else {}
    axis.barh(place, row.top1, color="tab:orange" if flags else "tab:blue", **style)
    chance = axis.vlines(row.chance_top1, place - 0.4, place + 0.4, color="black")
    end = max(row.top1, row.chance_top1) + 0.01
    axis.text(end, place, f"{row.top1:.2f}  {flags}", va="center", fontsize=8)
chance.set_label("chance")
axis.set_yticks(range(len(results)), results["evaluation"])
axis.invert_yaxis()
axis.set(xlabel="top-1 accuracy of the same model", xlim=(0, 1.35))
axis.legend(loc="upper right")

######################################################################
# Fewer candidates
# ----------------
#
# "90 % correct" means little without the number of candidates. Here are the same ranks among *N* candidates:

counts = (2, 4, 8, 16)
names = [f"n-way={n}" for n in counts[:-1]] + ["default"]
accuracy = [summary["top1"] for _, summary in evaluate_each(run.path, names)]

figure, axis = plt.subplots(figsize=(5, 3.3), layout="constrained")
axis.plot(counts, accuracy, "o-", label="the model")
axis.plot(counts, [1 / n for n in counts], "k:", label="chance")
axis.set_xscale("log", base=2)
axis.set_xticks(counts, counts)
axis.set(xlabel="candidates", ylabel="top-1 accuracy", ylim=(0, 1.02))
axis.legend()

######################################################################
# In a report
# -----------
#
# Reports keep evaluations apart and mark flagged rows with a †. Published numbers are shown only beside
# results on the same dataset with the same number of candidates, with the flags of *their* evaluation.

from braindecode_ssr.methods import METHODS

published = METHODS["neurobridge"].as_published
published.evaluation, published.flags

######################################################################
# What next
# ---------
#
# - Every evaluation and flag, and why published numbers are hard to compare: :doc:`/evaluations`.
# - On the command line: ``ssr-bd evaluate RUN --evaluation default,gallery=views,n-way=4``.
# - Intervals and tests over people and seeds: :ref:`benchmark-and-report`.

import shutil

shutil.rmtree(folder)
