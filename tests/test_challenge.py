"""The challenge: pooled subjects, frozen galleries, averaged predictions, its recipe, its submission."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from test_training import make_data, make_parts
from test_zero_shot import Given

from braindecode_ssr.config import EvaluationSpec, TrainSpec, build
from braindecode_ssr.datasets import open_dataset
from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.datasets.zero_shot import training_subjects
from braindecode_ssr.errors import UsageError
from braindecode_ssr.images.features import image_features
from braindecode_ssr.inference.evaluation import TestSet, score
from braindecode_ssr.losses import Contrast
from braindecode_ssr.methods import METHODS
from braindecode_ssr.models.ssr import SSR
from braindecode_ssr.pipeline import evaluate, train
from braindecode_ssr.resolve import preview, resolve, run_spec
from braindecode_ssr.retrieval.evaluations import named_evaluation
from braindecode_ssr.retrieval.ranks import embed_trials, rank_of_target
from braindecode_ssr.training.callbacks import learning_rate_factor
from braindecode_ssr.training.data import training_data
from braindecode_ssr.training.retriever import fit
from braindecode_ssr.trials.prepare import prepare

# -- training ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("total", "share"), [(40, 0.1), (200, 0.25)])
def test_one_cycle_is_torchs(total, share):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=total, pct_start=share
    )
    for step in range(total):
        ours = learning_rate_factor(step, total, round(share * total), "onecycle")
        assert ours == pytest.approx(reference.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        if step < total - 1:
            reference.step()


def test_one_direction_is_torchs_cross_entropy_of_the_trials_alone():
    brain, images = torch.randn(2, 6, 4)
    loss = Contrast(regime="raw", scale=1.0, direction="brain-to-image")
    logits = brain @ torch.nn.functional.normalize(images).T  # brains keep their lengths
    wanted = torch.nn.functional.cross_entropy(logits, torch.arange(6))
    torch.testing.assert_close(loss(brain, images, images)["loss"], wanted)
    assert not list(loss.parameters())  # the temperature is fixed
    both = Contrast(regime="raw", scale=1.0)(brain, images, images)["loss"]
    assert not torch.isclose(both, wanted)


def test_without_an_image_head_the_gallery_is_the_features():
    model = SSR(n_outputs=12, n_chans=4, n_times=32, sfreq=100, n_features=12, image_head="none")
    features = torch.randn(3, 12)
    assert torch.equal(model.image_head(features), features)
    assert not list(model.image_head.parameters()) and model(torch.zeros(2, 4, 32)).shape == (2, 12)
    with pytest.raises(UsageError, match="width 12, and n_outputs is 16"):
        SSR(n_outputs=16, n_chans=4, n_times=32, sfreq=100, n_features=12, image_head="none")


def test_training_stops_when_patience_is_over_and_a_resumed_run_agrees(tmp_path, monkeypatch):
    from braindecode_ssr.training import callbacks

    def worse(self, model):  # top-5 is best in epoch 2
        self.seen = getattr(self, "seen", 0) + 1
        return np.full(8, 5 if self.seen == 2 else 6)

    monkeypatch.setattr(callbacks.ValidationRetrieval, "ranks", worse)
    spec = TrainSpec(epochs=9, batch_size=32, validation_concepts=2, patience=3)
    net = fit(make_data(), *make_parts(), spec, tmp_path)
    assert net.history[:, "valid_top5"] == [0, 1, 0, 0, 0]
    again = fit(make_data(), *make_parts(), spec, tmp_path, resume=True)
    assert len(again.history) == 5  # and no epoch more


def test_single_training_trials_in_memory_and_on_disk_are_those_of_the_store(sim_dir):
    settings = {"data": {"preset": "tiny", "channels": ["Oz", "PO7"], "subject": 1}}
    settings["train"] = {"average": "none", "smoothing": 0.0}
    sets = []
    for memory in (1.0, 0.0):
        spec = run_spec(settings, {"train": {"memory": memory}})
        dataset = open_dataset(spec.data, sim_dir)
        spec, _ = resolve(spec, dataset)
        features = image_features(dataset, spec.images.encoder, spec.images.views)
        features.complete(dataset, device="cpu", progress=False)
        sets.append(training_data(spec, dataset, features)[0])
    store = prepare(dataset, 1, spec.trials)
    rows = store.rows("train")
    wanted = np.asarray(store.trials)[rows][:, [store.ch_names.index(n) for n in ("Oz", "PO7")]]
    held, lazy = sets
    assert np.array_equal(held.x.numpy(), wanted) and torch.equal(lazy.x[:], held.x)
    assert torch.equal(lazy.x[torch.tensor([7, 3])], held.x[[7, 3]])
    assert held.table["image_id"].tolist() == store.table["image_id"].iloc[rows].tolist()
    assert len(held) > held.table["image_id"].nunique()


def test_patience_needs_validation_concepts(sim_dir, tmp_path):
    with pytest.raises(UsageError, match="train.patience=3 looks for"):
        preview(run_spec({"data": {"preset": "tiny"}, "train": {"patience": 3}}), sim_dir, tmp_path)


# -- evaluations ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def single():
    """Three noisy trials of different strength for each of 20 images."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(20, 8)).astype("float32")
    query = rng.permutation(np.repeat(np.arange(20), 3))
    noise = 2.0 * rng.normal(size=(60, 8)) * rng.uniform(0.2, 3, size=(60, 1))
    brain = (images[query] + noise).astype("float32")
    ids = [f"c{i}/c{i}_01" for i in range(20)]
    table = pd.DataFrame({"subject": 1, "image_id": ids, "concept": ids, "n_repetitions": 3})
    return images, brain, query, table


