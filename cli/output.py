"""What commands print on stdout."""

from __future__ import annotations

import json
from typing import Any

import click


def print_json(content: Any) -> None:
    """One JSON document."""
    click.echo(json.dumps(content, indent=2, default=str))


def print_table(rows: list[dict[str, Any]]) -> None:
    """Rows with the same keys as aligned columns; numbers to the right."""
    if not rows:
        return
    names = list(rows[0])
    cells = [[_text(row[name]) for name in names] for row in rows]
    widths = [max(len(line[i]) for line in [names, *cells]) for i in range(len(names))]
    numeric = [all(isinstance(row[name], int | float) for row in rows) for name in names]
    for line in [names, *cells]:
        padded = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())


def print_summary(summary: dict[str, Any]) -> None:
    """The retrieval table of a run, with how its numbers were obtained."""
    channels = summary["channels"]
    channels = channels if isinstance(channels, str) else f"{len(channels)} channels"
    views = "+".join(summary["views"]) or "originals only"
    parts = ", a part for each subject" if summary.get("subjects") == "own" else ""
    click.echo(
        f"{summary['dataset']}, subject {summary['subject']}, {summary['protocol']}-subject, "
        f"{summary['n_gallery']}-way zero-shot retrieval\n"
        f"  trained    {summary['method']}, {summary['backbone']}{parts}, {channels}, {summary['encoder']} "
        f"({views}), {summary['epochs']} epochs, seed {summary['seed']}\n"
        f"  tested     {summary['n_queries']} queries, {_repetitions(summary)} trials averaged, gallery "
        f"{summary['gallery']}{_correction(summary['correction'])}, {_selection(summary)}"
    )
    print_flags([summary])
    click.echo()
    print_aligned(summary)


def print_evaluations(summaries: list[dict[str, Any]]) -> None:
    """A run tested in several ways: one row each, with how its numbers were obtained, flags below."""
    first = summaries[0]
    click.echo(
        f"{first['dataset']}, subject {first['subject']}, {first['protocol']}-subject, zero-shot "
        f"retrieval, {first['method']}, {first['backbone']}, seed {first['seed']}\n"
    )
    print_table([_row(summary) for summary in summaries])
    print_flags(summaries)


def print_flags(summaries: list[dict[str, Any]]) -> None:
    """What a reader of flagged numbers must know, one line for each word."""
    from braindecode_ssr.retrieval.leaks import LEAKS

    words = {word for summary in summaries for word in summary["flags"]}
    for word in (known for known in LEAKS if known in words):
        click.echo(f"  ! {word}: {LEAKS[word]}")


def print_aligned(summary: dict[str, Any]) -> None:
    """Reached, ceiling where the truth is known, and chance, one below the other."""
    lines = [("", "top-1", "top-5", "median rank", "mean rank", "MRR")]
    lines.append(
        (
            summary["method"],
            _percent(summary["top1"]),
            _percent(summary["top5"]),
            f"{summary['median_rank']:.1f}",
            f"{summary['mean_rank']:.1f}",
            f"{summary['mrr']:.3f}",
        )
    )
    for name in ("ceiling", "chance"):
        if f"{name}_top1" in summary:
            both = (_percent(summary[f"{name}_{k}"]) for k in ("top1", "top5"))
            lines.append((name, *both, "", "", ""))
    for first, *rest in lines:
        click.echo((f"  {first:<11}" + "".join(f"{cell:>13}" for cell in rest)).rstrip())


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _row(summary: dict[str, Any]) -> dict[str, Any]:
    return {
        "evaluation": summary["evaluation"],
        "repetitions": _repetitions(summary),
        "epoch": "-" if summary["epoch"] is None else summary["epoch"],
        **{name.replace("top", "top-"): _percent(summary[name]) for name in ("top1", "top5")},
        "median rank": f"{summary['median_rank']:.1f}",
        "MRR": f"{summary['mrr']:.3f}",
        "ceiling": _percent(summary["ceiling_top1"]) if "ceiling_top1" in summary else "-",
        "chance": _percent(summary["chance_top1"]),
        "flags": ", ".join(summary["flags"]) or "-",
    }


def _repetitions(summary: dict[str, Any]) -> str:
    fewest, most = summary["repetitions"], summary["repetitions_max"]
    return str(fewest) if fewest == most else f"{fewest} to {most}"


def _selection(summary: dict[str, Any]) -> str:
    epoch = summary["epoch"]
    return {
        "last": "last epoch",
        "validation": f"epoch {epoch}, best on held-out training concepts",
        "oracle": f"epoch {epoch}, best on this very test",
    }[summary["selection"]]


def _correction(name: str) -> str:
    return "" if name == "none" else f", {name} correction"


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
