"""Ridge regression in closed form, against scikit-learn and the textbook, and what it must not see."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge as Reference

from braindecode_ssr.config import TrainSpec
from braindecode_ssr.errors import UsageError
from braindecode_ssr.training import ridge
from braindecode_ssr.training.data import TrainingSet, hold_out_concepts
from braindecode_ssr.training.distributed import World
from braindecode_ssr.training.ridge import RIDGES, RidgeDecoding, RidgeEncoding, Scatter, fit_ridge
from braindecode_ssr.trials.averages import TrialFile, TrialRows

N_CONCEPTS, PER_CONCEPT, CHANS, TIMES, WIDTH = 20, 4, 3, 5, 6


def make_data(n_concepts=N_CONCEPTS, noise=0.5, seed=0, offset=3.0):
    """Trials that are a linear map of features, and noise; two trials of each image."""
    draw = np.random.default_rng(seed)
    n_images = n_concepts * PER_CONCEPT
    features = draw.normal(size=(n_images, WIDTH)) + offset
    image = np.repeat(np.arange(n_images), 2)
    true = features[image] @ draw.normal(size=(WIDTH, CHANS * TIMES)) - offset
    x = (true + noise * draw.normal(size=true.shape)).reshape(-1, CHANS, TIMES)
    concept = [f"concept{number // PER_CONCEPT:02d}" for number in image]
    names = [f"{c}/{number:03d}" for c, number in zip(concept, image, strict=True)]
    table = pd.DataFrame({"subject": 1, "image_id": names, "concept": concept})
    tensors = [torch.from_numpy(part.astype("float32")) for part in (x, features, features)]
    return TrainingSet(tensors[0], torch.from_numpy(image), *tensors[1:], table)


def sides(data):
    """Trials (n, c t) and features (n, d), in double precision."""
    return data.x.flatten(1).double().numpy(), data.original[data.image].double().numpy()


def model_of(kind, data):
    return RIDGES[kind](CHANS * TIMES, data.original.shape[1])


def blocks(x, y, size=7):
    for first in range(0, len(x), size):
        yield x[first : first + size], y[first : first + size]


@pytest.mark.parametrize(("n", "p"), [(40, 9), (9, 9), (9, 40)])
@pytest.mark.parametrize("share", [1e-3, 1.0, 1e3])
def test_it_is_scikit_learns_ridge(n, p, share):
    draw = np.random.default_rng(n + p)
    x, y = draw.normal(size=(n, p)) * 3 + 50, draw.normal(size=(n, 4)) - 20
    scatter = Scatter(blocks(x, y), n, p)
    eigenvalues = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2
    assert scatter.mean_eigenvalue == pytest.approx(eigenvalues.sum() / min(n, p))
    wanted = Reference(alpha=share * scatter.mean_eigenvalue).fit(x, y)
    weight = scatter.weight(share)
    np.testing.assert_allclose(weight, wanted.coef_.T, rtol=1e-6, atol=1e-9)
    found = (x - scatter.means[0]) @ weight + scatter.means[1]
    np.testing.assert_allclose(found, wanted.predict(x), rtol=1e-8)


def test_both_forms_are_one():
    draw = np.random.default_rng(1)
    x, y = draw.normal(size=(12, 12)), draw.normal(size=(12, 3))
    by_inputs, by_rows = Scatter(blocks(x, y), 12, 12), Scatter(blocks(x, y), 12, 13)
    assert (by_inputs.few, by_rows.few) == (False, True)
    np.testing.assert_allclose(by_inputs.weight(0.3), by_rows.weight(0.3), atol=1e-10)


@pytest.mark.parametrize("n", [10, 60])
def test_a_solution_leaves_the_matrix_for_the_next_one(n, monkeypatch):
    monkeypatch.setattr(ridge, "BLOCK", 7)
    draw = np.random.default_rng(4)
    x, y = draw.normal(size=(n, 23)), draw.normal(size=(n, 3))
    one_after_another, shares = Scatter(blocks(x, y), n, 23), (1e-3, 10.0, 1e-3, 0.5)
    for share in shares:
        alone = Scatter(blocks(x, y), n, 23).weight(share)
        np.testing.assert_array_equal(one_after_another.weight(share), alone)


def test_a_large_mean_costs_no_digits():
    draw = np.random.default_rng(2)
    x, y = draw.normal(size=(200, 8)), draw.normal(size=(200, 2))
    near, far = (Scatter(blocks(x + mean, y), 200, 8).weight(0.1) for mean in (0.0, 1e6))
    np.testing.assert_allclose(near, far, rtol=1e-6, atol=1e-9)


def test_tiny_units_change_nothing():
    """MEG is in tesla: the penalty follows the scale of the data."""
    draw = np.random.default_rng(3)
    x, y = draw.normal(size=(50, 8)), draw.normal(size=(50, 2))
    volts, femto = Scatter(blocks(x, y), 50, 8), Scatter(blocks(1e-13 * x, y), 50, 8)
    np.testing.assert_allclose(volts.weight(0.5), 1e-13 * femto.weight(0.5), rtol=1e-6)


def test_too_large_is_reported_before_anything_is_read():
    with pytest.raises(UsageError, match="at most 30000 trials.*fewer channels"):
        Scatter(iter(()), 60_000, 54_200)


@pytest.mark.parametrize("n_concepts", [2, 3])
def test_a_penalty_is_not_chosen_by_a_map_of_nothing(n_concepts):
    data = make_data(n_concepts)
    with pytest.raises(UsageError, match=f"of {n_concepts} training concepts left"):
        fit_ridge(data, model_of("ridge-decoding", data), TrainSpec())


@pytest.mark.parametrize("kind", RIDGES)
def test_the_map_is_the_reference_with_the_chosen_penalty(kind):
    data = make_data()
    model = model_of(kind, data)
    history = fit_ridge(data, model, TrainSpec(solver=kind))
    chosen = history[history["chosen"]].iloc[0]
    assert chosen["valid_mrr"] == history["valid_mrr"].max() and len(history) == len(ridge.SHARES)
    trials, features = sides(data)
    inputs, outputs = model.direction(trials, features)
    scatter = inputs - inputs.mean(0)
    penalty = chosen["share"] * np.trace(scatter.T @ scatter) / inputs.shape[1]
    wanted = Reference(alpha=penalty).fit(inputs, outputs)
    np.testing.assert_allclose(model.weight.numpy(), wanted.coef_.T, rtol=1e-4, atol=1e-6)


def test_decoding_compares_predicted_with_true_features():
    data = make_data()
    model = RidgeDecoding(CHANS * TIMES, WIDTH)
    fit_ridge(data, model, TrainSpec())
    trials, features = sides(data)
    weight = model.weight.numpy().astype(float)
    predicted = (trials - trials.mean(0)) @ weight
    np.testing.assert_allclose(model(data.x).numpy(), predicted, atol=1e-3)
    centred = features - features.mean(0)
    found = model.image_head(data.original[data.image]).numpy()
    np.testing.assert_allclose(found, centred, atol=1e-5)


def test_encoding_compares_by_correlation():
    data = make_data()
    model = RidgeEncoding(CHANS * TIMES, WIDTH)
    fit_ridge(data, model, TrainSpec())
    trials, features = sides(data)
    predicted = (features - features.mean(0)) @ model.weight.numpy().astype(float)
    actual = trials - trials.mean(0)
    wanted = np.corrcoef(actual[:9], predicted[:9])[:9, 9:]
    brain, image = model(data.x[:9]), model.image_head(data.original[data.image[:9]])
    found = torch.nn.functional.cosine_similarity(brain[:, None], image[None], dim=2)
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-4)


@pytest.mark.parametrize("kind", RIDGES)
def test_it_tells_unseen_images_apart(kind):
    data = make_data()
    train, held = hold_out_concepts(data, 5, seed=9)
    model = model_of(kind, data)
    fit_ridge(train, model, TrainSpec())
    assert ridge.retrieval(model, held) > 0.9  # 0.18 by chance


@pytest.mark.parametrize("kind", RIDGES)
def test_noise_asks_for_a_larger_penalty(kind):
    def chosen(noise):
        data = make_data(n_concepts=10, noise=noise)
        history = fit_ridge(data, model_of(kind, data), TrainSpec(validation_concepts=4))
        return history.loc[history["chosen"], "share"].item()

    assert chosen(30.0) > chosen(0.01)


@pytest.mark.parametrize("kind", RIDGES)
def test_the_penalty_is_chosen_on_concepts_that_it_was_not_solved_on(kind, monkeypatch):
    data, seen = make_data(), []
    retrieval, scatter = ridge.retrieval, ridge._scatter

    def listening(model, held):
        seen.append(set(held.table["concept"]))
        return retrieval(model, held)

    def solving(train, model):
        seen.append(set(train.table["concept"]))
        return scatter(train, model)

    monkeypatch.setattr(ridge, "retrieval", listening)
    monkeypatch.setattr(ridge, "_scatter", solving)
    fit_ridge(data, model_of(kind, data), TrainSpec(validation_concepts=6, seed=4))
    train, *held, everything = seen
    assert len(train) == 14 and all(concepts == held[0] for concepts in held)
    assert len(held[0]) == 6 and not train & held[0]
    assert everything == train | held[0] == set(data.table["concept"])


@pytest.mark.parametrize("kind", RIDGES)
def test_trials_on_disk_give_the_same(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(ridge, "BLOCK", 16)
    data = make_data()
    np.save(tmp_path / "trials.npy", data.x.numpy())
    on_disk = TrialRows([TrialFile.open(tmp_path / "trials.npy")])
    rows = TrainingSet(on_disk, data.image, data.original, data.view, data.table)
    models = [model_of(kind, data) for _ in range(2)]
    for model, some in zip(models, (data, rows), strict=True):
        fit_ridge(some, model, TrainSpec())
    assert torch.equal(models[0].weight, models[1].weight)


def test_one_process_solves_it():
    World().check_alone("ridge-decoding")
    with pytest.raises(UsageError, match="ridge-decoding runs in one process.*2.*without torchrun"):
        World(0, 2).check_alone("ridge-decoding")
