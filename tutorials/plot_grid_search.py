"""
.. _grid-search:

Grid search with scikit-learn and Optuna
========================================

Which learning rate, width or loss is best? ``EEGRetriever`` is a scikit-learn estimator, so you can tune
it with ``GridSearchCV`` and `Optuna <https://optuna.org>`__ (``pip install optuna``), in cross-validation
that holds out whole *concepts*. The test set is used once, at the end.
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

######################################################################
# Trials and features as arrays
# -----------------------------
#
# ``X`` is the average trial of each image, (n, c, t), ``y`` the features of the original image and the
# mean features of its views, (n, 2, d). A rate of 50 Hz keeps this tutorial fast, and the strong
# responses of version 1 of the simulation make up for the few trials.

import tempfile
from pathlib import Path

import numpy as np

from braindecode_ssr import FeatureStore, ThingsSim, prepare
from braindecode_ssr.config import TrialSpec
from braindecode_ssr.images import extract

dataset = ThingsSim(Path(tempfile.mkdtemp()) / "things-sim", preset="tiny-v1")
encoder = dataset.default_encoder
store = FeatureStore.of(dataset)
views = ("blur", "noise", "mosaic")
extract(dataset, encoder, ("original", *views), store)
trials = prepare(dataset, 5, TrialSpec(sfreq=50))


def arrays(split):
    """Trials, features of original and views, and the concept of each row."""
    part = trials.average(split, channels="occipital-17")
    names = part.table["image_id"].tolist()
    pooled = np.mean([store.read(encoder, view, names) for view in views], axis=0)
    y = np.stack([store.read(encoder, "original", names), pooled], axis=1)
    return part.x.astype("float32"), y, part.table["concept"].to_numpy()


X, y, concepts = arrays("train")
X.shape, y.shape

######################################################################
# Grid search
# -----------
#
# ``GroupKFold`` over concepts makes each fold zero-shot, like the test. Plain ``KFold`` would train and
# validate on images of the same concept and favor settings that memorize concepts. As in skorch,
# ``module__`` and ``criterion__`` set parameters of the model and of the loss.

import torch
from sklearn.model_selection import GridSearchCV, GroupKFold

from braindecode_ssr import SSR, EEGRetriever, SSRLoss
from braindecode_ssr.losses import Contrast
from braindecode_ssr.retrieval.ranks import cosine, rank_of_target

torch.manual_seed(0)  # of the first weights
net = EEGRetriever(
    SSR,
    module__n_chans=X.shape[1],
    module__n_times=X.shape[2],
    module__sfreq=50,
    module__n_outputs=64,
    module__width=32,
    criterion=SSRLoss,
    optimizer=torch.optim.AdamW,
    max_epochs=10,
    batch_size=16,
    verbose=0,
)


def images_behind(net, X, y):
    """Share of the other images that rank behind the right one."""
    with torch.no_grad():
        images = net.module_.image_head(torch.from_numpy(y[:, 0])).numpy()
    ranks = rank_of_target(cosine(net.predict(X), images), np.arange(len(X)))
    return 1 - (ranks - 1).mean() / (len(X) - 1)


grid = {"lr": [1e-5, 1e-4, 1e-3, 1e-2], "criterion": [Contrast, SSRLoss]}
search = GridSearchCV(net, grid, scoring=images_behind, cv=GroupKFold(2))
search.fit(X, y, groups=concepts).best_params_

######################################################################
# The estimator's own score, top-1 accuracy, is coarse with so few trials. So we compare settings by the
# share of the other held-out images that rank behind the right one; chance is one half.

import pandas as pd

found = pd.DataFrame(search.cv_results_)
found["loss"] = found["param_criterion"].map(lambda loss: loss.__name__)
scores = ["mean_test_score", "std_test_score"]
found[["loss", "param_lr", *scores]].sort_values("mean_test_score").round(dict.fromkeys(scores, 3))

######################################################################

import matplotlib.pyplot as plt

figure, axis = plt.subplots(figsize=(5.5, 3.3), layout="constrained")
for loss, rows in found.groupby("loss"):
    axis.errorbar(rows["param_lr"], rows[scores[0]], yerr=rows[scores[1]], fmt="o-", label=loss)
axis.axhline(0.5, color="black", linestyle=":", label="chance")
axis.set(xscale="log", xlabel="learning rate", ylabel="images behind, held-out concepts")
axis.legend()

######################################################################
# Optuna
# ------
#
# A grid grows with every parameter. Optuna samples settings instead, more and more near those that did
# well. The objective is the same cross-validation.

import optuna
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

optuna.logging.set_verbosity(optuna.logging.WARNING)


def objective(trial):
    """Mean score over the folds."""
    settings = {
        "lr": trial.suggest_float("lr", 1e-4, 1e-1, log=True),
        "module__width": trial.suggest_categorical("module__width", [16, 32, 64]),
        "optimizer__weight_decay": trial.suggest_float(
            "optimizer__weight_decay", 1e-5, 1e-1, log=True
        ),
    }
    tried = clone(net).set_params(**settings)
    folds = {"groups": concepts, "cv": GroupKFold(2), "scoring": images_behind}
    return cross_val_score(tried, X, y, **folds).mean()


study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
study.optimize(objective, n_trials=12)
study.best_params

######################################################################
# Each dot is one setting; the study soon concentrates on the best ones.

done = study.trials_dataframe()
figure, axes = plt.subplots(1, 2, figsize=(9, 3.3), layout="constrained", sharey=True)
picture = axes[0].scatter(done["params_lr"], done["value"], c=done["number"], cmap="viridis_r")
axes[0].set(xscale="log", xlabel="learning rate", ylabel="images behind, held-out concepts")
figure.colorbar(picture, ax=axes[0], label="trial of the study")
axes[1].step(done["number"], done["value"].cummax(), where="post", label="best so far")
axes[1].plot(done["number"], done["value"], "o", color="0.6", label="each setting")
axes[1].set_xlabel("trial of the study")
for axis in axes:
    axis.axhline(0.5, color="black", linestyle=":", label="chance")
axes[1].legend(fontsize=8)

######################################################################
# The test, once
# --------------
#
# The best setting is trained on all training concepts and tested on the test concepts, which have not
# been used so far. The best of many tries is partly luck, so report this number, not the score on
# held-out concepts.

best = clone(net).set_params(**study.best_params).fit(X, y)
X_test, y_test, _ = arrays("test")
print(f"images behind, held-out concepts: {study.best_value:.2f} (chance 0.50)")
print(f"images behind, test:              {images_behind(best, X_test, y_test):.2f} (chance 0.50)")
print(f"top-1, test: {best.score(X_test, y_test):.2f} (chance {1 / len(X_test):.2f})")

######################################################################
# What next
# ---------
#
# - Whole runs instead of arrays: ``train(..., **{"train.validation_concepts": 8})`` writes ``valid_mrr`` into
#   ``run.history``, which an objective can return.
# - A method whose settings were chosen in this way: ``ssr-bd show method ssr-tuned``.
# - More on the estimator, schedulers and callbacks: :doc:`/training`.

import shutil

shutil.rmtree(dataset.root.parent)
