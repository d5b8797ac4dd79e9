from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_ranks import query_rows
from scipy import stats

from braindecode_ssr.errors import DataError, UsageError
from braindecode_ssr.retrieval.metrics import METRICS
from braindecode_ssr.retrieval.statistics import blocks_of, bootstrap, interval, intervals


def plain_bootstrap(blocks, draws, rng):
    """One draw after the other, one subject after the other."""
    means = []
    for _ in range(draws):
        of_subjects = []
        for subject in rng.choice(len(blocks), len(blocks)):
            block = blocks[subject]
            seeds = rng.choice(block.shape[0], block.shape[0])
            queries = rng.choice(block.shape[1], block.shape[1])
            of_subjects.append(np.mean([block[seed, queries].mean(axis=0) for seed in seeds], 0))
        means.append(np.mean(of_subjects, axis=0))
    return np.array(means)


def ragged(seed=0):
    """Subjects with other numbers of seeds and queries, two metrics."""
    rng = np.random.default_rng(seed)
    return [rng.random((k, q, 2)) + s for s, (k, q) in enumerate([(1, 9), (3, 5), (2, 12)])]


def test_it_draws_from_the_same_distribution_as_a_plain_loop():
    fast = bootstrap(ragged(), 4000, np.random.default_rng(1))
    slow = plain_bootstrap(ragged(), 4000, np.random.default_rng(2))
    for metric in (0, 1):
        assert stats.ks_2samp(fast[:, metric], slow[:, metric]).pvalue > 0.01
    assert np.corrcoef(fast.T)[0, 1] == pytest.approx(np.corrcoef(slow.T)[0, 1], abs=0.02)


def test_one_subject_with_one_seed_is_scipys_bootstrap_of_queries():
    values = np.random.default_rng(0).random(40)
    ours = bootstrap([values[None, :, None]], 8000, np.random.default_rng(1))[:, 0]
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=8000, method="percentile", rng=np.random.default_rng(2)
    )
    ends = np.quantile(ours, [0.025, 0.975])
    assert ends == pytest.approx(list(theirs.confidence_interval), abs=0.005)
    assert ours.std() == pytest.approx(values.std() / np.sqrt(40), rel=0.03)


def test_seeds_of_the_same_queries_do_not_count_as_more_queries():
    values = np.random.default_rng(0).random(40)
    once = bootstrap([values[None, :, None]], 4000, np.random.default_rng(1)).std()
    copied = np.broadcast_to(values[None, :, None], (5, 40, 1))
    five = bootstrap([copied], 4000, np.random.default_rng(1)).std()
    assert five == pytest.approx(once, rel=0.05)


@settings(max_examples=40)
@given(
    st.integers(0, 1000),
    st.integers(1, 4),
    st.integers(1, 3),
    st.floats(0, 1),
    st.sampled_from(list(METRICS)),
)
def test_the_interval_holds_the_mean_whatever_the_order_of_rows(
    seed, n_subjects, n_seeds, p, metric
):
    table = query_rows(seed, subjects=range(n_subjects), seeds=range(n_seeds), p=p)
    found = interval(table, metric, draws=200)
    tolerance = 1e-9 * max(1.0, found.mean)
    assert found.low - tolerance <= found.mean <= found.high + tolerance
    assert interval(table.sample(frac=1, random_state=seed), metric, draws=200) == found
    assert (found.n_subjects, found.n_seeds, found.n_queries) == (n_subjects, n_seeds, 20)


def test_the_mean_is_over_subjects_not_over_rows():
    rows = [
        query_rows(subjects=(1,), seeds=(0, 1, 2), p=1.0),
        query_rows(subjects=(2,), seeds=(0,)),
    ]
    table = pd.concat(rows, ignore_index=True).assign(rank=lambda t: t["subject"])
    found = interval(table, "top1", draws=100)
    assert found.mean == 0.5 and found.n_seeds == 1
    assert found.levels == ("subjects", "queries")


