"""Published numbers, to stand beside ours: whose, on what, obtained how."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from ..errors import UsageError
from ..labels import Label, short_name
from ..methods import METHODS
from ..methods.base import Method
from ..retrieval.evaluations import FLAGS, named_evaluation
from ..retrieval.statistics import Interval, labels_of_methods, noise_floor, subject_means
from .render import MARK, Table, fill, percent

STANDS_FOR = {"things-sim": "things-eeg"}
"""A simulated dataset to the recorded one that it imitates, whose published numbers are shown, named so."""


def method_of(name: str) -> Method | None:
    """A registered method; None if the runs are of one that is not known here."""
    return METHODS[name] if name in METHODS else None


def published_of(row: dict[str, Any]) -> dict[str, Any]:
    """What was published of a row's method on its dataset under its protocol.

    Parameters
    ----------
    row : dict
        With ``dataset``, ``protocol``, ``method``.

    Returns
    -------
    dict
        ``published_dataset``; ``published_top1, published_top5`` (fractions); ``published_seeds``;
        ``published_flags`` (joined by ``;``); ``published_source``. Empty where nothing was published.
    """
    method = method_of(row["method"])
    dataset = STANDS_FOR.get(row["dataset"], row["dataset"])
    numbers = method.published.get(dataset, {}).get(row["protocol"]) if method else None
    if numbers is None:
        return {}
    return {
        "published_dataset": dataset,
        "published_top1": numbers[0] / 100,
        "published_top5": numbers[1] / 100,
        "published_seeds": method.seeds,
        "published_flags": ";".join(published_flags(method)),
        "published_source": f"{method.title}, {method.venue}: {method.source}"
        if method.venue
        else method.source,
    }


def published_flags(method: Method) -> tuple[str, ...]:
    """What a reader of a method's published numbers must know, in words of ``FLAGS``."""
    return named_evaluation("as-published", method).flags


def published_for(subjects: Iterable[Label], values: tuple[float, ...]) -> bool:
    """Whether there is a published value of each subject."""
    return all(isinstance(subject, int) and 0 < subject <= len(values) for subject in subjects)


def published_subjects(row: dict[str, Any], metric: str) -> tuple[float, ...]:
    """Published accuracies of each subject, as fractions; empty where they are not known.

    Only of the dataset itself: subjects of a simulated one are nobody's.
    """
    method = method_of(row["method"])
    of_dataset = method.published_subjects.get(row["dataset"], {}) if method else {}
    return tuple(value / 100 for value in of_dataset.get(row["protocol"], {}).get(metric, ()))


def gallery_of(row: dict[str, Any]) -> str:
    """The gallery of a row: as its runs say, or else as its evaluation is defined."""
    told = row.get("gallery")
    if isinstance(told, str) and told:
        return told
    try:
        return named_evaluation(row["evaluation"], method_of(row["method"])).spec.gallery
    except UsageError:
        return "not told"


