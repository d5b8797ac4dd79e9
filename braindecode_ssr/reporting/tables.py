"""The tables of a report: accuracies beside published ones, subjects, and tests of pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from ..errors import UsageError
from ..methods import METHODS, Method
from ..registry import Label, short_name
from ..retrieval.evaluations import FLAGS, named_evaluation
from ..retrieval.statistics import labels_of_methods, noise_floor, subject_means
from .render import MARK, Table, percent

PUBLISHED_GALLERY = 200
"""Candidates behind all published numbers, which are shown only beside numbers among as many."""


def section_title(key: tuple[str, ...]) -> str:
    """Dataset, preset, protocol and, if the key has it, evaluation."""
    dataset, preset, protocol, *evaluation = key
    size = "" if preset in ("none", "") else f" ({preset})"
    return ", evaluation ".join([f"{dataset}{size}, {protocol}-subject", *evaluation])


# -- published numbers and flags -----------------------------------------------------------------------------


def with_published(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary with gallery, published numbers (``published_...``, fractions) and the meaning of flags."""
    rows = []
    for row in summary.to_dict("records"):
        row |= {"gallery": _gallery(row), **published_numbers(row)}
        rows.append(row | {"flags_mean": meaning([row["flags"], row.get("published_flags", "")])})
    table = pd.DataFrame(rows)
    texts = [name for name in ("published_flags", "published_source") if name in table]
    return table.fillna({name: "" for name in texts})


def published_numbers(row: dict[str, Any]) -> dict[str, Any]:
    """What a method published for a row of a summary; empty for nothing, or another size of gallery."""
    method = _method(row["method"])
    dataset = row["dataset"]
    numbers = method.published.get(dataset, {}).get(row["protocol"]) if method else None
    if method is None or numbers is None or row["n_gallery"] != PUBLISHED_GALLERY:
        return {}
    title = f"{method.title}, {method.venue}: " if method.venue else ""
    return {
        "published_dataset": dataset,
        "published_top1": numbers[0] / 100,
        "published_top5": numbers[1] / 100,
        "published_seeds": method.seeds,
        "published_flags": ";".join(named_evaluation("as-published", method).flags),
        "published_source": title + method.source,
    }


def _method(name: str) -> Method | None:
    """A registered method; None if this installation does not know it."""
    return METHODS[name] if name in METHODS else None


def published_subjects(row: dict[str, Any], metric: str, subjects: Iterable[Label]) -> list[float]:
    """Published accuracies of these subjects and their mean; empty if one is not published.

    The mean is left out for a part of the subjects. There are none for another dataset or size of
    gallery.
    """
    method = _method(row["method"]) if row["n_gallery"] == PUBLISHED_GALLERY else None
    of_dataset = method.published_subjects.get(row["dataset"], {}) if method else {}
    percents = of_dataset.get(row["protocol"], {}).get(metric, ())
    values = []
    for subject in subjects:
        if not isinstance(subject, int) or not 0 < subject <= len(percents):
            return []
        values.append(percents[subject - 1] / 100)
    whole = len(values) == len(percents)
    return [*values, sum(values) / len(values)] if values and whole else values


def _gallery(row: dict[str, Any]) -> str:
    """The gallery of a row: as its runs say, or else as its evaluation is defined."""
    recorded = row.get("gallery")
    if isinstance(recorded, str) and recorded:
        return recorded
    try:
        return named_evaluation(row["evaluation"], _method(row["method"])).spec.gallery
    except UsageError:
        return "not recorded"


def meaning(flags: Iterable[str]) -> str:
    """What the words in some ``flags`` cells mean, each once, in the order of ``FLAGS``."""
    words = {word for cell in flags for word in cell.split(";") if word}
    ordered = [*(word for word in FLAGS if word in words), *sorted(words - set(FLAGS))]
    return "; ".join(f"{word}: {FLAGS.get(word, 'not known to this version')}" for word in ordered)


def marked(text: str, flags: Any) -> str:
    """A text with the mark behind it, if there are flags."""
    return f"{text} {MARK}" if isinstance(flags, str) and flags else text


