import math

import numpy as np
import pandas as pd
import pytest
from random_ranks import query_rows, run_rows
from scipy import stats

from braindecode_ssr.errors import DataError, UsageError
from braindecode_ssr.retrieval.statistics import ROW, interval, noise_floor, summary_table


@pytest.mark.parametrize(("p", "n", "subjects"), [(0.65, 200, 1), (0.1, 200, 10), (0, 5, 1)])
def test_noise_floor_is_the_standard_deviation_of_a_binomial(p, n, subjects):
    count = n * subjects
    assert noise_floor(p, n, subjects) == pytest.approx(stats.binom(count, p).std() / count)


def test_noise_floor_of_the_literature():
    assert round(100 * noise_floor(0.65, 200), 1) == 3.4
    assert round(100 * noise_floor(0.65, 200, 10), 1) == 1.1


@pytest.mark.parametrize("choice", [(1.5, 200), (-0.1, 200), (0.5, 0), (0.5, 10, 0)])
def test_noise_floor_of_nothing(choice):
    with pytest.raises(UsageError):
        noise_floor(*choice)


@pytest.fixture(scope="module")
def queries():
    tables = [
        query_rows(0, method="ssr"),
        query_rows(1, method="nice", subjects=(1, 2), seeds=(0,)),
        query_rows(2, method="ssr", evaluation="repetitions=1", p=0.2),
    ]
    return pd.concat(tables, ignore_index=True)


def test_one_row_per_method_and_evaluation(queries):
    table = summary_table(queries, run_rows(queries))
    assert list(zip(table["evaluation"], table["method"], strict=True)) == [
        ("default", "ssr"),
        ("default", "nice"),
        ("repetitions=1", "ssr"),
    ]
    assert table["n_subjects"].tolist() == [3, 2, 3] and table["n_seeds"].tolist() == [2, 1, 2]
    for row in table.to_dict("records"):
        own = queries[(queries[list(ROW)] == [row[name] for name in ROW]).all(axis=1)]
        found = interval(own, "top5")
        assert (row["top5"], row["top5_low"], row["top5_high"]) == (
            found.mean,
            found.low,
            found.high,
        )
        assert row["noise_top1"] == noise_floor(row["top1"], 20, row["n_subjects"])
    first = table.iloc[0]
    assert first["chance_top1"] == pytest.approx(1 / 20) and first["n_gallery"] == 20
    assert first["ceiling_top1"] == pytest.approx(0.9)
    assert first["selection"] == "last" and first["train_seconds"] == 1.5


def test_median_rank_is_the_mean_of_runs_medians(queries):
    own = queries[(queries["method"] == "ssr") & (queries["evaluation"] == "default")]
    medians = own.groupby(["subject", "seed"])["rank"].apply(lambda rank: np.median(rank))
    assert summary_table(own)["median_rank"].item() == pytest.approx(medians.mean())


def test_without_runs_what_only_they_know_is_empty(queries):
    table = summary_table(queries)
    assert len(table) == 3 and table["ceiling_top1"].isna().all()
    assert list(table) == list(summary_table(queries, run_rows(queries)))


def test_failed_runs_are_counted_and_a_row_of_nothing_else_has_no_numbers(queries):
    runs = run_rows(queries)
    runs.loc[len(runs)] = {**runs.iloc[0], "subject": 9, "status": "failed", "top1": math.nan}
    lost = {**runs.iloc[0], "method": "lost", "status": "failed", "selection": math.nan}
    runs.loc[len(runs)] = lost
    table = summary_table(queries, runs).set_index("method")
    assert table["n_failed"].tolist() == [1, 0, 0, 1]
    assert table.loc["lost", "n_subjects"] == 0 and math.isnan(table.loc["lost", "top1"])


@pytest.mark.parametrize(
    ("name", "value"), [("selection", "oracle"), ("gallery", "views"), ("n_gallery", 50)]
)
def test_runs_obtained_in_two_ways_are_not_averaged(queries, name, value):
    runs = run_rows(queries)
    runs[name] = runs[name].astype(object) if name in runs else "original"
    runs.loc[0, name] = value
    with pytest.raises(DataError, match=f"they differ in {name}"):
        summary_table(queries, runs)


def test_runs_that_differ_in_flags_only_share_a_row_with_the_flags_of_all(queries):
    """As an inter-subject run does whose training subjects were whitened by their authors."""
    runs = run_rows(queries)
    runs.loc[0, "flags"] = "transductive;test-in-whitening"
    runs.loc[1, "flags"] = "test-selection;transductive"
    runs.loc[2, "flags"] = None
    runs.loc[3, ["flags", "status"]] = "oracle-union", "failed"
    found = summary_table(queries, runs)
    assert found["flags"].tolist() == ["test-selection;transductive;test-in-whitening", "", ""]
    assert found["top1"].equals(summary_table(queries, run_rows(queries))["top1"])


def test_the_range_of_repetitions(queries):
    runs = run_rows(queries)
    runs["repetitions"] = np.arange(len(runs)) + 1
    table = summary_table(queries, runs)
    assert (table["repetitions"].iloc[0], table["repetitions_max"].iloc[0]) == (1, 6)
