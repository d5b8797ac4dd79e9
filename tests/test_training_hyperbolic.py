"""A model whose embeddings are compared in hyperbolic space is trained, validated and scored there."""

import numpy as np
import pytest
import torch
from test_training import make_data, retriever

from braindecode_ssr.config import TrainSpec
from braindecode_ssr.errors import UsageError
from braindecode_ssr.losses import Contrast, HyperbolicContrast
from braindecode_ssr.models.ssr import SSR
from braindecode_ssr.retrieval.ranks import (
    cosine,
    embed_images,
    embed_trials,
    minus_distance,
    rank_of_target,
)
from braindecode_ssr.training.callbacks import ValidationRetrieval
from braindecode_ssr.training.retriever import fit

SHAPE = {"n_outputs": 16, "n_chans": 4, "n_times": 32, "sfreq": 100, "n_features": 12, "width": 24}


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    torch.manual_seed(0)
    model = SSR(**SHAPE, space="hyperbolic")
    spec = TrainSpec(epochs=20, batch_size=32, lr=3e-3, validation_concepts=4)
    return fit(make_data(), model, HyperbolicContrast(), spec, tmp_path_factory.mktemp("run"))


def both_ways(net, data):
    """Ranks of the trials' own images by distance, and by cosine."""
    queries = embed_trials(net.module_, data.x)
    gallery = embed_images(net.module_, data.original)
    targets = np.arange(len(queries))
    return [rank_of_target(near(queries, gallery), targets) for near in (minus_distance, cosine)]


def test_it_finds_the_images(net):
    losses = net.history[:, "train_loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert (both_ways(net, make_data())[0] == 1).mean() > 0.5  # 0.67 to 0.75; 0.01 by chance
    assert max(net.history[:, "valid_top1"]) > 2 / 16


def test_validation_and_score_rank_by_distance(net, tmp_path):
    data = make_data(seed=0)
    far, turned = both_ways(net, data)
    assert (far != turned).any()
    assert ValidationRetrieval(data, tmp_path).ranks(net.module_).tolist() == far.tolist()
    x, features = data.x.numpy(), data.original.numpy()
    order = np.unique(features, axis=0, return_inverse=True)[1].reshape(-1)
    assert sorted(order) == list(range(len(x)))
    assert net.score(x, features) == pytest.approx((far == 1).mean())


def test_a_loss_of_the_other_space_is_refused(tmp_path):
    train = TrainSpec(epochs=1, batch_size=32)
    with pytest.raises(UsageError, match="Contrast compares.*in euclidean space.*hyperbolic"):
        fit(make_data(), SSR(**SHAPE, space="hyperbolic"), Contrast(), train, tmp_path)
    with pytest.raises(UsageError, match="Hyperbolic.*in hyperbolic space.*euclidean"):
        retriever(criterion=HyperbolicContrast).fit(*(part.numpy() for part in arrays()))


def arrays():
    data = make_data(48)
    return data.x, data.original
