"""
.. _loss-part-by-part:

SSR's loss, part by part
========================

SSR trains with three contrasts and two reconstructions across modalities. Here we plot each part over the
epochs and ask: does a reconstruction really use the *other* modality? To find out, it is also computed with
the partner of another trial and with no partner, and a control with a known answer shows what yes and no look
like.
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

# sphinx_gallery_thumbnail_number = 1

######################################################################
# A run, and the parts of its loss
# --------------------------------
#
# Every part is a column of ``run.history``. ``brain_view``, ``brain_original`` and ``view_original`` are the
# contrasts between brain, views and original image. ``reconstruct_view`` fills in the hidden half of the view
# embedding from its other half and the brain; ``reconstruct_brain`` does the reverse.

import tempfile
from pathlib import Path

from braindecode_ssr import train

folder = Path(tempfile.mkdtemp())
run = train(
    dataset="things-sim",
    preset="tiny",
    subject=5,
    method="ssr-tuned",
    epochs=40,
    data_dir=folder / "things-sim",
    out=folder / "runs",
)
run.history.columns.tolist()

######################################################################
# ``plot_history`` draws them all. The two panels *by context* answer the question above.

figure = run.plot_history()

######################################################################
# Context gain
# ------------
#
# After each epoch, both reconstructions are computed three times on the same trials with the same elements
# hidden: with the right partner, with the partner of another trial, and without one. The loss that the right
# partner saves is the *context gain*.

import matplotlib.pyplot as plt

contexts = {"paired": "right partner", "shuffled": "another's", "none": "no partner"}


def plot_contexts(history, title):
    """Both reconstructions over epochs, with each partner."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained", sharey=True)
    for axis, part in zip(axes, ("reconstruct_view", "reconstruct_brain"), strict=True):
        for context, label in contexts.items():
            axis.plot(history["epoch"], history[f"{part}_{context}"], label=label)
        axis.set(title=part.replace("_", " "), xlabel="epoch")
    axes[0].set_ylabel("1 - cosine to what was hidden")
    lines = axes[0].get_legend_handles_labels()
    figure.legend(*lines, title="context", loc="outside right center")
    figure.suptitle(title)


plot_contexts(run.history, "things-sim")

######################################################################
# If the lines coincided, a reconstruction would be using its own half alone; where they separate, it uses the
# partner. Two cautions: the contrasts make brain and view alike, so the partner nearly gives the answer away;
# and these are training trials, which a network can memorize. Whether reconstruction improves retrieval is
# another question, answered in :doc:`/evidence`.
#
# A control with a known answer
# -----------------------------
#
# Such a plot is informative only if it can come out either way. So we give the same loss artificial
# vectors: the first elements of "brain" and "view" share a hidden cause, and the rest is independent
# noise. There is no network in front, and every batch is new, so nothing can be memorized.

import pandas as pd
import torch

from braindecode_ssr import SSRLoss


def reconstruct(shared, epochs=40, size=64, n_shared=48):
    """Train the reconstructors alone, on vectors with or without a common cause."""
    torch.manual_seed(0)
    mixing = torch.randn(n_shared, n_shared)
    loss = SSRLoss(n_outputs=size)
    optimizer = torch.optim.AdamW(loss.parameters(), lr=3e-3)
    history = []
    for epoch in range(1, epochs + 1):
        for _ in range(8):
            brain, view = 7 * torch.randn(2, 128, size)
            if shared:
                cause = torch.randn(128, n_shared) @ mixing
                brain[:, :n_shared], view[:, :n_shared] = cause, cause
            optimizer.zero_grad()
            loss(brain, view, view)["loss"].backward()
            optimizer.step()
        history.append({"epoch": epoch} | {k: float(v) for k, v in loss.diagnostics().items()})
    return pd.DataFrame(history)


control = {shared: reconstruct(shared) for shared in (True, False)}
plot_contexts(control[True], "a common cause")

######################################################################
# The right partner helps, and a wrong one does not. Without a common cause there is nothing to gain, so the
# lines must coincide, or the measure itself would be wrong:

plot_contexts(control[False], "no common cause")

######################################################################
# As one number: the share of the loss that the right partner saves after training, compared with another's.

gain = {
    name: {
        part: 1 - history[f"{part}_paired"].iloc[-1] / history[f"{part}_shuffled"].iloc[-1]
        for part in ("reconstruct_view", "reconstruct_brain")
    }
    for name, history in (
        ("things-sim", run.history),
        ("common cause", control[True]),
        ("no common cause", control[False]),
    )
}
figure, axis = plt.subplots(figsize=(5.5, 3), layout="constrained")
(100 * pd.DataFrame(gain).T).plot.barh(ax=axis)
axis.axvline(0, color="black", linewidth=0.8)
axis.set_xlabel("context gain (% of the loss with another's partner)")

######################################################################
# What next
# ---------
#
# - What each part adds to accuracy, with ten subjects and tests: :doc:`/evidence`.
# - Every parameter, such as ``--set loss.params.context=shuffled``, which trains with wrong partners:
#   :doc:`/losses`.
# - A loss of your own: :ref:`plugin-in-ten-lines`.

import shutil

shutil.rmtree(folder)
