import numpy as np
import pandas as pd
import pytest
import torch

from braindecode_ssr.batches import Batches, TrainingSet, epoch_seed, hold_out_concepts
from braindecode_ssr.errors import UsageError


@pytest.fixture
def data():
    n = 40
    ids = [f"c{i // 4}/c{i // 4}_{i % 4}" for i in range(n)]
    table = pd.DataFrame({"subject": 1, "image_id": ids, "concept": [i[:2] for i in ids]})
    rows = torch.arange(n, dtype=torch.float32)
    image = torch.arange(n).flip(0)
    features = rows[:, None].expand(n, 3)
    return TrainingSet(rows[:, None, None].expand(n, 2, 5), image, features, -features, table)


def test_a_batch_holds_the_features_of_its_own_images(data):
    x, features = data.gather(torch.tensor([3, 0]))
    assert x[:, 0, 0].tolist() == [3, 0]
    assert features["original"][:, 0].tolist() == [36, 39]
    assert features["view"][:, 0].tolist() == [-36, -39]
    one, of_one = data[3]
    assert torch.equal(one, x[0]) and torch.equal(of_one["view"], features["view"][0])


def test_an_epoch_shows_each_trial_at_most_once_and_leaves_the_short_batch_out(data):
    batches = list(Batches(data, 16, seed=0))
    seen = torch.cat([x[:, 0, 0] for x, _ in batches]).tolist()
    assert [len(x) for x, _ in batches] == [16, 16]
    assert len(set(seen)) == 32


def test_order_follows_from_seed_and_epoch_alone(data):
    def order(batches):
        return torch.cat([x[:, 0, 0] for x, _ in batches]).tolist()

    running = Batches(data, 8, seed=7)
    first, second = order(running), order(running)
    assert first != second
    assert order(Batches(data, 8, seed=7, epoch=1)) == second
    assert order(Batches(data, 8, seed=8)) != first
    assert epoch_seed(7, 1) != epoch_seed(1, 7)


def test_a_batch_larger_than_the_data_is_refused(data):
    with pytest.raises(UsageError, match="at most 40 trials.*--batch-size"):
        Batches(data, 41, seed=0)


def test_validation_holds_out_whole_concepts(data):
    train, held = hold_out_concepts(data, 3, seed=1)
    assert set(train.table["concept"]) & set(held.table["concept"]) == set()
    assert held.table["concept"].nunique() == 3 and len(train) + len(held) == len(data)
    again, _ = hold_out_concepts(data, 3, seed=1)
    assert again.table.equals(train.table)
    np.testing.assert_array_equal(
        held.x[:, 0, 0].numpy() // 4, held.table.concept.str[1:].astype(int)
    )