def test_a_seed_fixes_it_and_several_metrics_share_their_draws():
    table = query_rows()
    assert interval(table, seed=3, draws=500) == interval(table, seed=3, draws=500)
    assert interval(table, seed=3, draws=500) != interval(table, seed=4, draws=500)
    both = intervals(table, ("top1", "mrr"), draws=500)
    assert both["top1"] == interval(table, "top1", draws=500)
    assert both["mrr"] == interval(table, "mrr", draws=500)


def test_a_higher_level_is_wider():
    table = query_rows(subjects=range(6))
    narrow, wide = (interval(table, level=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_the_queries_of_a_single_run_need_no_labels():
    table = query_rows(subjects=(1,), seeds=(0,))[["subject", "image_id", "rank"]]
    assert interval(table, draws=100).levels == ("queries",)


def test_what_a_query_contributes_may_be_a_column():
    table = query_rows().assign(top1=0.25)
    assert interval(table, draws=50).mean == 0.25


@pytest.mark.parametrize(
    "name", ["dataset", "preset", "protocol", "evaluation", "method", "backbone"]
)
def test_columns_are_never_mixed(name):
    mixed = pd.concat([query_rows(), query_rows(subjects=(4,), **{name: "other"})])
    with pytest.raises(DataError, match=name):
        interval(mixed)


def broken(change):
    table = query_rows()
    return change(table).reset_index(drop=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.head(0), "no rows"),
        (
            lambda t: pd.concat([t, t.head(1)]),
            "1 queries .*more than once, the first of subject 1, seed 0",
        ),
        (lambda t: t.drop(index=3), "queries of subject 1 differ between"),
        (lambda t: t.drop(index=[3, 24]), "queries of subject 1 differ between"),
        (lambda t: t.assign(rank=np.nan), "120 queries have no value"),
    ],
)
def test_bad_tables(change, message):
    with pytest.raises(DataError, match=message):
        interval(broken(change), "mrr")


@pytest.mark.parametrize(
    "choice", [{"metric": "top_1"}, {"level": 1.0}, {"level": 0.0}, {"draws": 0}]
)
def test_bad_choices(choice):
    with pytest.raises(UsageError):
        interval(query_rows(), **choice)


def simulated(rng, mean, n_subjects, n_seeds, n_queries):
    """Hits with a subject's level, the noise of its trials and the noise of a seed."""
    blocks = []
    for _ in range(n_subjects):
        level = np.clip(mean + 0.06 * rng.standard_normal(), 0.01, 0.99)
        trials = 0.8 * rng.standard_normal(n_queries)
        of_seeds = np.clip(level + 0.01 * rng.standard_normal(n_seeds), 0.01, 0.99)
        limits = np.array([NormalDist().inv_cdf(p) for p in of_seeds])
        noise = trials + 0.6 * rng.standard_normal((n_seeds, n_queries))
        blocks.append((noise < limits[:, None]).astype(float)[..., None])
    return blocks


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "least"), [((10, 5, 200), 0.92), ((10, 1, 200), 0.92), ((4, 3, 200), 0.88)]
)
def test_coverage(sizes, least):
    rng, hits = np.random.default_rng(0), 0
    for _ in range(400):
        drawn = bootstrap(simulated(rng, 0.4, *sizes), 500, rng)
        low, high = np.quantile(drawn, [0.025, 0.975])
        hits += low <= 0.4 <= high
    assert least <= hits / 400 <= 0.99


def test_blocks_keep_the_order_of_subjects_seeds_and_images():
    table = query_rows(subjects=(10, 2), seeds=(1, 0), n=4).assign(
        value=lambda t: 1000 * t["subject"] + 100 * t["seed"] + t["concept"].str[-2:].astype(int)
    )
    blocks = blocks_of(
        table.sample(frac=1, random_state=0), table[["value"]].sample(frac=1, random_state=0)
    )
    assert [block[:, :, 0].tolist() for block in blocks] == [
        [[base + 100 * seed + i for i in range(4)] for seed in (0, 1)] for base in (2000, 10000)
    ]
