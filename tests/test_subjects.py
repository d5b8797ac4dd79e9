"""Who saw a trial, from the table of trials to the part of the model that it goes through."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from test_training import make_data, weights

from braindecode_ssr.config import TrainSpec, build, merge
from braindecode_ssr.datasets import open_dataset
from braindecode_ssr.errors import UsageError
from braindecode_ssr.images.features import image_features
from braindecode_ssr.inference.evaluation import load_test_set
from braindecode_ssr.losses.contrast import Contrast
from braindecode_ssr.models.ssr import SSR
from braindecode_ssr.pipeline import evaluate, train
from braindecode_ssr.resolve import resolve
from braindecode_ssr.retrieval.ranks import embed_images, embed_trials, query_table
from braindecode_ssr.runs import load_weights
from braindecode_ssr.training.data import Batches, TrainingSet, hold_out_concepts
from braindecode_ssr.training.retriever import build_model, fit
from braindecode_ssr.trials.averages import TrialFile, TrialRows

NAMES = np.array([7, 2, 11])  # of the subjects; their places are 1, 0, 2
PLACE = {2: 0, 7: 1, 11: 2}


def people():
    """Trials of three subjects; the first sample of each says whose."""
    data = make_data(times=80)
    names = NAMES[np.arange(len(data)) % 3]
    x = data.x.clone()
    x[:, 0, 0] = torch.from_numpy(names).float()
    return TrainingSet(x, data.image, data.original, data.view, data.table.assign(subject=names))


def parts(subjects=3, **params):
    torch.manual_seed(0)
    signal = {"n_chans": 4, "n_times": 80, "sfreq": 100}
    options = {"n_outputs": 16, "n_features": 12, "width": 24, "n_subjects": subjects, **signal}
    return SSR(backbone="ATM", backbone_params={"n_hidden": 8, **params}, **options), Contrast()


def run(folder, epochs=2, data=None, subjects=3, params=None, **options):
    spec = {"batch_size": 32, "lr": 3e-3, **options.pop("train", {})}
    model, loss = parts(subjects, **(params or {}))
    spec = TrainSpec(epochs=epochs, **spec)
    return fit(data or people(), model, loss, spec, folder, **options)


def of(x):
    """Whose trials these are, read from the trials themselves."""
    return [PLACE[int(name)] for name in x[:, 0, 0].tolist()]


def on_disk(data, folder):
    np.save(folder / "x.npy", data.x.numpy())
    rows = TrialRows([TrialFile.open(folder / "x.npy")])
    return TrainingSet(rows, data.image, data.original, data.view, data.table)


def test_each_batch_says_who_saw_its_trials(tmp_path):
    data = people()
    for whole in (data, on_disk(data, tmp_path)):
        for x, y in Batches(whole, 16, seed=0):
            assert y["subject"].tolist() == of(x)
        x, y = whole[5]
        assert y["subject"].item() == of(x[None])[0]


def test_places_are_those_of_the_whole_set():
    data = people()
    some = data.rows(np.flatnonzero(data.table["subject"] != 2))
    for part in (
        *hold_out_concepts(data, 5, seed=0),
        some,
        some.rows(np.arange(3)),
        data.to("cpu"),
    ):
        assert part.subject.tolist() == of(part.x)
    assert set(some.subject.tolist()) == {1, 2}


def test_every_trial_of_training_and_validation_goes_through_its_own_part(tmp_path, monkeypatch):
    seen, forward = [], SSR._of_subjects

    def spy(self, x, subject_index):
        seen.append((self.training, of(x) == subject_index.tolist(), len(x)))
        return forward(self, x, subject_index)

    monkeypatch.setattr(SSR, "_of_subjects", spy)
    net = run(tmp_path, train={"validation_concepts": 6})
    assert all(right for _, right, _ in seen)
    n = {mode: sum(n for own, _, n in seen if own is mode) for mode in (True, False)}
    assert n == {True: 2 * 64, False: 2 * 24}
    before = parts()[0].backbone.front
    after = net.module_.backbone.front
    assert torch.equal(before.unknown, after.unknown)
    assert (before.subjects.weight != after.subjects.weight).any(1).all()


@pytest.mark.slow
def test_compiled_it_moves_the_same_parts(tmp_path):
    still = {"drop_prob": 0.0, "attention_drop_prob": 0.0}
    nets = [
        run(tmp_path / mode, train={"compile": mode}, params=still) for mode in ("none", "default")
    ]
    plain, compiled = (net.module_.backbone.front.subjects.weight for net in nets)
    moved = plain - parts(**still)[0].backbone.front.subjects.weight
    assert torch.linalg.norm(compiled - plain) <= 0.05 * torch.linalg.norm(moved)


def test_shared_parts_are_told_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(SSR, "_of_subjects", None)
    net = run(tmp_path, subjects=None, train={"validation_concepts": 6})
    before = parts(None)[0].backbone.front
    assert torch.equal(before.subjects.weight, net.module_.backbone.front.subjects.weight)
    assert not torch.equal(before.unknown, net.module_.backbone.front.unknown)


def test_training_is_that_of_a_plain_loop(tmp_path):
    still = {"drop_prob": 0.0, "attention_drop_prob": 0.0}
    net = run(tmp_path, epochs=1, params=still)
    (model, loss), data = parts(**still), people()
    spec = TrainSpec()
    optimizer = torch.optim.AdamW(
        [*model.parameters(), *loss.parameters()], 3e-3, spec.betas, weight_decay=spec.weight_decay
    )
    for x, y in Batches(data, 32, seed=0):
        brain = model(x, subject_index=torch.tensor(of(x)))
        total = loss(brain, model.image_head(y["original"]), model.image_head(y["view"]))["loss"]
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    for name, value in model.named_parameters():
        if value.ndim > 1:  # some biases have no gradient but rounding, which Adam makes large
            trained = net.module_.get_parameter(name)
            assert torch.linalg.norm(trained - value) <= 1e-3 * torch.linalg.norm(value), name


def test_resumed_from_disk_averaged_and_in_bfloat16(tmp_path):
    options = {"train": {"validation_concepts": 6, "ema": 0.9, "selection": "validation"}}
    whole = run(tmp_path / "whole", epochs=4, **options)
    run(tmp_path / "parts", epochs=2, **options)
    lazy = on_disk(people(), tmp_path)
    resumed = run(tmp_path / "parts", epochs=4, data=lazy, resume=True, **options)
    assert torch.equal(weights(whole), weights(resumed))
    assert whole.history[:, "valid_top5"] == resumed.history[:, "valid_top5"]
    half = run(tmp_path / "half", precision="bfloat16")
    full = run(tmp_path / "full")
    apart = torch.linalg.norm(weights(half) - weights(full)) / torch.linalg.norm(weights(full))
    assert 0 < apart < 0.02  # 0.0047 to 0.0053 with three seeds


def test_embedding_as_known_subjects_and_as_a_stranger():
    (model, _), data = parts(), people()
    known = embed_trials(model, data.x, batch_size=10, subject_index=data.subject)
    stranger = embed_trials(model, data.x, batch_size=10)
    model.eval()
    with torch.no_grad():
        for row in range(5):
            each = [model(data.x[[row]], subject_index=torch.tensor([k]))[0] for k in range(3)]
            np.testing.assert_allclose(known[row], each[of(data.x)[row]], rtol=1e-4, atol=1e-5)
            mean = torch.stack(each).mean(0)
            np.testing.assert_allclose(stranger[row], mean, rtol=1e-4, atol=1e-5)


@pytest.fixture
def folder(sim_dir, few_people):
    return sim_dir


SETTINGS = {
    "method": "contrast",
    "data": {"dataset": "things-sim", "preset": "tiny", "subject": 2, "protocol": "inter"},
    "model": {"backbone": "ATM", "subjects": "own", "n_outputs": 16},
    "train": {"epochs": 1, "batch_size": 64, "device": "cpu"},
}
SMALL = {"ATM": {"n_hidden": 8}, "BrainModule": {"depth": 1, "hidden_dim": 8}}


def spec_of(**model):
    return build(merge(SETTINGS, {"data": {"channels": "occipital-17"}, "model": model}))


def ranks_by_hand(done, folder):
    """Ranks of the mean, over the parts of all training subjects, of the embeddings."""
    dataset = open_dataset(done.spec.data, folder)
    features = image_features(dataset, done.spec.images.encoder, done.spec.images.views)
    test = load_test_set(done.spec, dataset, features, done.spec.evaluation)
    n_subjects = len(done.summary["train_subjects"])
    model = build_model(done.spec, test.signals, test.gallery.shape[1], n_subjects=n_subjects)
    model = load_weights(model, done.weights).eval()
    with torch.no_grad():
        total = sum(
            model(torch.from_numpy(test.x), subject_index=torch.full((len(test.x),), k))
            for k in range(n_subjects)
        )
    gallery = embed_images(model, test.gallery)
    brain = (total / n_subjects).numpy()
    return query_table(brain, gallery, test.table, test.gallery_ids)


@pytest.mark.parametrize("backbone", [pytest.param("ATM", marks=pytest.mark.slow), "BrainModule"])
def test_a_run_on_all_others_and_its_evaluation(backbone, folder, tmp_path):
    said = []
    spec = spec_of(backbone=backbone, backbone_params=SMALL[backbone])
    done = train(spec, data_dir=folder, out=tmp_path, say=said.append)
    assert done.summary["subjects"] == "own" and done.summary["train_subjects"] == [1, 3, 5]
    assert any("a part for each of 3 subjects" in line for line in said)
    queries, summary = evaluate(done.path, data_dir=folder)
    assert summary == done.summary
    pd.testing.assert_frame_equal(queries, done.queries, check_dtype=False)
    by_hand = ranks_by_hand(done, folder)
    np.testing.assert_allclose(queries["score"], by_hand["score"], rtol=1e-3, atol=1e-5)


def test_a_single_training_subject_has_the_only_part(folder, tmp_path):
    alone = merge(
        SETTINGS, {"data": {"protocol": "intra"}, "model": {"backbone_params": SMALL["ATM"]}}
    )
    done = train(build(alone), data_dir=folder, out=tmp_path)
    assert done.summary["train_subjects"] == [2]
    queries, summary = evaluate(done.path, data_dir=folder)
    assert summary == done.summary
    assert len(load_file(done.weights)["backbone.front.subjects.weight"]) == 1


def test_a_run_from_before_there_was_the_choice_is_evaluated(folder, tmp_path):
    spec = spec_of(subjects="shared", backbone_params=SMALL["ATM"])
    done = train(spec, data_dir=folder, out=tmp_path)
    older = tmp_path / "older"
    shutil.copytree(done.path, older)
    for name in ("run.json", "summary.json"):
        content = json.loads((older / name).read_text())
        del (content["spec"]["model"] if name == "run.json" else content)["subjects"]
        (older / name).write_text(json.dumps(content))
    assert evaluate(older, data_dir=folder)[1] == done.summary
    assert done.summary["subjects"] == "shared"


@pytest.mark.parametrize("backbone", ["EEGProject", "EEGNet"])
def test_backbones_that_ignore_subjects_are_refused_before_anything_is_read(
    backbone, folder, tmp_path, monkeypatch
):
    monkeypatch.setattr("braindecode_ssr.images.features.image_features", None)
    with pytest.raises(UsageError, match=f"{backbone}.*subject.*subjects=shared"):
        train(spec_of(backbone=backbone), data_dir=folder, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_closed_form_has_no_parts(folder):
    settings = {"method": "ridge-decoding", "model": {"backbone": "linear", "subjects": "own"}}
    spec = build(merge(SETTINGS, settings, {"train": {"solver": "ridge-decoding"}}))
    with pytest.raises(UsageError, match="linear map.*subjects = own"):
        resolve(spec, open_dataset(spec.data, folder))
