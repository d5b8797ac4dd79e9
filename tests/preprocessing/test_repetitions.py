import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils import shuffle

from braindecode_ssr.errors import DataError, UsageError
from braindecode_ssr.preprocessing.epochs import (
    PUBLISHED_SEED,
    average_by,
    choose,
    published_order,
    published_subset,
    running_count,
)

numbers = st.lists(st.integers(1, 9), min_size=1, max_size=80).map(np.array)


def design(seed=0, n_images=15, least=20):
    rng = np.random.default_rng(seed)
    repeats = rng.integers(least, least + 3, n_images)
    return rng.permutation(np.repeat(np.arange(1, n_images + 1) * 3, repeats))


@pytest.mark.parametrize("max_rep", [1, 2, 20])
@pytest.mark.parametrize("seed", [PUBLISHED_SEED, 0])
def test_published_subset_equals_shuffling_each_image(max_rep, seed):
    shown = design()
    reference = [
        shuffle(np.where(shown == image)[0], random_state=seed, n_samples=max_rep)
        for image in np.unique(shown)
    ]
    assert published_subset(shown, max_rep, seed).tolist() == np.concatenate(reference).tolist()


@pytest.mark.parametrize("n", [4, 80])
def test_published_order_equals_sklearn(n):
    assert published_order(n).tolist() == shuffle(np.arange(n), random_state=20200220).tolist()


def test_too_few_trials_for_the_published_subset():
    with pytest.raises(DataError, match="image number 7 has 1.*--set trials.repetitions"):
        published_subset(np.array([3, 7, 3]), 2)


@given(numbers, st.integers(0, 2**31))
def test_choose_takes_as_many_of_each_image(shown, seed):
    fewest = np.unique(shown, return_counts=True)[1].min()
    chosen = choose(shown, fewest, seed)
    assert (np.diff(chosen) > 0).all()
    images, counts = np.unique(shown[chosen], return_counts=True)
    assert images.tolist() == np.unique(shown).tolist()
    assert set(counts) == {fewest}
    assert chosen.tolist() == choose(shown, fewest, seed).tolist()
    assert set(choose(shown, 1, seed)) <= set(chosen)


def test_every_trial_is_chosen_equally_often():
    shown = np.repeat([1, 2], [4, 6])
    hits = np.zeros(10)
    for seed in range(1000):
        hits[choose(shown, 2, seed)] += 1
    assert np.allclose(hits[:4] / 1000, 2 / 4, atol=0.06)
    assert np.allclose(hits[4:] / 1000, 2 / 6, atol=0.06)


def test_more_repetitions_than_there_are():
    with pytest.raises(UsageError, match="has 2 trials, fewer than 3"):
        choose(np.array([1, 1, 1, 2, 2]), 3)
    with pytest.raises(UsageError, match="positive"):
        choose(np.array([1, 1]), 0)


@given(numbers, st.integers(0, 2**31))
def test_average_by_equals_a_loop(shown, seed):
    x = np.random.default_rng(seed).standard_normal((len(shown), 2, 3)).astype(np.float32)
    means, images = average_by(x, shown)
    assert means.dtype == np.float32
    for mean, image in zip(means, images, strict=True):
        assert np.allclose(mean, x[shown == image].mean(0), atol=1e-6)


@given(numbers)
def test_running_count_equals_a_loop(shown):
    seen = {}
    for number, before in zip(shown.tolist(), running_count(shown), strict=True):
        assert seen.get(number, 0) == before
        seen[number] = before + 1
