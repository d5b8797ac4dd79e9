"""
.. _subjects:

Subjects: leave one out, and calibrate
======================================

Does every person have to sit through hours of training images? Here a model is trained on everyone but one
person, tested on that person, and then calibrated with more and more of their trials. You will see how much
a model trained on others helps.
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

# sphinx_gallery_thumbnail_number = 1

######################################################################
# Within a person, and across people
# ----------------------------------
#
# ``protocol="intra"`` trains on the person who is tested, ``"inter"`` on all *others*; neither has seen a
# test concept. Both runs use the same channels and backbone, so that only the training data differ. With so
# few images, we need the strong responses of version 1 of the simulation (``tiny-v1``).

import tempfile
from pathlib import Path

from braindecode_ssr import finetune, train

folder = Path(tempfile.mkdtemp())
where = {"data_dir": folder / "things-sim", "out": folder / "runs"}
settings = {
    "dataset": "things-sim",
    "preset": "tiny-v1",
    "subject": 5,
    "backbone": "EEGProject",
    "lr": 1e-3,
    "batch_size": 32,
    "data.channels": "occipital-17",
    "model.width": 128,
    "model.n_outputs": 64,
}
within = train(**settings, **where, epochs=20)
across = train(**settings, **where, epochs=12, protocol="inter")
across

######################################################################

import pandas as pd

columns = ["protocol", "train_subjects", "n_train", "top1", "top5", "chance_top1", "flags"]
pd.DataFrame([run.summary for run in (within, across)])[columns].round(3)

######################################################################
# Calibration
# -----------
#
# ``finetune`` trains a run further on the first trials of a new person, in the order of recording. For
# comparison, we do the same with a model that has learned nothing: one epoch at a learning rate of nearly
# zero.

blank = train(**{**settings, "lr": 1e-9, "seed": 1}, **where, epochs=1, protocol="inter")
counts = (24, 96, 192)
curves = {}
for name, start in (("pretrained on others", across), ("from nothing", blank)):
    curves[name] = {0: start.summary["top1"]} | {
        n: finetune(
            start, trials=n, epochs=20, lr=1e-3, out=folder / "runs", data_dir=where["data_dir"]
        ).summary["top1"]
        for n in counts
    }
curves = pd.DataFrame(curves)
curves.round(3)

######################################################################

import matplotlib.pyplot as plt

figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
for (name, top1), marker in zip(curves.items(), "os", strict=True):
    axis.plot(curves.index, top1, marker=marker, label=name)
axis.axhline(
    within.summary["top1"], color="gray", label="trained on this person only, averaged trials"
)
axis.axhline(within.summary["chance_top1"], color="black", linestyle=":", label="chance")
axis.set(xlabel="training trials of the new person", ylabel="top-1 accuracy", ylim=(0, 1))
axis.legend(fontsize=8)

######################################################################
# At 0, the only thing used of the person is the noise covariance of their training trials, for whitening; no
# labels. A calibrated run is a run folder like any other; tables give its number of trials and flag it
# ``finetuned``.

tuned = finetune(across, trials=96, epochs=20, lr=1e-3, out=folder / "runs")
tuned.spec.label, tuned.summary["flags"]

######################################################################
# Sixteen test images of one person give only a rough curve. For a proper one, use all people and several
# seeds:
#
# .. code-block:: bash
#
#     ssr-bd benchmark --dataset things-eeg --methods ssr --protocols inter \
#         --subjects all --seeds 3 --data-dir DIR
#     ssr-bd finetune RUN --subject 7 --trials 50,100,200 --freeze backbone
#
# What next
# ---------
#
# - What ``inter`` does and does not promise: :doc:`/evaluations`.
# - MOABB's evaluations across people: :ref:`moabb-and-braindecode`.
# - All subjects in one table: :ref:`benchmark-and-report`.

import shutil

shutil.rmtree(folder)