def cosines(queries, images):
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, images))
    return a @ b.T


def test_predictions_are_averaged_before_they_are_normalized(single):
    images, brain, query, table = single
    test = TestSet(brain[:, None], table, images, table["image_id"].tolist(), None, query)
    queries, numbers = score(Given(), test)
    mean = np.stack([brain[query == image].mean(0) for image in range(20)])
    wanted = rank_of_target(cosines(mean, images), np.arange(20))
    assert queries["rank"].tolist() == wanted.tolist() and numbers["n_queries"] == 20
    units = brain / np.linalg.norm(brain, axis=1, keepdims=True)
    other = np.stack([units[query == image].mean(0) for image in range(20)])
    assert wanted.tolist() != rank_of_target(cosines(other, images), np.arange(20)).tolist()


def test_where_each_trial_is_a_query_an_image_has_the_mean_over_its_trials(single):
    images, brain, query, table = single
    each = table.iloc[query].reset_index(drop=True).assign(n_repetitions=1)
    test = TestSet(brain[:, None], each, images, table["image_id"].tolist(), None)
    queries, numbers = score(Given(), test, EvaluationSpec(average="none"))
    ranks = rank_of_target(cosines(brain, images), query)
    assert numbers["top1"] == pytest.approx((ranks == 1).mean())
    assert numbers["top5"] == pytest.approx((ranks <= 5).mean())
    assert numbers["median_rank"] == np.median(ranks) and numbers["repetitions"] == 1
    assert queries["image_id"].is_unique and len(queries) == numbers["n_queries"] == 20
    own = queries.set_index("image_id")["rank"][table["image_id"][7]]
    assert own == pytest.approx(ranks[query == 7].mean())


def test_the_two_numbers_of_the_challenge_have_names_and_no_flag():
    for name, average in (("challenge", "predictions"), ("challenge-warmup", "none")):
        found = named_evaluation(name)
        assert found.spec == EvaluationSpec(average=average) and found.flags == ()
    assert named_evaluation("average=none").spec.average == "none"


# -- pooled subjects -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pooled(sim_dir, few_people, tmp_path_factory):
    """A run on all people."""
    settings = {
        "method": "contrast",
        "data": {"preset": "tiny", "subject": 5, "protocol": "pooled", "channels": "occipital-17"},
        "model": {"backbone": "EEGNet", "image_head": "none", "feature_point": "embedding"},
        "train": {"epochs": 1, "batch_size": 128},
        "evaluation": {"average": "predictions"},
    }
    return train(run_spec(settings), data_dir=sim_dir, out=tmp_path_factory.mktemp("pooled"))


def test_pooled_trains_on_all_people_the_tested_one_included(pooled, sim_dir):
    dataset = ThingsSim(sim_dir, preset="tiny")
    assert training_subjects(pooled.spec.data, dataset) == list(dataset.subjects)
    assert pooled.summary["train_subjects"] == list(dataset.subjects)
    assert pooled.summary["protocol"] == "pooled" and pooled.summary["average"] == "predictions"
    assert pooled.summary["n_train"] == 4 * (dataset.images["split"] == "train").sum()
    assert pooled.summary["evaluation"] == "average=predictions" and pooled.summary["flags"] == []


def test_a_run_of_several_people_is_tested_on_each_of_them(pooled):
    queries, summary = evaluate(pooled.path, subject="3")
    assert summary["subject"] == 3 and summary["protocol"] == "pooled"
    assert set(queries["subject"]) == {3}
    own, _ = evaluate(pooled.path)
    assert own["score"].tolist() == pytest.approx(pooled.queries["score"].tolist(), abs=1e-6)
    assert own["score"].tolist() != queries["score"].tolist()
    with pytest.raises(UsageError, match="subject"):
        evaluate(pooled.path, subject=11)


