"""The linear encoding model against its definition, step by step, and as a method."""

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from toy_arrays import ToyArrays, write_toy_arrays

from braindecode_ssr.datasets import DATASETS, open_dataset
from braindecode_ssr.errors import DataError, UsageError
from braindecode_ssr.images.features import features_of
from braindecode_ssr.losses import SSRLoss
from braindecode_ssr.models import SSR
from braindecode_ssr.pipeline import evaluate, train
from braindecode_ssr.resolve import run_spec
from braindecode_ssr.retrieval.ranks import minus_squared_distance
from braindecode_ssr.training.data import Signals, hold_out_concepts, training_data
from braindecode_ssr.training.encoding import EncodingModel, raised_cosines
from braindecode_ssr.training.retriever import EEGRetriever, build_model


def toy(n=120, chans=3, times=100, d=8, noise=3.0, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, d))
    curves = np.exp(
        -((np.linspace(0, 1, times) - rng.uniform(0.2, 0.5, (d, chans, 1))) ** 2) / 0.01
    )
    trials = np.einsum("nd,dct->nct", features, curves * rng.normal(size=(d, chans, 1)))
    return trials + noise * rng.normal(size=trials.shape), features, np.arange(n) // 6


def test_raised_cosines_are_smooth_orthonormal_and_inside_the_response():
    basis = raised_cosines(250, 250.0, 0.0, 0.02)
    assert basis.shape == (250, 29)
    np.testing.assert_allclose(basis.T @ basis, np.eye(29), atol=1e-12)
    assert not basis[162:].any()  # 0.6 s and half a cosine of 40 ms
    with pytest.raises(UsageError, match="trials.stop"):
        raised_cosines(5, 250.0, 0.0, 0.02)


def test_the_model_is_what_its_steps_say():
    """Projection, principal components, ridge, Ledoit-Wolf, whitening and rank, each by another library."""
    x, y, groups = toy()
    kinds = {"spacings": (0.03,), "n_components": (6,), "penalties": (0.5,), "ranks": (4,)}
    model = EncodingModel(100.0, **kinds).fit(x, y, groups)
    basis = raised_cosines(100, 100.0, 0.0, 0.03)
    signal = np.stack([trial @ basis for trial in x]).reshape(len(x), -1)
    signal -= signal.mean(0)
    pca = PCA(6, svd_solver="full").fit(y)
    scores, mean_power = pca.transform(y), pca.singular_values_**2
    ridge = [
        Ridge(alpha=share * mean_power.mean(), fit_intercept=False).fit(scores, signal)
        for share in (0.3, 0.5)
    ]
    covariance = LedoitWolf(assume_centered=True).fit(signal - ridge[0].predict(scores)).covariance_
    values, vectors = np.linalg.eigh(covariance)
    whitening = vectors @ np.diag(values**-0.5) @ vectors.T
    predicted = ridge[1].predict(scores) @ whitening
    directions = np.linalg.svd(predicted, full_matrices=False)[2][:4].T
    expected = minus_squared_distance(signal @ whitening @ directions, predicted @ directions)
    ours = minus_squared_distance(model.transform(x), model.predict(y))
    np.testing.assert_allclose(ours, expected, atol=1e-8)


def test_distance_orders_candidates_as_the_gaussian_likelihood():
    rng = np.random.default_rng(1)
    q, p = rng.normal(size=(5, 3)), rng.normal(size=(9, 3))
    likelihood = np.array([[multivariate_normal(b).logpdf(a) for b in p] for a in q])
    ours = minus_squared_distance(q, p)
    np.testing.assert_allclose(ours - ours[:, :1], likelihood - likelihood[:, :1], atol=1e-12)
    assert (minus_squared_distance(q, np.vstack([p, p]))[:, :9] == ours).all()


def test_choices_are_made_between_groups_and_on_nothing_else():
    x, y, groups = toy()
    model = EncodingModel(100.0, n_components=(4, 8), penalties=(0.1, 1.0), ranks=(2, 4)).fit(
        x, y, groups
    )
    chosen = model.choices_[model.choices_["chosen"]]
    assert len(model.choices_) == 2 * 2 * 2 * 2 and len(chosen) == 1
    assert chosen["valid_mrr"].item() == model.choices_["valid_mrr"].max()
    part = EncodingModel(100.0, n_components=(8,), ranks=(4,)).fit(x[:90], y[:90], groups[:90])
    assert part.score(x[90:], y[90:]) > 0.3  # of 30 that it has not seen
    with pytest.raises(UsageError, match="only one"):
        EncodingModel(100.0).fit(x, y, np.zeros(len(x)))


@pytest.fixture
def few_choices(monkeypatch):
    """A smaller grid by default: each of its points is a decomposition in every fold."""
    grid = {"n_components": (48, 192), "penalties": (0.1, 1.0), "ranks": (8, 24)}
    for name, values in grid.items():
        monkeypatch.setitem(EncodingModel.__init__.__kwdefaults__, name, values)


