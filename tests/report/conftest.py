"""Folders of benchmarks as they are on disk."""

import pandas as pd
import pytest
from random_ranks import query_rows, run_rows, write_tables


@pytest.fixture(scope="session")
def tables():
    """Two methods on six subjects in three ways, one of them with altered images."""
    subjects = range(1, 7)
    queries = pd.concat(
        [
            query_rows(0, method="ssr", subjects=subjects, p=0.7),
            query_rows(1, method="nice", subjects=subjects, p=0.3),
            query_rows(2, method="ssr", subjects=subjects, p=0.3, evaluation="repetitions=1"),
            query_rows(3, method="ssr", subjects=subjects, p=0.8, evaluation="gallery=views"),
        ],
        ignore_index=True,
    )
    runs = run_rows(queries, gallery="original")
    runs.loc[runs["evaluation"] == "gallery=views", ["flags", "gallery"]] = [
        "altered-gallery",
        "views",
    ]
    runs.loc[runs["evaluation"] == "repetitions=1", "repetitions"] = 1
    return queries, runs


@pytest.fixture
def folder(tables, tmp_path):
    """A benchmark's folder that a test may spoil."""
    return write_tables(tmp_path / "bench", *tables)


@pytest.fixture(scope="session")
def read_only_folder(tables, tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("report") / "bench", *tables)


@pytest.fixture(scope="session")
def made(read_only_folder):
    """The report of that folder."""
    from braindecode_ssr.report import report

    return report([read_only_folder])