# -- accuracy ------------------------------------------------------------------------------------------------


def accuracy_table(rows: pd.DataFrame, queries: pd.DataFrame, caption: str) -> Table:
    """One row per method of one dataset, preset, protocol and evaluation, then ceiling and chance."""
    sources = [text for text in dict.fromkeys(rows.get("published_source", [])) if text]
    columns = _columns(rows, sources)
    lines = [[cell(row) for cell in columns.values()] for row in rows.to_dict("records")]
    limits = -len(lines)
    for name, digits in (("ceiling", 1), ("chance", 2)):
        both = rows[[f"{name}_top1", f"{name}_top5"]].dropna()
        if len(both) and (both.max() - both.min() < 1e-3).all():  # the same for all rows
            numbers = [f"{100 * value:.{digits}f}" for value in both.mean()]
            lines.append([name, "", *numbers, *[""] * (len(columns) - 4)])
    notes = tuple(_notes(rows, queries, sources))
    limits += len(lines)
    return Table("accuracy", caption, tuple(columns), tuple(map(tuple, lines)), notes, 2, limits)


def _columns(rows: pd.DataFrame, sources: list[str]) -> dict[str, Callable[[dict[str, Any]], str]]:
    """Head to the cell of a row; columns that would be empty are left out."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "method": lambda row: marked(row["method"], row["flags"]),
        "backbone": lambda row: row["backbone"],
        "top-1 (%)": lambda row: marked(with_interval(row, "top1"), row["flags"]),
        "top-5 (%)": lambda row: marked(with_interval(row, "top5"), row["flags"]),
        "median rank": lambda row: _number(row["median_rank"], ".1f"),
        "subjects": lambda row: _number(row["n_subjects"]),
        "seeds": lambda row: _number(row["n_seeds"]),
        "gallery": lambda row: f"{row['gallery']}, {_number(row['n_gallery'])}",
        "selection": lambda row: row["selection"] if isinstance(row["selection"], str) else "–",
        "trials averaged": _repetitions,
    }
    if rows["flags"].ne("").any():
        columns["flags"] = lambda row: row["flags"].replace(";", ", ") or "–"
    if sources:
        number = {source: f"[{place}]" for place, source in enumerate(sources, 1)}
        on = rows["published_dataset"].dropna().iloc[0]

        def published(row: dict[str, Any]) -> str:
            both = f"{percent(row['published_top1'])} / {percent(row['published_top5'])}"
            return _if_published(row, marked(both, row["published_flags"]))

        def under(row: dict[str, Any]) -> str:
            return _if_published(row, row["published_flags"].replace(";", ", ") or "no known flags")

        columns |= {f"published on {on}": published, "published under": under}
        columns["source"] = lambda row: number.get(row["published_source"], "–")
    return columns


def with_interval(row: dict[str, Any], metric: str) -> str:
    if pd.isna(row[metric]):
        return "failed"
    low, high = (percent(row[f"{metric}_{end}"]) for end in ("low", "high"))
    return f"{percent(row[metric])} [{low}, {high}]"


def _number(value: Any, form: str = ".0f") -> str:
    return "–" if pd.isna(value) else format(value, form)


def _repetitions(row: dict[str, Any]) -> str:
    least, most = row["repetitions"], row["repetitions_max"]
    same = pd.isna(most) or least == most
    return _number(least) if same else f"{least:.0f} to {most:.0f}"


def _if_published(row: dict[str, Any], text: str) -> str:
    return "–" if pd.isna(row["published_top1"]) else text


def _notes(rows: pd.DataFrame, queries: pd.DataFrame, sources: list[str]) -> list[str]:
    done = rows.dropna(subset=["top1"])
    notes = [_about_intervals(done), _about_noise(done)] if len(done) else []
    cells = queries[["method", "backbone", "subject", "seed"]].drop_duplicates()
    tested = cells.groupby(["method", "backbone"])[["subject", "seed"]]
    if len({frozenset(part.itertuples(index=False, name=None)) for _, part in tested}) > 1:
        notes.append("Rows use different subjects or seeds: their means cannot be compared.")
    failed = int(rows["n_failed"].sum())
    if failed:
        notes.append(f"{failed} runs failed and are left out; runs.csv says why.")
    flags = [*rows["flags"], *rows.get("published_flags", [])]
    if any(flags):
        notes.append(f"{MARK} not comparable with numbers without this mark. {meaning(flags)}.")
    if sources:
        notes.append(
            "Published: top-1 / top-5 in percent as their authors give them, evaluated their way; "
            "not ours, and not directly comparable. "
            + " ".join(f"[{number}] {source}." for number, source in enumerate(sources, 1))
        )
    return notes


def _about_intervals(done: pd.DataFrame) -> str:
    counted = [name for name in ("subjects", "seeds", "queries") if done[f"n_{name}"].min() > 1]
    text = f"Mean over subjects [95 % confidence interval] over {', '.join(counted) or 'nothing'}"
    if done["n_subjects"].min() == 1:
        return f"{text}: from one subject, it says nothing about others."
    return f"{text}; for other subjects and images of the same kind."


def _about_noise(done: pd.DataFrame) -> str:
    best = done.sort_values("top1").iloc[-1]
    p, n_queries, n_subjects = best["top1"], int(best["n_queries"]), int(best["n_subjects"])
    one, mean = (percent(noise_floor(p, n_queries, n)) for n in (1, n_subjects))
    text = (
        f"Counting hits alone gives a standard error of {one} points per subject at {percent(p)} %"
    )
    if n_subjects > 1:
        text += f", {mean} for the mean of {n_subjects} if all queries were independent"
    return f"{text}."


# -- subjects and pairs --------------------------------------------------------------------------------------

TITLES = {"top1": "Top-1", "top5": "Top-5"}


def subject_table(queries: pd.DataFrame, rows: pd.DataFrame, metric: str, caption: str) -> Table:
    """One row per method, one column per subject, mean over seeds."""
    means = subject_means(queries, metric)
    flags = dict(zip(labels_of_methods(rows), rows["flags"], strict=True))
    lines, shown = [], [flags[method] for method in means]
    for method in means:
        values = [*means[method], means[method].mean()]
        lines.append((marked(method, flags[method]), *map(percent, values)))
    for row in rows.drop_duplicates("method").to_dict("records"):
        if published := published_subjects(row, metric, means.index):
            shown.append(row["published_flags"])
            cells = [*map(percent, published), "–"][: len(means) + 1]
            lines.append((marked(f"{row['method']}, published", shown[-1]), *cells))
    head = ("method", *map(short_name, means.index), "mean")
    notes = [f"{TITLES[metric]} accuracy in percent, mean over seeds."]
    if any(shown):
        notes.append(f"{MARK} {meaning(shown)}.")
    return Table(metric, caption, head, tuple(lines), tuple(notes))


def pair_table(tests: pd.DataFrame, caption: str) -> Table:
    """One row per pair of methods, from :func:`~braindecode_ssr.retrieval.statistics.paired_tests`."""
    head = ("first", "second", "difference (points)", "subjects", "W", "p", "p (Holm)")
    rows = tuple(
        (
            row["first"],
            row["second"],
            _number(100 * row["difference"], "+.1f"),
            str(row["n_subjects"]),
            _number(row["statistic"], "g"),
            _p_value(row["p"]),
            _p_value(row["p_holm"]),
        )
        for row in tests.to_dict("records")
    )
    about = "Top-1, Wilcoxon's signed-rank test over subjects' means, two-sided, exact; Holm over all rows."
    remarks = dict.fromkeys(remark for remark in tests["remark"] if remark)
    return Table("tests", caption, head, rows, (about, *(f"{r}." for r in remarks)), words=2)


def _p_value(p: float) -> str:
    """Three digits, never 0."""
    return "< 0.001" if p < 0.001 else _number(p, ".3f")