@pytest.mark.parametrize(
    ("protocol", "channels"),
    [
        pytest.param("intra", ["PO7", "POz", "PO8", "O1", "Oz", "O2"], marks=pytest.mark.slow),
        ("inter", ["PO7", "Oz", "O2"]),
    ],
)
def test_as_a_method_it_is_trained_tested_and_evaluated_again(
    few_choices, few_people, sim_dir, tmp_path, protocol, channels
):
    data = {"preset": "tiny", "subject": 1, "protocol": protocol, "channels": channels}
    spec = run_spec({"data": data, "method": "encoding"})
    run = train(spec, data_dir=sim_dir, out=tmp_path / "runs")
    assert run.summary["top5"] > 0.4  # 5 of 16 is chance: 0.31
    assert (
        run.history.loc[run.history["chosen"], "valid_mrr"].item() == run.history["valid_mrr"].max()
    )
    queries, numbers = evaluate(run.path)
    assert numbers["top1"] == run.summary["top1"] and len(queries) == 16
    data, signals = training_data(run.spec, *of_run(run, sim_dir))
    assert data.table["subject"].nunique() == (1 if protocol == "intra" else 3)
    model = EncodingModel(signals.sfreq, signals.tmin)  # of all training trials, stacked
    features = data.original[data.image].numpy()
    model.fit(data.x, features, data.table["concept"].to_numpy())
    found = load_file(run.path / "model.safetensors")["filters"][:, : model.filters_.shape[1]]
    np.testing.assert_allclose(found, model.filters_, atol=1e-5 * np.abs(found).max())


def of_run(run, data_dir):
    """The dataset of a run and its image features."""
    dataset = open_dataset(run.spec.data, data_dir)
    return dataset, features_of(run.spec, dataset)


def with_components(sim_dir, tmp_path, **train_settings):
    settings = {
        "data": {"preset": "tiny", "subject": 1},
        "model": {"components": 6, "n_outputs": 16},
        "train": {"epochs": 3, "smoothing": 0.0, **train_settings},
    }
    return train(run_spec(settings), data_dir=sim_dir, out=tmp_path)


def test_a_net_on_supervised_components(sim_dir, tmp_path, few_choices):
    """They are those of the encoding model of its training trials, without the validation concepts."""
    run = with_components(sim_dir, tmp_path, validation_concepts=4)
    weights = load_file(run.path / "model.safetensors")
    data, signals = training_data(run.spec, *of_run(run, sim_dir))
    held_in, _ = hold_out_concepts(data, 4, 0)
    model = EncodingModel(250.0, signals.tmin, spacings=(0.02,), ranks=(6,))
    x, y = held_in.x.numpy(), held_in.original[held_in.image].numpy()
    model.fit(x, y, held_in.table["concept"].to_numpy())
    expected = model.transform(x)
    ours = (x.reshape(len(x), -1) - weights["inputs.mean"]) @ weights["inputs.filters"]
    np.testing.assert_allclose(ours, expected, atol=1e-3 * np.abs(expected).max())
    assert evaluate(run.path)[1]["top1"] == run.summary["top1"] > 1 / 16


def test_components_are_refused_where_they_do_not_apply(tmp_path):
    for name in ("TSConv", "ShallowFBCSPNet"):
        with pytest.raises(UsageError, match=r"model\.components"):
            SSR(n_outputs=8, n_chans=17, n_times=250, sfreq=250, components=6, backbone=name)
    with pytest.raises(UsageError, match=r"model\.components"):
        spec = run_spec(
            {"data": {"preset": "tiny"}, "method": "encoding", "model": {"components": 6}}
        )
        train(spec, data_dir=tmp_path / "data", out=tmp_path / "refused")
    model = SSR(n_outputs=8, n_chans=2, n_times=10, sfreq=10, components=3, n_features=4)
    net = EEGRetriever(model, criterion=SSRLoss, max_epochs=1)
    with pytest.raises(UsageError, match="not fitted"):
        net.fit(np.zeros((8, 2, 10), "f4"), np.zeros((8, 4), "f4"))


def test_time_is_that_of_the_stored_trials(tmp_path, monkeypatch, few_choices):
    """The same signal, stored from -0.1 s or -0.05 s on, has the same functions of time in real seconds."""
    monkeypatch.setitem(DATASETS._parts, "toy-arrays", "toy_arrays:ToyArrays")
    x = np.random.default_rng(0).normal(size=(32, 6, 60)).astype(np.float32)
    filters = {}
    for first in (-0.1, -0.05):
        root = tmp_path / str(first)
        root.mkdir()
        write_toy_arrays(root)
        np.save(root / "sub-01.npy", x if first == -0.1 else x[:, :, 5:])
        monkeypatch.setattr(ToyArrays, "first_times", {1: first, 2: -first})
        spec = run_spec(
            {
                "data": {"dataset": "toy-arrays", "subject": 1, "protocol": "intra"},
                "images": {"encoder": "pyramid", "views": ["original"]},
                "method": "encoding",
            }
        )
        run = train(spec, data_dir=root, out=root / "runs")
        weights = load_file(run.path / "model.safetensors")["filters"]
        filters[first] = weights.reshape(6, -1, weights.shape[1])
    signals = Signals(60, 100.0, 6 * [{}], tmin=-0.1)  # released files have the rate that they have
    spec = spec.replace(trials={"sfreq": 250.0})
    assert build_model(spec, signals, 5).sfreq == 100.0
    early, late = filters[-0.1], filters[-0.05]
    small = 1e-4 * np.abs(late).max()
    np.testing.assert_allclose(early[:, 5:], late, atol=small)
    np.testing.assert_allclose(early[:, :5], 0, atol=small)
    np.save(root / "sub-02.npy", x[::-1, :, 5:])
    pooled = spec.model_copy(update={"data": spec.data.model_copy(update={"protocol": "inter"})})
    with pytest.raises(DataError, match=r"first sample.*0\.05 s.*sub-0[12].*0\.05 s.*sub-0[12]"):
        train(pooled, data_dir=root, out=root / "runs")
