import numpy as np
import pandas as pd
import pytest
import torch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.training.data import (
    Batches,
    TrainingSet,
    epoch_seed,
    hold_out_concepts,
    prefetch,
)
from braindecode_ssr.training.distributed import World
from braindecode_ssr.trials.averages import TrialFile, TrialRows


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
    x, features = data[torch.tensor([3, 0])]
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


@pytest.mark.parametrize(("size", "n_processes", "rest"), [(16, 1, 8), (13, 1, 0), (14, 2, 12)])
def test_a_short_batch_is_kept_where_it_has_two_rows_for_each_process(
    data, size, n_processes, rest
):
    """UBP and others keep it: DataLoader(drop_last=False)."""
    worlds = [World(rank, n_processes) for rank in range(n_processes)]
    parts = [list(Batches(data, size, 0, world=world, drop_last=False)) for world in worlds]
    sizes = [sum(len(x) for x, _ in of_all) for of_all in zip(*parts, strict=True)]
    assert sizes == [size] * (40 // size) + [rest] * bool(rest)
    assert {len(part) for part in parts} == {len(Batches(data, size, 0, 0, worlds[0], False))}
    seen = torch.cat([x[:, 0, 0] for part in parts for x, _ in part]).tolist()
    assert len(set(seen)) == len(seen) == sum(sizes)


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
    with pytest.raises(UsageError, match="--batch-size of at most 40"):
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


@pytest.fixture
def data_on_disk(data, tmp_path):
    np.save(tmp_path / "x.npy", data.x.numpy())
    rows = TrialRows([TrialFile.open(tmp_path / "x.npy")])
    return TrainingSet(rows, data.image, data.original, data.view, data.table)


def same(one, other):
    (x, y), (x_, y_) = one, other
    return torch.equal(x, x_) and all(torch.equal(y[name], y_[name]) for name in y)


def test_batches_from_disk_are_those_from_memory(data, data_on_disk):
    held, lazy = Batches(data, 8, seed=3, epoch=2), Batches(data_on_disk, 8, seed=3, epoch=2)
    for _ in range(2):
        pairs = list(zip(held, lazy, strict=True))
        assert len(pairs) == 5 and all(same(*pair) for pair in pairs)
    assert same(data[7], data_on_disk[7])
    _, held = hold_out_concepts(data, 3, seed=1)
    _, lazy = hold_out_concepts(data_on_disk, 3, seed=1)
    assert isinstance(lazy.x, TrialRows) and torch.equal(lazy.x[:], held.x)
    assert isinstance(data_on_disk.to("cpu").x, torch.Tensor)


def test_each_process_reads_its_own_rows_alone(data_on_disk):
    whole = list(Batches(data_on_disk, 8, seed=3))
    shares = [list(Batches(data_on_disk, 8, 3, world=World(rank, 2))) for rank in range(2)]
    for (x, y), *parts in zip(whole, *shares, strict=True):
        assert [len(part) for part, _ in parts] == [4, 4]
        assert torch.equal(torch.cat([part for part, _ in parts]), x)
        for name in y:
            assert torch.equal(torch.cat([of_part[name] for _, of_part in parts]), y[name])


def test_the_next_item_is_made_while_one_is_used():
    import threading

    made = [threading.Event() for _ in range(4)]

    def items():
        for number, event in enumerate(made):
            event.set()
            yield number

    for number in prefetch(items()):
        assert number == 3 or made[number + 1].wait(30)
        assert number > 1 or not made[number + 2].is_set()


def test_what_goes_wrong_ahead_is_raised_where_it_is_used():
    def items():
        yield 1
        raise OSError("gone")

    coming = prefetch(items())
    assert next(coming) == 1
    with pytest.raises(OSError, match="gone"):
        next(coming)


def test_an_epoch_that_is_left_early_leaves_no_thread():
    import threading

    before = threading.active_count()
    coming = prefetch(iter(range(1, 9)))
    assert next(coming) == 1
    coming.close()
    assert threading.active_count() == before
