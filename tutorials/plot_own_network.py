"""
.. _own-network:

A network of your own
=====================

A backbone is any ``torch.nn.Module`` that maps trials ``(batch, channels, times)`` to vectors. You will
see one of a dozen lines trained in the shell and in Python, its accuracy beside that of the default,
and topographies of what its first layer has learned.
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

######################################################################
# A network
# ---------
#
# The names of its parameters say what it gets: ``n_outputs``, ``n_chans`` and ``n_times``; also
# ``sfreq`` and ``chs_info`` if it asks for them. This one mixes the channels to a few components,
# averages each over 40 ms, and maps them to the output.

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
# In the shell
# ------------
#
# A class in a file, on version 1 of the simulation, whose responses are strong.
# All 63 channels are used, so that there is a whole head to look at afterwards.

import subprocess

command = """
ssr-bd train --backbone my_net.py:MyNet
             --dataset things-sim --set data.preset=tiny-v1 --subject 5 --data-dir sim
             --set data.channels=all --epochs 20 --batch-size 32 --lr 0.002
"""
done = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True, check=True)
print(done.stdout)

######################################################################
# In Python
# ---------
#
# The class itself, as it stands in a notebook, here with two components instead of eight; then the
# default, for comparison.

import sys

from braindecode_ssr import load_run, train

sys.path.insert(0, str(folder))
from my_net import MyNet

recipe = {
    "dataset": "things-sim",
    "preset": "tiny-v1",
    "subject": 5,
    "data.channels": "all",
    "epochs": 20,
    "batch_size": 32,
    "lr": 2e-3,
    "data_dir": folder / "sim",
    "out": folder / "runs",
}
by_shell = load_run(next((folder / "runs").iterdir()))
runs = {
    "MyNet, 2": train(**recipe, backbone=MyNet, **{"model.backbone_params": {"n_components": 2}}),
    "MyNet, 8": by_shell,
    "EEGProject": train(**recipe),
}

######################################################################
# Does it retrieve images?
# ------------------------
#
# Each curve says which share of the 16 test images is among so many candidates; guessing is the dotted
# line.

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
# A run gives its module back. A file may run any code, hence ``trust``.

trained = load_run(runs["MyNet, 8"].path, trust=True)
net = trained.model.backbone
net

######################################################################
# The weights of its first layer cancel noise as much as they gather signal, and cannot be read. What
# can: how strongly each electrode varies, from image to image, together with a component (Haufe et al.
# 2014). Trials go in whitened; the same trials in volts are set beside them.

import mne
import torch

from braindecode_ssr import ThingsSim
from braindecode_ssr.config import TrialSpec
from braindecode_ssr.trials.prepare import prepare

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
# The signs are arbitrary. Patterns that are smooth over neighboring electrodes, with a maximum at the
# back of the head, come from the brain, here a simulated one; a ragged pattern is noise that was
# learned by heart.
#
# What next? :doc:`/backbones` says what a network may ask for and where its features are taken,
# :ref:`swap-backbone` compares with networks of braindecode, and a package of your own can register one
# under a name.

import shutil

shutil.rmtree(folder)
