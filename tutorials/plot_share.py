"""
.. _share-on-the-hub:

Share a run on the Hub
======================

A run folder is also a model repository: ``ssr-bd push RUN ORG/NAME`` uploads it to the Hugging Face Hub, and
others load it in one line. Here a local folder stands in for the Hub, so nothing is uploaded. You will see
what is shared, the model card, and how a colleague decodes images with the run.
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

# sphinx_gallery_thumbnail_number = 1

######################################################################
# Push
# ----
#
# With ``to=``, the files go to a folder. Without it they are uploaded; log in first with ``hf auth login``.

import tempfile
from pathlib import Path

from braindecode_ssr import push, train

folder = Path(tempfile.mkdtemp())
data_dir = folder / "things-sim"
run = train(
    dataset="things-sim",
    preset="tiny",
    subject=5,
    method="ssr-tuned",
    epochs=20,
    data_dir=data_dir,
    out=folder / "runs",
)
hub = Path(push(run.path, "my-lab/ssr-sim-05", to=folder / "hub"))

######################################################################
# The folder has weights, configuration, settings, whitening, history, ranks and a model card, but no images,
# no recordings and no paths of your computer.

import pandas as pd

sizes = {path.name: path.stat().st_size / 1e3 for path in sorted(hub.iterdir())}
pd.Series(sizes, name="kB").round(1)

######################################################################
# The model card
# --------------
#
# It states what a reader needs to judge the numbers: data, protocol, evaluation, flags and chance.

print((hub / "README.md").read_text())

######################################################################
# A colleague
# -----------
#
# ``load_run`` takes the name of a repository, such as ``"my-lab/ssr-sim-05"``, or a folder. Everything
# that new data require is inside: channels, epochs, whitening and image encoder.

from braindecode_ssr import SSR, ThingsSim, load_run

loaded = load_run(hub)
loaded

######################################################################
# The colleague has new recordings of the same person, and a folder of pictures that may have been shown.

dataset = ThingsSim(data_dir, preset="tiny")
raws = [dataset.recording(5, session, "test").to_raw(dataset.images) for session in (5, 6)]
pictures = folder / "pictures"
for name in dataset.images.query("split == 'test'")["image_id"]:
    (pictures / name).parent.mkdir(parents=True, exist_ok=True)
    (pictures / f"{name}.jpg").write_bytes(dataset.jpeg(name))

table = loaded.retrieve(raws, pictures, top=5)
table[["image", "n_trials", "rank", "top_1", "score_1"]].head()

######################################################################
# The best, middle and worst queries: on the left what was seen, then the five nearest.

import matplotlib.pyplot as plt

ordered = table.sort_values("rank", kind="stable").reset_index(drop=True)
shown = ordered.iloc[[0, 1, len(ordered) // 2, len(ordered) // 2 + 1, -2, -1]]
figure, axes = plt.subplots(6, 6, figsize=(7, 7.2), layout="constrained")
for row, query in zip(axes, shown.itertuples(), strict=True):
    names = [query.image, *(getattr(query, f"top_{place}") for place in range(1, 6))]
    for axis, name in zip(row, names, strict=True):
        axis.imshow(dataset.image(name))
        axis.set(xticks=[], yticks=[])
        right = axis is not row[0] and name == query.image
        for side in axis.spines.values():
            side.set(color="#009E73" if right else "white", linewidth=4)
    row[0].set_ylabel(f"rank {query.rank:g}")
for axis, title in zip(axes[0], ["seen", "1st", "2nd", "3rd", "4th", "5th"], strict=True):
    axis.set_title(title)

######################################################################
# With braindecode alone
# ----------------------
#
# The same repository is a braindecode model: ``SSR.from_pretrained`` returns a plain module that maps trials
# (b, c, t) to embeddings (b, e), which you can fine-tune or export.

import torch

model = SSR.from_pretrained(hub)
x = torch.randn(2, model.n_chans, model.n_times)
with torch.no_grad():
    difference = (model.eval()(x) - loaded.model(x)).abs().max()
model.n_chans, model.n_times, model.sfreq, float(difference)

######################################################################
# What next
# ---------
#
# - Other formats, checked against the run: ``ssr-bd export RUN --format onnx`` (or ``torchscript``,
#   ``torch-export``, ``embeddings``), see :doc:`/retrieve`.
# - Decode your own recordings with a run: :ref:`new-recording`.
# - Calibrate it to another person: :ref:`subjects`.
# - Share results without models: ``ssr-bd results add`` and ``ssr-bd leaderboard``, see :doc:`/score`.

import shutil

shutil.rmtree(folder)
