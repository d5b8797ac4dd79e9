"""
.. _own-network:

A network of your own
=====================

A backbone is any ``torch.nn.Module`` that maps trials ``(batch, channels, times)`` to vectors. Here we
write one in a dozen lines, train it, compare it with the default, and look at what its first layer has
learned.
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

######################################################################
# A network
# ---------
#
# A network gets what the parameters of its ``__init__`` ask for: ``n_outputs``, ``n_chans``,
# ``n_times``, ``sfreq`` or ``chs_info``. This one mixes the channels into a few components, averages
# each over 40 ms, and maps them to the output.

import tempfile
from pathlib import Path

code = """
from torch import nn


class MyNet(nn.Module):
    def __init__(self, n_outputs, n_chans, n_times, n_components=8):
        super().__init__()
        self.mix = nn.Linear(n_chans, n_components, bias=False)
        self.smooth = nn.AvgPool1d(10)
        self.out = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(n_components * (n_times // 10), n_outputs)
        )

    def forward(self, x):
        return self.out(self.smooth(self.mix(x.mT).mT))
"""
folder = Path(tempfile.mkdtemp())
with open(folder / "my_net.py", "w") as file:
    file.write(code)

######################################################################
# Train it
# --------
#
# ``FILE.py:CLASS`` names a class in a file. We use all 63 channels to have a whole head to look at
# afterwards, and version 1 of the simulation, whose responses are strong.
#
# .. code-block:: bash
#
#     ssr-bd train --backbone my_net.py:MyNet --dataset things-sim --set data.preset=tiny-v1 \
#         --subject 5 --set data.channels=all --set model.width=256 --epochs 20 --batch-size 32 --lr 0.002
#
# The same in Python, where you can also pass the class itself. Once more with two components instead of
# eight, and with the default backbone for comparison. Importing a file executes it, hence ``trust``.

from braindecode_ssr import train

recipe = {
    "dataset": "things-sim",
    "preset": "tiny-v1",
    "subject": 5,
    "data.channels": "all",
    "model.width": 256,
    "epochs": 20,
    "batch_size": 32,
    "lr": 2e-3,
    "data_dir": folder / "sim",
    "out": folder / "runs",
}
mine = {"backbone": f"{folder / 'my_net.py'}:MyNet", "trust": True}
runs = {
    "MyNet, 8": train(**recipe, **mine),
    "MyNet, 2": train(**recipe, **mine, **{"model.backbone_params": {"n_components": 2}}),
    "EEGProject": train(**recipe),
}

######################################################################
# Does it retrieve images?
# ------------------------
#
# How often is the right image among the *k* nearest of the 16 candidates? The dotted line is chance.

import matplotlib.pyplot as plt
import numpy as np

figure, axis = plt.subplots(figsize=(5.5, 3.5), layout="constrained")
for name, run in runs.items():
    ranks = run.queries["rank"].to_numpy()
    places = np.arange(1, run.summary["n_gallery"] + 1)
    axis.plot(places, [(ranks <= k).mean() for k in places], "o-", markersize=4, label=name)
axis.plot(places, places / len(places), color="black", linestyle=":", label="chance")
axis.set(xlabel="k", ylabel="top-k accuracy", xticks=places[::3], ylim=(0, 1.03))
axis.legend()

######################################################################
# What has it learned?
# --------------------
#
# A run gives you its trained module.

trained = runs["MyNet, 8"]
net = trained.model.backbone
net

######################################################################
# The weights of the first layer cannot be interpreted directly, because they cancel noise as well as
# collect signal. The *pattern* of a component can: how strongly each electrode varies with it from image to
# image (Haufe et al. 2014). We compute components from whitened trials, as the network gets them, and
# patterns from the same trials in volts.

import mne
import torch

from braindecode_ssr import ThingsSim, prepare
from braindecode_ssr.config import TrialSpec

dataset = ThingsSim(folder / "sim", preset="tiny-v1")
names = trained.channels.ch_names
white = prepare(dataset, 5, TrialSpec()).average("train", channels=names).x
store = prepare(dataset, 5, TrialSpec(whitening="none"))
volts = store.average("train").x
mix = net.get_submodule("mix")
with torch.no_grad():
    component = mix(torch.as_tensor(white).mT).mT.numpy()
component -= component.mean(axis=0)
patterns = np.einsum("nkt,nct->kc", component, volts - volts.mean(axis=0))

figure, axes = plt.subplots(2, 4, figsize=(8, 4.4), layout="constrained")
for number, (axis, pattern) in enumerate(zip(axes.flat, patterns, strict=True), 1):
    picture, _ = mne.viz.plot_topomap(
        pattern / np.abs(pattern).max(), store.info, axes=axis, vlim=(-1, 1), show=False
    )
    axis.set_title(f"component {number}", fontsize=9)
figure.colorbar(picture, ax=axes, shrink=0.6, label="pattern (largest value is 1)")

######################################################################
# The signs are arbitrary. A smooth pattern with its maximum at the back of the head reflects the
# (simulated) visual response; a ragged one is noise that the network has memorized.
#
# What next? :doc:`/backbones` explains what a network may ask for and where its features are taken,
# :ref:`swap-backbone` compares networks of braindecode, and :ref:`plugin-in-ten-lines` registers your own
# under a name.

import shutil

shutil.rmtree(folder)
