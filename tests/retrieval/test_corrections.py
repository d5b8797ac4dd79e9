import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braindecode_ssr.config import EvaluationSpec
from braindecode_ssr.errors import UsageError
from braindecode_ssr.retrieval.ranks import CORRECTIONS, correct, cosine, rank_of_target

TRANSDUCTIVE = [name for name in CORRECTIONS if name != "none"]


def similarities(seed, n_queries=12, n_gallery=15, dim=6):
    rng = np.random.default_rng(seed)
    return cosine(rng.normal(size=(n_queries, dim)), rng.normal(size=(n_gallery, dim)))


def test_the_names_are_those_of_the_spec():
    for name in CORRECTIONS:
        assert EvaluationSpec(correction=name).correction == name
    with pytest.raises(UsageError, match="did you mean 'sinkhorn'"):
        correct(np.eye(2), np.arange(2), "sinkhron")


def test_none_is_none():
    similarity = similarities(0)
    assert correct(similarity, np.arange(12)) is similarity


@pytest.mark.parametrize("name", CORRECTIONS)
def test_it_does_not_change_what_it_is_given(name):
    similarity = similarities(1)
    before = similarity.copy()
    correct(similarity, np.arange(12), name)
    np.testing.assert_array_equal(similarity, before)


@pytest.mark.parametrize("name", CORRECTIONS)
def test_embeddings_that_say_nothing_get_nothing(name):
    constant = np.full((6, 6), 0.3)
    ranks = rank_of_target(correct(constant, np.arange(6), name), np.arange(6))
    assert ranks.min() > 1 and (name == "hungarian" or (ranks == 6).all())


@given(st.integers(0, 10_000), st.sampled_from(list(CORRECTIONS)))
@settings(max_examples=40)
def test_the_order_of_queries_and_candidates_does_not_matter(seed, name):
    rng = np.random.default_rng(seed)
    similarity, targets = similarities(seed), rng.permutation(15)[:12]
    queries, gallery = rng.permutation(12), rng.permutation(15)
    ranks = rank_of_target(correct(similarity, targets, name), targets)
    moved = np.argsort(gallery)[targets[queries]]
    other = correct(similarity[queries][:, gallery], moved, name)
    assert rank_of_target(other, moved).tolist() == ranks[queries].tolist()


@pytest.mark.parametrize("name", TRANSDUCTIVE)
def test_the_answer_to_one_query_depends_on_the_others(name):
    """What transductive means, and why the default is none."""
    one = similarities(99)[0]
    targets = np.full(12, one.argmax())
    found = set()
    for seed in range(20):
        similarity = np.vstack([one, similarities(seed)[1:]])
        found.add(int(rank_of_target(correct(similarity, targets, name), targets)[0]))
        if len(found) > 1:
            break
    assert len(found) > 1


@pytest.mark.parametrize("name", TRANSDUCTIVE)
def test_they_help_where_some_candidates_are_near_to_all(name):
    rng = np.random.default_rng(5)
    images = rng.normal(size=(60, 20))
    brain = images + 2.0 * rng.normal(size=images.shape) + 2.0 * rng.normal(size=20)
    similarity, targets = cosine(brain, images), np.arange(60)
    plain = (rank_of_target(similarity, targets) == 1).mean()
    assert (rank_of_target(correct(similarity, targets, name), targets) == 1).mean() > plain
