"""
.. _new-recording:

Retrieve from a new recording
=============================

A trained run is not the end: here it decodes recordings that were made afterwards, in sessions it has
never seen. In the shell this is ``ssr-bd retrieve RUN RECORDING --images FOLDER``, for every format
that MNE reads; :doc:`/retrieve` has the details.
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

######################################################################
# A run
# -----
#
# One subject of a small simulated experiment: four sessions, 16 test images.

import tempfile
from pathlib import Path

from braindecode_ssr import ThingsSim, load_run, train

folder = Path(tempfile.mkdtemp())
dataset = ThingsSim(folder / "things-sim", preset="tiny")
trained = train(
    dataset="things-sim",
    preset="tiny",
    subject=5,
    method="encoding",
    data_dir=dataset.root,
    out=folder / "runs",
)

######################################################################
# Its folder holds all that new data need: model, channels, sampling rate, epochs, noise
# normalization, image encoder. ``load_run`` also takes the name of a run on the Hugging Face Hub.

run = load_run(trained.path)
run

######################################################################
# New recordings
# --------------
#
# The subject comes back for four more sessions. A recording is a ``Raw`` of MNE, in which annotations
# name the images; ``events=`` takes a BIDS ``events.tsv`` or plain onsets instead.

raws = [dataset.recording(5, session, "test").to_raw(dataset.images) for session in (5, 6, 7, 8)]
raws[0]

######################################################################
# Which images did the person see?
# --------------------------------
#
# Trials are cut, whitened and averaged as in training, channels are joined by name. Candidates are all
# images in a folder, here the 16 test images; a dataset can be given, too, for all of its images.

pictures = folder / "pictures"
for name in dataset.images.query("split == 'test'")["image_id"]:
    (pictures / name).parent.mkdir(parents=True, exist_ok=True)
    (pictures / f"{name}.jpg").write_bytes(dataset.jpeg(name))

table = run.retrieve(raws, pictures, top=5, say=print)
table.head()

######################################################################
# The seen image, and the five nearest. The right one is framed.

import matplotlib.pyplot as plt

figure, axes = plt.subplots(6, 6, figsize=(7, 7), layout="constrained")
for row, query in zip(axes, table.itertuples(), strict=False):
    nearest = [getattr(query, f"top_{place}") for place in range(1, 6)]
    for axis, image_id in zip(row, [query.image, *nearest], strict=True):
        axis.imshow(dataset.image(image_id))
        axis.set(xticks=[], yticks=[])
        right = axis is not row[0] and image_id == query.image
        for side in axis.spines.values():
            side.set(color="#009E73" if right else "white", linewidth=4)
for axis, title in zip(axes[0], ["seen", "1st", "2nd", "3rd", "4th", "5th"], strict=True):
    axis.set_title(title)

######################################################################
# One session, or four?
# ---------------------
#
# A session holds only a few trials of an image. Top-1 accuracy over sessions:

accuracy = [(run.retrieve(raws[:n], pictures)["rank"] == 1).mean() for n in (1, 2, 3, 4)]
figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
axis.plot((1, 2, 3, 4), accuracy, "o-", label="new sessions")
axis.axhline(trained.summary["top1"], color="gray", label="test of the run")
axis.axhline(1 / table.attrs["n_images"], color="gray", linestyle=":", label="chance")
axis.set(xlabel="sessions", ylabel="top-1 accuracy", xticks=(1, 2, 3, 4), ylim=(0, 1))
axis.legend(loc="lower right", bbox_to_anchor=(1, 0.08))

######################################################################
# More trials help. The test of the run averages four sessions, too, so with as many new ones accuracy should
# be about the same, give or take an image or two of sixteen.
#
# Without image names there are no ranks, and each trial is a query. ``run.embed(raws)`` gives the
# embeddings themselves.

run.embed(raws[0]).iloc[:3, :4]
