"""
.. _new-recording:

Retrieve from a new recording
=============================

Once a run is trained, it can decode new recordings. Here the same person comes back for sessions that
the model has never seen. On the command line this is ``ssr-bd retrieve RUN RECORDING --images FOLDER``,
for every format that MNE reads; :doc:`/retrieve` has the details.
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
# The run folder holds everything that new data require: the model, its channels, sampling rate and
# epochs, the whitening, and the image encoder. ``load_run`` also takes the name of a run on the Hugging
# Face Hub.

run = load_run(trained.path)
run

######################################################################
# New recordings
# --------------
#
# Four more sessions of the same subject. Each recording is an MNE ``Raw`` whose annotations name the
# images; ``events=`` takes a BIDS ``events.tsv`` or a list of onsets instead.

raws = [dataset.recording(5, session, "test").to_raw(dataset.images) for session in (5, 6, 7, 8)]
raws[0]

######################################################################
# Which images did the person see?
# --------------------------------
#
# Channels are matched by name, and trials are cut, whitened and averaged as in training. The
# candidates are all images in a folder, here the 16 test images.

pictures = folder / "pictures"
for name in dataset.images.query("split == 'test'")["image_id"]:
    (pictures / name).parent.mkdir(parents=True, exist_ok=True)
    (pictures / f"{name}.jpg").write_bytes(dataset.jpeg(name))

table = run.retrieve(raws, pictures, top=5, say=print)
table.head()

######################################################################
# The image that was seen, and the five nearest; the right one is framed in green.

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
# One session has only a few trials of each image. Top-1 accuracy as sessions are added:

accuracy = [(run.retrieve(raws[:n], pictures)["rank"] == 1).mean() for n in (1, 2, 3, 4)]
figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
axis.plot((1, 2, 3, 4), accuracy, "o-", label="new sessions")
axis.axhline(trained.summary["top1"], color="gray", label="test of the run")
axis.axhline(1 / table.attrs["n_images"], color="gray", linestyle=":", label="chance")
axis.set(xlabel="sessions", ylabel="top-1 accuracy", xticks=(1, 2, 3, 4), ylim=(0, 1))
axis.legend(loc="lower right", bbox_to_anchor=(1, 0.08))

######################################################################
# More trials help. The run's own test also averages four sessions, so with four new ones accuracy should be
# about the same, give or take an image or two out of sixteen.
#
# If events do not name the images, there are no ranks, and each trial is a query of its own.
# ``run.embed(raws)`` returns the embeddings themselves.

run.embed(raws[0]).iloc[:3, :4]
