"""
.. _pretrained-backbone:

Pretrained and foundation backbones
===================================

Models of braindecode that have weights on the Hugging Face Hub can be backbones, frozen or fine-tuned.
You will see how channels and sampling rate are matched, what is refused, and the flag that such a run
carries; and, with weights of another person, what a start from elsewhere is worth.
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

######################################################################
# Which have weights?
# -------------------
#
# Those that braindecode's documentation names. Channels and samples have to be those of the
# pretraining:
#
# ===========  ===========================================  =============================================
# backbone     repository                                   made for
# ===========  ===========================================  =============================================
# ``BIOT``     ``braindecode/biot-pretrained-prest-16chs``  16 bipolar channels (others: 18), 200 Hz
# ``Labram``   ``braindecode/labram-pretrained``            channels that it knows by name, 200 Hz
# ``CBraMod``  ``braindecode/cbramod-pretrained``           any channels, patches of 1 s at 200 Hz
# ``REVE``     ``brain-bzh/reve-base`` (ask for access)     electrodes anywhere on the head, 200 Hz
# ``EEGDINO``  ``braindecode/eegdino-small-pretrained``     patches of 1 s at 200 Hz
# ``BENDR``    ``braindecode/braindecode-bendr``            20 channels
# ``EEGPT``    ``braindecode/eegpt-pretrained``             62 channels
# ===========  ===========================================  =============================================
#
# .. code-block:: bash
#
#     ssr-bd train --dataset things-eeg --subject 5 --backbone InterpolatedBIOT --set data.channels=all \
#         --set model.pretrained=braindecode/biot-pretrained-six-datasets-18chs --set trials.sfreq=200 \
#         --set 'model.freeze=["backbone"]'
#
# This page is built without a network. A folder stands for the Hub, and BIOT's weights in it are
# **random**: they show the way, not the worth of pretraining.

import tempfile
import warnings
from pathlib import Path

from braindecode.models import BIOT, InterpolatedBIOT
from braindecode.util import set_random_seeds

warnings.simplefilter("ignore")
folder = Path(tempfile.mkdtemp())
set_random_seeds(0, cuda=False)
BIOT(n_outputs=2, n_chans=18, n_times=2000, sfreq=200).save_pretrained(folder / "hub")

######################################################################
# Channels
# --------
#
# The weights want 18 channels, the cap has 63 electrodes. ``InterpolatedBIOT`` computes a fixed linear
# map from their positions and puts it in front; there is an ``Interpolated...`` of some other models,
# too. Each row of the picture says how a channel of BIOT is made of electrodes.

import matplotlib.pyplot as plt
import mne
import numpy as np

from braindecode_ssr import ThingsSim

mne.set_log_level("error")
cap = mne.create_info(list(ThingsSim.ch_names), 200.0, "eeg").set_montage("standard_1005")
biot = InterpolatedBIOT(chs_info=cap["chs"], n_outputs=2, n_times=200, sfreq=200)
layer = biot.interpolation_layer
matrix = layer.matrix.numpy()
wanted = [channel["ch_name"] for channel in layer.tgt_chs_info]
order = np.argsort([-channel["loc"][1] for channel in cap["chs"]])

figure, axis = plt.subplots(figsize=(9.5, 4), layout="constrained")
limit = np.abs(matrix).max()
drawn = axis.imshow(matrix[:, order], cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
axis.set_xticks(range(len(order)), [cap.ch_names[i] for i in order], rotation=90, fontsize=6)
axis.set_yticks(range(len(wanted)), wanted, fontsize=7)
axis.set(xlabel="electrode of the cap, from front to back", ylabel="channel of BIOT")
figure.colorbar(drawn, ax=axis, label="weight")
print("sum of each row:", matrix.sum(axis=1).round(2))

######################################################################
# Rows that sum to 1 give the voltage at a place, where the pretraining had the difference of two
# electrodes: the interpolation matches places, not references. That is braindecode's choice, and worth
# knowing.
#
# Sampling rate and length
# ------------------------
#
# The trials of this package have 250 Hz by default. Weights do not fit if the rate changes their
# shapes, and the run says so before anything is trained:

from braindecode_ssr import train
from braindecode_ssr.errors import SSRError

recipe = {
    "dataset": "things-sim",
    "preset": "tiny-v1",
    "subject": 5,
    "batch_size": 32,
    "lr": 1e-3,
    "data_dir": folder / "sim",
    "out": folder / "runs",
}
foundation = {
    "backbone": "InterpolatedBIOT",
    "data.channels": "all",
    "epochs": 1,
    "model.pretrained": str(folder / "hub"),
    "model.freeze": ["backbone"],
}
try:
    train(**recipe, **foundation)
except SSRError as error:
    print(error)

######################################################################
# With the rate of the pretraining they do. Only the linear map behind the frozen backbone, and the one
# of the images, are trained.

run = train(**recipe, **foundation, **{"trials.sfreq": 200}, say=print)

######################################################################
# Nobody knows here which images the pretraining has seen, so the run and every table with it carry a
# flag: ``pretrained-elsewhere``. Whoever does know says it with ``model.pretrained_concepts``:
# ``"disjoint"``, or a list of concepts, which is compared with the tested ones.

run.summary["flags"]

######################################################################
# What is it worth?
# -----------------
#
# Random weights cannot answer that. Those of another person can: ``ATM``, a transformer, is trained on
# subject 3, its weights are saved as any model of braindecode saves them, and subject 5 starts from there.
# ``model.tuning`` says what is then trained: all of it (``full``); its last layer and both projectors
# (``frozen``); or these and changes of low rank of its linear and attention layers (``lora``).

elsewhere = train(**{**recipe, "subject": 3}, backbone="ATM", epochs=8)
elsewhere.model.backbone.save_pretrained(folder / "subject-3")

known = {"model.pretrained": str(folder / "subject-3"), "model.pretrained_concepts": "disjoint"}
starts = {
    "from scratch": {},
    **{f"pretrained, {t}": {**known, "model.tuning": t} for t in ("frozen", "lora", "full")},
}
runs = {
    name: [train(**recipe, **start, backbone="ATM", epochs=epochs) for epochs in (1, 5)]
    for name, start in starts.items()
}
figure, axis = plt.subplots(figsize=(5.5, 3.5), layout="constrained")
for (name, found), marker, size in zip(runs.items(), "osD^", (6, 10, 5, 6), strict=True):
    trained = found[0].record["parameters"]["trained"] / 1e6
    label = f"{name}: {trained:.2f} million trained"
    axis.plot((1, 5), [one.summary["top5"] for one in found], marker=marker, ms=size, label=label)
axis.axhline(found[0].summary["chance_top5"], color="gray", linestyle=":", label="chance")
axis.set(xlabel="epochs on the new person", ylabel="top-5 accuracy", ylim=(0, 1.03))
axis.set_xticks((1, 5))
axis.legend(loc="lower right", fontsize=8)

######################################################################
# After one epoch the model from scratch is at chance, after five it is still behind those that started
# from another person. Most of the trained parameters are the last layer and the projectors, whatever
# the tuning: low rank pays for large backbones, such as ``REVE``, whose 69 million parameters need not
# be kept with gradients.
#
# Simulated brains have much in common, and 16 test images are few: this is no promise for recordings or
# for foundation models, on which nothing was measured here.
#
# What next? :doc:`/backbones` has learning rates of single parts (``train.lr_of``) and which models
# need channel positions; ``ssr-bd finetune``, in :doc:`/retrieve`, starts from a whole run instead of a
# backbone; :doc:`/evaluations` explains flags.

import shutil

shutil.rmtree(folder)
