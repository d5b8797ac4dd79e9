"""
.. _swap-backbone:

Swap the backbone
=================

The backbone is the brain encoder inside a model. Here we train five of them on the same trials with the
same loss: two from this package and one from braindecode by name, one as a class, and one as an instance.
You will see how well each of them retrieves images, and how large each is.
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

######################################################################
# What is there to choose from?
# -----------------------------
#
# All models in braindecode, and the encoders of published methods. ``ssr-bd list backbones`` prints
# their sizes and what each needs.

from braindecode_ssr.models import list_backbones

names = list_backbones()
print(len(names), "backbones:", ", ".join(names[:14]), "...")

######################################################################
# One recipe
# ----------
#
# Everything but the backbone stays the same: one simulated subject, SSR's loss, 12 epochs. With so few
# images, we need the strong responses of version 1 of the simulation (``tiny-v1``).

import tempfile
from pathlib import Path

from braindecode_ssr import train

folder = Path(tempfile.mkdtemp())
recipe = {
    "dataset": "things-sim",
    "preset": "tiny-v1",
    "subject": 5,
    "epochs": 12,
    "batch_size": 32,
    "lr": 1.5e-3,
    "data_dir": folder / "sim",
    "out": folder / "runs",
}

######################################################################
# By name
# -------
#
# ``EEGProject`` is the default for single subjects, ``TSConv`` the encoder of NICE. Parameters of a
# model go into ``backbone_params``; on the command line, ``--backbone ShallowFBCSPNet --set
# model.backbone_params.n_filters_time=20``.

runs = {name: train(**recipe, backbone=name) for name in ("EEGProject", "TSConv")}
runs["ShallowFBCSPNet"] = train(
    **recipe, backbone="ShallowFBCSPNet", **{"model.backbone_params": {"n_filters_time": 20}}
)

######################################################################
# As a class, as an instance
# --------------------------
#
# A class is built to fit the trials: 17 channels, 250 samples. An instance is used as it is, with its
# weights, and must output 1024 numbers per trial.

from braindecode.models import EEGNet
from braindecode.util import set_random_seeds

runs["EEGNet"] = train(**recipe, backbone=EEGNet)

set_random_seeds(0, cuda=False)
wide = EEGNet(n_outputs=1024, n_chans=17, n_times=250, sfreq=250, F1=16)
runs["EEGNet, F1=16"] = train(**recipe, backbone=wide)

######################################################################
# What became part of the model
# -----------------------------
#
# A backbone is cut before its last layer if its features there are wide enough; otherwise it is used
# whole. A linear map into the shared space follows. The run records which it was, and keeps the weights.

import pandas as pd
from safetensors.torch import load_file

rows = {}
for name, run in runs.items():
    weights = load_file(run.weights)
    size = sum(w.numel() for key, w in weights.items() if key.startswith("backbone."))
    rows[name] = {"parameters": size, **run.record["backbone"], "top1": run.summary["top1"]}
pd.DataFrame(rows).T

######################################################################
# Which is best?
# --------------
#
# The vertical bars are 95 % intervals. With only 16 test images they are wide: small differences mean
# nothing here. Ranking backbones takes more subjects and seeds, as in :doc:`/evidence`.

import matplotlib.pyplot as plt
from scipy.stats import binomtest

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for name, run in runs.items():
    axes[0].plot(run.history["epoch"], run.history["train_loss"], label=name)
axes[0].set(xlabel="epoch", ylabel="training loss", xticks=(1, 4, 8, 12))
axes[0].legend(fontsize=8)
for k, shift, color in ((1, -0.12, "tab:blue"), (5, 0.12, "tab:orange")):
    for place, run in enumerate(runs.values()):
        n = run.summary["n_queries"]
        interval = binomtest(round(run.summary[f"top{k}"] * n), n).proportion_ci(method="wilson")
        axes[1].plot(2 * [place + shift], interval, color=color, linewidth=5, alpha=0.35)
        axes[1].plot(place + shift, run.summary[f"top{k}"], "o", color=color)
    axes[1].axhline(run.summary[f"chance_top{k}"], color=color, linestyle=":")
    axes[1].plot([], [], "o", color=color, label=f"top-{k}, chance dotted")
axes[1].set_xticks(range(len(runs)), runs, rotation=20)
axes[1].set(ylabel="accuracy", ylim=(0, 1))
axes[1].legend(fontsize=8, loc="upper right")

######################################################################
# One difference follows from the design. ``ShallowFBCSPNet`` was made for motor imagery: it squares the
# filtered signal and averages it over time. This keeps the power of a response and discards its sign and
# timing, in which responses to images differ.
#
# What next? :doc:`/backbones` lists all backbones, pretrained weights and subject-specific parts;
# :ref:`own-network` writes a new one; :doc:`/benchmark` compares several with intervals and tests.

import shutil

shutil.rmtree(folder)
