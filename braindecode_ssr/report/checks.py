"""Whether tables of several folders belong together."""

from __future__ import annotations

import pandas as pd

from ..errors import DataError
from ..retrieval.column import ROW

ONE_RUN = [*ROW, "subject", "seed"]


def check_results(queries: pd.DataFrame, runs: pd.DataFrame) -> None:
    """Raise DataError unless runs are of one preset and version of each dataset, once each, and whole.

    Parameters
    ----------
    queries : DataFrame
        One row per query.
    runs : DataFrame
        One row per run and evaluation.
    """
    done = runs[runs["status"] == "done"]
    if not len(done):
        raise DataError(
            "at least one finished run",
            f"{len(runs)} that failed" + _first_error(runs),
            "mend what the errors in runs.csv say and start the benchmark again",
        )
    _check_same(done, ["dataset"], "preset", "one preset of {}")
    if "fingerprint" in done:
        told = done[done["fingerprint"] != ""]
        _check_same(told, ["dataset", "subject"], "fingerprint", "one version of {} subject {}")
    _check_once(done)
    _check_whole(queries, done)


def _first_error(runs: pd.DataFrame) -> str:
    errors = runs["error"] if "error" in runs else pd.Series(dtype=str)
    told = errors[errors != ""]
    return f", the first: {told.iloc[0]}" if len(told) else ""


def _check_same(runs: pd.DataFrame, within: list[str], name: str, what: str) -> None:
    kinds = runs[[*within, name, "run"]].drop_duplicates([*within, name])
    twice = kinds[kinds.duplicated(within, keep=False)]
    if not len(twice):
        return
    key = twice[within].iloc[0]
    same = twice[(twice[within] == key).all(axis=1)]
    found = " and ".join(f"{row[name]!r} ({row['run']})" for _, row in same.head(2).iterrows())
    raise DataError(what.format(*key), found, "report them apart: their numbers do not compare")


def _check_once(runs: pd.DataFrame) -> None:
    twice = runs[runs.duplicated(ONE_RUN, keep=False)]
    if len(twice):
        first = twice.iloc[0]
        names = twice.loc[(twice[ONE_RUN] == first[ONE_RUN]).all(axis=1), "run"].tolist()
        raise DataError(
            "one run per method, backbone, subject, seed, protocol and evaluation",
            f"{len(names)} of {first['method']}, subject {first['subject']}, seed {first['seed']}: "
            f"{names[0]} and {names[1]}",
            "they differ in other settings: report them apart",
        )


def _check_whole(queries: pd.DataFrame, runs: pd.DataFrame) -> None:
    """Every finished run has all its queries, and no query is without a run."""
    names = ["evaluation", "run"]
    found = queries.groupby(names).size().rename("found")
    expected = runs.set_index(names)["n_queries"]
    both = pd.concat([expected, found], axis=1).fillna(0)
    wrong = both[both["n_queries"] != both["found"]]
    if len(wrong):
        (evaluation, run), counts = wrong.index[0], wrong.iloc[0]
        raise DataError(
            f"{int(counts['n_queries'])} queries of {run} under the evaluation {evaluation}",
            f"{int(counts['found'])} in queries.csv",
            "the tables do not belong together or were cut short: make them again",
        )