def test_predictions_of_a_run_are_the_means_over_its_single_trials(pooled, sim_dir):
    """By another way than the evaluation: the store's array, one image at a time."""

    kept = []
    evaluate(pooled.path, embeddings=lambda found, summary: kept.append(found))
    store = prepare(open_dataset(pooled.spec.data, sim_dir), 5, pooled.spec.trials)
    picks = store.pick(tuple(pooled.channels.ch_names))
    for row in (0, 9):
        image = kept[0].table["image_id"][row]
        rows = np.flatnonzero((store.table["image_id"] == image) & (store.table["split"] == "test"))
        brain = embed_trials(pooled.model, np.asarray(store.trials)[rows][:, picks])
        np.testing.assert_allclose(kept[0].brain[row], brain.mean(0), rtol=1e-4, atol=1e-6)


# -- the recipe ----------------------------------------------------------------------------------------------


def test_the_recipe_is_accepted_for_every_protocol(sim_dir, tmp_path):
    for protocol in ("intra", "inter", "pooled"):
        data = {"preset": "tiny", "subject": 5, "protocol": protocol}
        found = preview(run_spec({"method": "neuralbench", "data": data}), sim_dir, tmp_path)
        trials = found["spec"]["trials"]
        assert trials["whitening"] == "robust" and trials["notch"] == [50.0, 60.0]
        assert found["spec"]["model"]["backbone"] == "EEGNet"
    assert build(METHODS["neuralbench"].settings).trials.clamp == 20


# -- the submission ------------------------------------------------------------------------------------------

KIT = {
    "benchmark_utils.py": "",
    "compet_core/__init__.py": "",
    "compet_core/base_solver.py": "class CompetSolver:\n    requirements = []\n",
}
"""What a submission imports of the challenge's kit, derived anew from the description of its contract."""

SCORER = """
import sys, types
import subprocess
import sys

import numpy as np
for blocked in ("braindecode_ssr", "braindecode"):
    sys.modules[blocked] = None  # an import raises ImportError
import torch
from submission import Solver
from compet_core.base_solver import CompetSolver
given = np.load("given.npz")
names = given["names"].tolist()
meta = dict(sfreq=120.0, ch_names=names, chs_info=[], n_chans=len(names), n_times=120, device="cpu",
            n_outputs=int(given["width"]), submission_dir=".")
solver = Solver()
assert isinstance(solver, CompetSolver) and solver.name and solver.requirements == []
model = solver.load_model(meta)
order, found = given["order"], None
for part in np.array_split(order, 7):  # shuffled, of several people, of any size
    predicted = model.predict(torch.from_numpy(given["x"][part])).numpy()
    found = np.full((len(order), predicted.shape[1]), np.nan, np.float32) if found is None else found
    found[part] = predicted
np.save("found.npy", found)
"""


@pytest.fixture(scope="module")
def recipe(sim_dir, tmp_path_factory):
    """A run of the recipe, on one person."""
    settings = {
        "method": "neuralbench",
        "data": {"preset": "tiny", "subject": 5, "channels": "occipital-17"},
        "train": {"epochs": 1, "warmup": 0.5},
        "evaluation": {"average": "predictions"},
    }
    return train(run_spec(settings), data_dir=sim_dir, out=tmp_path_factory.mktemp("recipe"))


def test_the_submission_gives_the_predictions_of_evaluate_without_this_package(
    recipe, sim_dir, tmp_path
):
    from braindecode_ssr.sharing.export import export

    export(recipe.path, "challenge", tmp_path)
    for name, text in {**KIT, "scorer.py": SCORER}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    kept = []
    evaluate(recipe.path, embeddings=lambda found, summary: kept.append(found))
    store = prepare(open_dataset(recipe.spec.data, sim_dir), 5, recipe.spec.trials)
    rows, rng = store.rows("test"), np.random.default_rng(0)
    channels = rng.permutation(len(store.ch_names))  # in another order than in training
    np.savez(
        tmp_path / "given.npz",
        x=np.asarray(store.trials)[rows][:, channels],
        names=np.array(store.ch_names)[channels],
        order=rng.permutation(len(rows)),
        width=recipe.record["n_features"],
    )
    subprocess.run([sys.executable, "scorer.py"], cwd=tmp_path, check=True)
    found = np.load(tmp_path / "found.npy")
    shown = store.table["image_id"].to_numpy()[rows]
    wanted = kept[0].brain
    mean = np.stack([found[shown == image].mean(0) for image in kept[0].table["image_id"]])
    assert np.abs(mean - wanted).max() <= 1e-5 * np.abs(wanted).max()
    ranks = rank_of_target(cosines(mean, kept[0].gallery), np.arange(len(mean)))
    assert ranks.tolist() == recipe.queries["rank"].tolist()


def test_runs_that_are_no_submission_are_refused(pooled, tmp_path):
    from braindecode_ssr.sharing.export import export

    with pytest.raises(UsageError, match=r"(?s)trials.whitening = mvnn, not robust.*neuralbench"):
        export(pooled.path, "challenge", tmp_path)
