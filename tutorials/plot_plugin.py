"""
.. _plugin-in-ten-lines:

A plugin in ten lines
=====================

You can add a loss, backbone or dataset without changing this package: your own package offers it, and
``--loss hinge`` finds it. Here we write a loss, install it as a plugin, and train it next to SSR's
contrastive loss.
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

######################################################################
# Ten lines
# ---------
#
# A loss gets the embeddings of brain, original image and views, each of shape (batch, ``n_outputs``). It
# returns its total as ``"loss"``, and any parts that you want to see in the history.

source = """
from torch.nn import functional as F
from braindecode_ssr.losses import Loss

class Hinge(Loss):
    \"\"\"Partners are nearer than all others by a margin.\"\"\"
    def __init__(self, margin=0.3):
        super().__init__()
        self.margin = margin

    def forward(self, brain, original, view):
        near = F.normalize(brain, dim=1) @ F.normalize(original, dim=1).T
        worse = (near - near.diagonal()[:, None] + self.margin).clamp_min(0)
        hinge = worse.mean() - self.margin / len(near)
        return {"loss": hinge, "hinge": hinge}
"""

######################################################################
# And two more in the ``pyproject.toml`` of your package:
#
# .. code-block:: toml
#
#     [project.entry-points."braindecode_ssr.losses"]
#     hinge = "my_losses:Hinge"
#
# ``pip install`` then writes two metadata files. Here we write them by hand, to have no package to install.

import sys
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp())
site = folder / "site-packages"
entry_points = "[braindecode_ssr.losses]\nhinge = my_losses:Hinge\n"
for name, content in {
    "my_losses.py": source,
    "my_losses-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: my-losses\nVersion: 1.0\n",
    "my_losses-1.0.dist-info/entry_points.txt": entry_points,
}.items():
    (site / name).parent.mkdir(parents=True, exist_ok=True)
    (site / name).write_text(content)
sys.path.append(str(site))

from braindecode_ssr.losses import LOSSES

"hinge" in LOSSES, LOSSES["hinge"]

######################################################################
# Use it
# ------
#
# Use it by name, in Python or on the command line, with its own parameters. Splits, features, checkpoints and
# the test stay the same.

from braindecode_ssr import train

if str(site) not in sys.path:  # each block of this page starts with its first sys.path
    sys.path.append(str(site))
runs = {
    loss: train(
        dataset="things-sim",
        preset="tiny",
        subject=5,
        method="ssr-tuned",
        loss=loss,
        epochs=30,
        data_dir=folder / "things-sim",
        out=folder / "runs",
        **params,
    )
    for loss, params in {
        "contrast": {"loss.params": {}},
        "hinge": {"loss.params": {"margin": 0.3}},
    }.items()
}
runs["hinge"]

######################################################################
# The values of two losses cannot be compared, so we compare retrieval.

import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
for axis, (name, run) in zip(axes, runs.items(), strict=False):
    axis.plot(run.history["epoch"], run.history["train_loss"])
    axis.set(title=name, xlabel="epoch", ylabel="training loss")
top1 = [run.summary["top1"] for run in runs.values()]
axes[2].bar(list(runs), top1, color="tab:blue")
axes[2].axhline(run.summary["chance_top1"], color="black", linestyle=":", label="chance")
axes[2].set(title="test", ylabel="top-1 accuracy", ylim=(0, 1))
axes[2].legend()

######################################################################
# Other parts
# -----------
#
# The groups are ``braindecode_ssr.backbones``, ``.image_heads``, ``.losses``, ``.datasets``, ``.encoders``,
# ``.views`` and ``.methods``. Each part is one class or function:
#
# ===========  =================================================================================
# backbone     any braindecode model, or a module from (b, c, t) to (b, ``n_outputs``)
# loss         ``forward(brain, original, view)``
# dataset      a subclass of :class:`~braindecode_ssr.datasets.base.ImageDataset`: subjects,
#              images, and recordings or epochs
# encoder      ``encode(images)``, from uint8 (n, 3, h, w) to (n, d)
# view         a function from images to images
# method       a :class:`~braindecode_ssr.methods.Method`: settings, citation, numbers
# ===========  =================================================================================
#
# Without installing anything, you can also pass a backbone as ``train(..., backbone=MyNet)``, and a loss as
# ``EEGRetriever(criterion=Hinge)``.
#
# What next
# ---------
#
# - What else a loss can ask for (trials, features, the epoch): :class:`~braindecode_ssr.losses.Loss`.
# - Each kind of part, step by step: ``CONTRIBUTING.md`` in the repository.
# - What SSR's own loss does: :ref:`loss-part-by-part`.

import shutil

shutil.rmtree(folder)