def with_published(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary with what was published, with the gallery, and with what flags mean in words."""
    rows = [
        {**row, "gallery": gallery_of(row), **published_of(row)}
        for row in summary.to_dict("records")
    ]
    for row in rows:
        row["flags_mean"] = meaning([row["flags"], row.get("published_flags", "")])
    table = pd.DataFrame(rows)
    texts = [name for name in ("published_flags", "published_source") if name in table]
    return table.fillna({name: "" for name in texts})


def meaning(flags: Iterable[str]) -> str:
    """What all words of some ``flags`` cells say, each once, in the order of ``FLAGS``."""
    words = {word for cell in flags for word in cell.split(";") if word}
    ordered = [*(word for word in FLAGS if word in words), *sorted(words - set(FLAGS))]
    return "; ".join(f"{word}: {FLAGS.get(word, 'not known to this version')}" for word in ordered)


def accuracy_table(rows: pd.DataFrame, queries: pd.DataFrame, caption: str) -> Table:
    """One row per method of one dataset, preset, protocol and evaluation, then ceiling and chance.

    Parameters
    ----------
    rows : DataFrame
        Part of the summary with published numbers, in the order of rows.
    queries : DataFrame
        Those behind them.
    caption : str
    """
    sources = [text for text in dict.fromkeys(rows.get("published_source", [])) if text]
    columns = _columns(rows, sources)
    body = [[tell(row) for tell in columns.values()] for row in rows.to_dict("records")]
    head = tuple(columns)
    lines = fill([*body, *_limits(rows)], len(head))
    return Table("accuracy", caption, head, lines, tuple(_notes(rows, queries, sources)), words=2)


def marked(text: str, flags: Any) -> str:
    """A number with the mark behind it, if there are flags."""
    return f"{text} {MARK}" if isinstance(flags, str) and flags else text


def _columns(rows: pd.DataFrame, sources: list[str]) -> dict[str, Any]:
    """Head to what it tells of a row; columns in which nothing would stand are left out."""
    columns: dict[str, Any] = {
        "method": lambda row: marked(row["method"], row["flags"]),
        "backbone": lambda row: row["backbone"],
        "top-1 (%)": lambda row: marked(_with_interval(row, "top1"), row["flags"]),
        "top-5 (%)": lambda row: marked(_with_interval(row, "top5"), row["flags"]),
        "median rank": lambda row: _number(row["median_rank"], "{:.1f}"),
        "subjects": lambda row: _number(row["n_subjects"], "{:.0f}"),
        "seeds": lambda row: _number(row["n_seeds"], "{:.0f}"),
        "gallery": lambda row: f"{row['gallery']}, {_number(row['n_gallery'], '{:.0f}')}",
        "selection": lambda row: row["selection"] if isinstance(row["selection"], str) else "–",
        "trials averaged": _repetitions,
    }
    if rows["flags"].ne("").any():
        columns["flags"] = lambda row: row["flags"].replace(";", ", ") or "–"
    if sources:
        place = {source: f"[{number}]" for number, source in enumerate(sources, 1)}
        on = rows["published_dataset"].dropna().iloc[0]
        columns |= {
            f"published on {on}": _published,
            "published under": _published_under,
            "source": lambda row: place.get(row["published_source"], "–"),
        }
    return columns


def _with_interval(row: dict[str, Any], metric: str) -> str:
    if pd.isna(row[metric]):
        return "failed"
    ends = f"{percent(row[f'{metric}_low'])}, {percent(row[f'{metric}_high'])}"
    return f"{percent(row[metric])} [{ends}]"


def _number(value: Any, form: str) -> str:
    return "–" if pd.isna(value) else form.format(value)


def _repetitions(row: dict[str, Any]) -> str:
    least, most = row["repetitions"], row["repetitions_max"]
    same = pd.isna(most) or least == most
    return _number(least, "{:.0f}") if same else f"{least:.0f} to {most:.0f}"


def _published(row: dict[str, Any]) -> str:
    if pd.isna(row["published_top1"]):
        return "–"
    both = f"{percent(row['published_top1'])} / {percent(row['published_top5'])}"
    return marked(both, row["published_flags"])


def _published_under(row: dict[str, Any]) -> str:
    if pd.isna(row["published_top1"]):
        return "–"
    return row["published_flags"].replace(";", ", ") or "nothing to flag known"


def _limits(rows: pd.DataFrame) -> list[list[str]]:
    """Ceiling, where it is known, and chance, if they are the same for all rows."""
    lines = []
    for name, places in (("ceiling", 1), ("chance", 2)):
        both = rows[[f"{name}_top1", f"{name}_top5"]].dropna()
        if len(both) and (both.max() - both.min() < 1e-3).all():
            top1, top5 = (f"{100 * value:.{places}f}" for value in both.mean())
            lines.append([name, "", top1, top5])
    return lines


def _notes(rows: pd.DataFrame, queries: pd.DataFrame, sources: list[str]) -> list[str]:
    done = rows.dropna(subset=["top1"])
    notes = [_resampled(done), _noise(done)] if len(done) else []
    if _unlike(queries):
        notes.append("Rows rest on different subjects or seeds: their means do not compare.")
    failed = int(rows["n_failed"].sum())
    if failed:
        notes.append(f"{failed} runs failed and are left out; runs.csv says why.")
    flags = [*rows["flags"], *rows.get("published_flags", [])]
    if any(flags):
        notes.append(
            f"{MARK} obtained in a way that makes it no peer of an unmarked number. {meaning(flags)}."
        )
    if sources:
        notes.append(
            "Published: top-1 / top-5 in percent as their authors give them, evaluated their way; "
            "not ours, and not directly comparable. "
            + " ".join(f"[{number}] {source}." for number, source in enumerate(sources, 1))
        )
    return notes


def _unlike(queries: pd.DataFrame) -> bool:
    """Whether some methods were not tested on the same subjects with the same seeds as others."""
    cells = queries[["method", "backbone", "subject", "seed"]].drop_duplicates()
    tested = cells.groupby(["method", "backbone"])[["subject", "seed"]]
    kinds = {frozenset(part.itertuples(index=False, name=None)) for _, part in tested}
    return len(kinds) > 1


def _resampled(done: pd.DataFrame) -> str:
    least = {name: int(done[f"n_{name}"].min()) for name in ("subjects", "seeds", "queries")}
    counts = Interval(0, 0, 0, 0.95, *least.values())
    text = f"Mean over subjects [95 % interval], bootstrap over {', '.join(counts.levels) or 'nothing'}"
    if least["subjects"] == 1:
        return text + ": of one subject, it says nothing about others."
    if least["subjects"] < 5:
        return text + f"; with {least['subjects']} subjects it is rather too narrow."
    return text + "."


def _noise(done: pd.DataFrame) -> str:
    best = done.sort_values("top1").iloc[-1]
    p, n_queries, n_subjects = best["top1"], int(best["n_queries"]), int(best["n_subjects"])
    text = (
        f"Counting hits alone gives a standard error of {percent(noise_floor(p, n_queries))} points"
    )
    text += f" per subject at {percent(p)} %"
    if n_subjects > 1:
        mean = percent(noise_floor(p, n_queries, n_subjects))
        text += f", {mean} for the mean of {n_subjects}, were all queries independent"
    return text + "."


TITLES = {"top1": "Top-1", "top5": "Top-5"}


def subject_table(queries: pd.DataFrame, rows: pd.DataFrame, metric: str, caption: str) -> Table:
    """One row per method, one column per subject, mean over seeds.

    Parameters
    ----------
    queries : DataFrame
        Of one dataset, preset, protocol and evaluation.
    rows : DataFrame
        Their part of the summary.
    metric : {"top1", "top5"}
    caption : str
    """
    means = subject_means(queries, metric)
    flags = dict(zip(labels_of_methods(rows), rows["flags"], strict=True))
    lines, shown = [], [flags[method] for method in means]
    for method in means:
        cells = [percent(value) for value in means[method]]
        lines.append((marked(method, flags[method]), *cells, percent(means[method].mean())))
    for row in rows.drop_duplicates("method").to_dict("records"):
        values = published_subjects(row, metric)
        if not published_for(means.index, values):
            continue
        published = published_flags(method_of(row["method"]))
        shown.append(";".join(published))
        cells = [percent(values[subject - 1]) for subject in means.index]
        mean = percent(sum(values) / len(values)) if len(values) == len(means) else "–"
        lines.append((marked(f"{row['method']}, published", shown[-1]), *cells, mean))
    head = ("method", *map(short_name, means.index), "mean")
    notes = [f"{TITLES[metric]} accuracy in percent, mean over seeds."]
    if any(shown):
        notes.append(f"{MARK} {meaning(shown)}.")
    return Table(metric, caption, head, tuple(lines), tuple(notes))


def pair_table(tests: pd.DataFrame, caption: str) -> Table:
    """One row per pair of methods.

    Parameters
    ----------
    tests : DataFrame
        As of :func:`~braindecode_ssr.retrieval.statistics.paired_tests`.
    caption : str
    """
    head = ("first", "second", "difference (points)", "subjects", "W", "p", "p (Holm)")
    rows = tuple(
        (
            row["first"],
            row["second"],
            f"{100 * row['difference']:+.1f}" if pd.notna(row["difference"]) else "–",
            str(row["n_subjects"]),
            f"{row['statistic']:g}" if pd.notna(row["statistic"]) else "–",
            p_text(row["p"]),
            p_text(row["p_holm"]),
        )
        for row in tests.to_dict("records")
    )
    remarks = dict.fromkeys(remark for remark in tests["remark"] if remark)
    return Table("tests", caption, head, rows, (_ABOUT, *(f"{r}." for r in remarks)), words=2)


_ABOUT = (
    "Top-1, Wilcoxon's signed-rank test over subjects' means, two-sided, exact; Holm over all rows."
)


def p_text(p: float) -> str:
    """Three digits, never 0."""
    if pd.isna(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
