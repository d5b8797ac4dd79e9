import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_ranks import query_rows
from scipy import stats

from braindecode_ssr.errors import DataError, UsageError
from braindecode_ssr.retrieval.ranks import METRICS
from braindecode_ssr.retrieval.statistics import confidence, interval


def scores(values):
    """Scores of an array (subjects, seeds, images)."""
    values = np.asarray(values, dtype=float)
    rows = pd.MultiIndex.from_product(map(range, values.shape[:2]), names=["subject", "seed"])
    return pd.DataFrame(values.reshape(-1, values.shape[2]), index=rows)


def test_one_subject_with_one_seed_is_wilsons_interval():
    hits = np.arange(200) < 66
    mean, low, high = confidence(scores(hits[None, None]))
    wilson = stats.binomtest(66, 200).proportion_ci(0.95, method="wilson")
    assert (mean, low, high) == pytest.approx((0.33, wilson.low, wilson.high), abs=3e-4)
    _, low, high = confidence(scores(np.ones((1, 1, 200))))
    wilson = stats.binomtest(200, 200).proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((wilson.low, 1.0))


def test_subjects_that_share_no_image_get_students_interval():
    rng = np.random.default_rng(0)
    ranks = 10.0 + rng.random((3, 1, 5)) + np.array([0.0, 4.0, 9.0])[:, None, None]
    wide = np.full((3, 1, 15), np.nan)
    for subject in range(3):
        wide[subject, :, 5 * subject : 5 * subject + 5] = ranks[subject]
    mean, *ends = confidence(scores(wide), 0.9, bounded=False)
    means = ranks.mean(axis=(1, 2))
    assert mean == pytest.approx(means.mean())
    expected = stats.ttest_1samp(means, 0).confidence_interval(0.9)
    assert ends == pytest.approx([expected.low, expected.high])


def test_images_that_all_subjects_share_add_their_variance():
    rng = np.random.default_rng(0)
    image, subject = 20 * rng.random(50), 40 * rng.random((4, 1, 1))
    mean, low, _ = confidence(scores(100 + subject + image[None, None]), bounded=False)
    means = 100 + subject.ravel() + image.mean()
    of_subjects = stats.t.ppf(0.975, 3) * stats.sem(means)
    of_images = stats.norm.ppf(0.975) * stats.sem(image)
    # d of a subject is that of the image: the sum over pairs is 12 of 16 of the variance of the image's mean
    assert (mean - low) ** 2 == pytest.approx(of_subjects**2 + 12 / 16 * of_images**2)


def test_subjects_with_equal_means_have_no_empty_interval():
    hits = np.stack([np.roll(np.arange(40) < 6, 10 * subject) for subject in (0, 1)])
    _, low, high = confidence(scores(hits[:, None]))
    both = stats.binomtest(12, 80).proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((both.low, both.high), abs=2e-3)


def test_seeds_of_the_same_queries_do_not_count_as_more_queries():
    hits = np.random.default_rng(0).random((1, 1, 40)) < 0.4
    once, five = (confidence(scores(np.repeat(hits, n, axis=1))) for n in (1, 5))
    assert five == pytest.approx(once, abs=0.01)


@pytest.fixture(scope="module")
def simulation():
    """The module benchmarks/intervals.py."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "intervals.py"
    spec = importlib.util.spec_from_file_location("intervals", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("n_subjects", [2, 4])
def test_nineteen_of_twenty_intervals_of_few_subjects_hold_the_truth(simulation, n_subjects):
    covered, _, _ = simulation.coverage(simulation.ACCURACIES[0], n_subjects, 1, 200)
    assert 0.915 <= covered < 1.0  # 0.95 less two standard errors of so few experiments


def test_one_subjects_interval_holds_this_subject_and_not_all(simulation):
    covered, own, _ = simulation.coverage(simulation.ACCURACIES[0], 1, 1, 200)
    assert own >= 0.915 and covered < 0.75


@settings(max_examples=20)
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
    found = interval(table, metric)
    tolerance = 1e-9 * max(1.0, found.mean)
    assert found.low - tolerance <= found.mean <= found.high + tolerance
    assert interval(table.sample(frac=1, random_state=seed), metric) == found
    assert (found.n_subjects, found.n_seeds, found.n_queries) == (n_subjects, n_seeds, 20)


def test_the_mean_is_over_subjects_not_over_rows():
    rows = [
        query_rows(subjects=(1,), seeds=(0, 1, 2), p=1.0),
        query_rows(subjects=(2,), seeds=(0,)),
    ]
    table = pd.concat(rows, ignore_index=True).assign(rank=lambda t: t["subject"])
    found = interval(table, "top1")
    assert found.mean == 0.5 and found.n_seeds == 1
    assert found.levels == ("subjects", "queries")


def test_a_higher_level_is_wider():
    table = query_rows(subjects=range(6))
    narrow, wide = (interval(table, level=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_the_queries_of_a_single_run_need_no_labels():
    table = query_rows(subjects=(1,), seeds=(0,))[["subject", "image_id", "rank"]]
    assert interval(table).levels == ("queries",)


def test_what_a_query_contributes_may_be_a_column():
    table = query_rows().assign(top1=0.25)
    assert interval(table).mean == 0.25


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


@pytest.mark.parametrize("choice", [{"metric": "top_1"}, {"level": 1.0}, {"level": 0.0}])
def test_bad_choices(choice):
    with pytest.raises(UsageError):
        interval(query_rows(), **choice)
