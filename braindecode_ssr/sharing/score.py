"""Score similarities and embeddings of any program, joined by the names of their images."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from ..config import EvaluationSpec, RunSpec
from ..datasets.pickles import load_arrays, load_features, read_names
from ..errors import DataError, MissingDataError, Say, UsageError, silent
from ..files import atomic_folder, atomic_write, file_sha256, read_json, sha256
from ..images.imports import image_stem
from ..registry import unknown_name
from ..retrieval.evaluations import DEFAULT, Evaluation, check_flags, flags_of, named_evaluation
from ..retrieval.ranks import rank_table, retrieval_numbers, similarity
from ..retrieval.statistics import intervals
from ..runs import preset_of, versions

if TYPE_CHECKING:
    from ..inference.evaluation import Embeddings


Source: TypeAlias = str | Path | np.ndarray | pd.DataFrame
Result = tuple[pd.DataFrame, dict[str, Any]]

UNSTATED = "unstated"
LABELS: dict[str, Any] = {
    **dict.fromkeys(("dataset", "protocol", "method", "backbone", "subject"), UNSTATED),
    **{"preset": "none", "seed": 0, "gallery": "as given", "selection": UNSTATED},
}
"""What every result says about its origin, with the values used where it is not given."""
KNOWN = (
    *("repetitions", "repetitions_max", "epoch", "ceiling_top1", "ceiling_top5"),
    *("flags", "evaluation"),
)
"""What is said besides of the similarities of a run."""
ROWS, COLUMNS, BOTH = ("brain_ids", "query_ids"), ("gallery_ids",), ("image_ids", "names", "files")
"""Keys of names in a file: of rows, of columns, of both."""


@dataclass(frozen=True, eq=False)
class Similarity:
    """How near (q, g) every query is to every candidate; larger is nearer.

    Queries and candidates are image ids, each once; those of all queries are among the candidates.
    """

    near: np.ndarray
    query_ids: list[str]
    gallery_ids: list[str]
    labels: dict[str, Any]

    def labeled(self, **labels: Any) -> Similarity:
        """The same with further flags and other labels, unless a run says otherwise; None changes nothing."""
        for name in set(labels) - {*LABELS, "flags"}:
            raise unknown_name("label of a result", name, [*LABELS, "flags"])
        given = {name: value for name, value in labels.items() if value is not None}
        for name in {"dataset", "protocol", "subject"} & set(given):
            known = self.labels[name]
            if known not in (UNSTATED, given[name]):
                raise UsageError(
                    f"these similarities are of {name} {known}, not {given[name]}",
                    "leave out the label",
                )
        given["flags"] = [*self.labels["flags"], *check_flags(given.get("flags", ()))]
        return replace(self, labels=self.labels | given)


def score(
    brain: Source,
    gallery: Source | None = None,
    *,
    images: str | Path | Sequence[str] | None = None,
    evaluation: str = DEFAULT,
    out: str | Path | None = None,
    say: Say = silent,
    **labels: Any,
) -> Result:
    """Rank the candidates from similarities or embeddings of any program.

    Parameters
    ----------
    brain, gallery, images, say
        As for :func:`read_similarity`.
    evaluation : str
        ``"default"``, or ``correction=`` and ``n-way=`` joined by ``+``.
    out : path-like, optional
        Folder for ``queries.csv`` and ``summary.json``, which ``ssr-bd report`` reads.
    **labels
        Some of ``LABELS``, and ``flags``.

    Returns
    -------
    queries, summary : DataFrame, dict
        As of :func:`braindecode_ssr.retrieval.ranks.query_table`; metrics as fractions with 95 % intervals
        over queries, labels and flags.

    Examples
    --------
    >>> import numpy as np
    >>> from braindecode_ssr import score
    >>> queries, summary = score(np.eye(20), images=[f"image {n}" for n in range(20)])
    >>> summary["top1"], summary["chance_top1"]
    (1.0, 0.05)
    """
    found = read_similarity(brain, gallery, images, say).labeled(**labels)
    done = list(score_each(found, [evaluation]))
    if out is not None:
        write_scored(Path(out), done)
    return done[0]


def score_each(found: Similarity, evaluations: Iterable[str]) -> Iterator[Result]:
    """As :func:`score`, in several ways, all of which are checked before the first."""
    asked = [named_evaluation(name) for name in evaluations]
    usual = EvaluationSpec(selection="last")
    for each in asked:
        if each.settings or each.spec.replace(**final_step(usual)) != usual:
            raise UsageError(
                f"the evaluation {each.name} needs a run, and there are only similarities",
                "choose default, correction=NAME, n-way=N or both with a + between",
            )
    for each in asked:
        names = [n for n in (found.labels["evaluation"], each.name) if n != DEFAULT] or [DEFAULT]
        yield rank(found, replace(each, name="+".join(names)))


def final_step(spec: EvaluationSpec) -> dict[str, Any]:
    """The part of an evaluation that is done when the similarities are known."""
    return {"correction": spec.correction, "n_way": spec.n_way}


def rank(found: Similarity, evaluation: Evaluation) -> Result:
    """The last step of an evaluation, its table and its numbers."""
    spec, step = evaluation.spec, final_step(evaluation.spec)
    table = pd.DataFrame({"subject": found.labels["subject"], "image_id": found.query_ids})
    table["concept"] = table["image_id"].map(_concept)
    queries = rank_table(found.near, table, found.gallery_ids, spec.correction)
    queries, numbers = retrieval_numbers(queries, len(found.gallery_ids), spec.n_way)
    ends: dict[str, float] = {}
    for metric, reach in intervals(queries, ("top1", "top5")).items():
        ends |= {f"{metric}_low": reach.low, f"{metric}_high": reach.high}
    labels = dict(found.labels)
    if step != final_step(EvaluationSpec()):  # not comparable with an ideal observer then
        labels = {name: v for name, v in labels.items() if not name.startswith("ceiling_")}
    flags = check_flags((*labels["flags"], *evaluation.flags, *flags_of(spec)))
    told = {"evaluation": evaluation.name, "flags": list(flags), "scored_by": versions()}
    return queries, {**labels, **told, **step, **numbers, **ends}


def _concept(image_id: str) -> str:
    """``aardvark`` of ``00001_aardvark/aardvark_01b`` and of ``aardvark_01b``."""
    folder, _, name = image_id.rpartition("/")
    folder = re.sub(r"^\d+_", "", folder.rpartition("/")[2])
    return folder or re.sub(r"_\d+[a-z]*$", "", name)


def write_scored(folder: Path, done: Sequence[Result]) -> None:
    """Write results where ``ssr-bd report`` reads them, all but the first in folders inside."""
    there = read_json(folder / "summary.json") or {}
    if folder.is_file():
        raise UsageError(f"{folder} is a file, not a folder", "choose another --out")
    if folder.exists() and "scored_by" not in there and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", "choose another --out")
    with atomic_folder(folder, option="--out") as new:
        for place, (queries, summary) in enumerate(done):
            inside = new / f"evaluation_{sha256(summary['evaluation'])[:8]}" if place else new
            inside.mkdir(exist_ok=True)
            (inside / "queries.csv").write_text(queries.to_csv(index=False), encoding="utf-8")
            text = json.dumps(summary, indent=2) + "\n"
            (inside / "summary.json").write_text(text, encoding="utf-8")


# -- reading -------------------------------------------------------------------------------------------------


def read_similarity(
    brain: Source,
    gallery: Source | None = None,
    images: str | Path | Sequence[str] | None = None,
    say: Say = silent,
) -> Similarity:
    """Similarities of any program, joined by the names of images. Nothing in a file is executed.

    Without ``gallery``, ``brain`` is similarities (q, g), larger is nearer: an array or table, a file of
    them, or ``FILE:KEY`` for one of several arrays. Names are lists ``brain_ids`` and ``gallery_ids``, or
    ``image_ids`` for both; in a table the first column and row. Or it is a file of ``ssr-bd evaluate
    --embeddings``. With ``gallery`` both are embeddings, (q, e) and (g, e), compared by their cosine.
    ``images`` names the rows and columns of arrays without names, or is a file with one a line. ``say``
    gets a line if they are joined by their order, or candidates have no query.
    """
    source, labels = "the array", {**LABELS, "flags": [], "evaluation": DEFAULT}
    if isinstance(brain, str | Path):
        source, labels["method"] = str(brain), Path(brain).stem
    if gallery is not None:
        (q, rows), (g, columns) = _vectors(brain), _vectors(gallery)
        near = _compared(q, g)
    elif isinstance(brain, str | Path):
        near, rows, columns, known = _read(brain)
        labels |= known
    else:
        near, rows, columns = np.asarray(brain), None, None
        if isinstance(brain, pd.DataFrame):
            rows, columns = ([*map(str, names)] for names in (brain.index, brain.columns))
    if near.ndim != 2 or near.dtype.kind not in "fiu" or not near.size:
        raise DataError(
            f"{source} holds {near.dtype} of shape {near.shape}, not similarities (queries, candidates)",
            "give one number for each pair, or embeddings of brain and images with --gallery",
        )
    if images is not None:
        given = read_names(Path(images)) if isinstance(images, str | Path) else images
        listed = [*map(str, given)]
        if rows and columns:
            raise UsageError(f"{source} has names of its own", "leave out --images")
        rows, columns = rows or listed, columns or listed
    if not rows and not columns:
        if near.shape[0] != near.shape[1]:
            raise UsageError(
                f"{source} has {near.shape[0]} queries, {near.shape[1]} candidates and no names",
                "save their names beside them, as brain_ids and gallery_ids or in the first column and row "
                "of a csv table",
            )
        say(f"{source} has no names of images: rows and columns are joined by their order")
        rows = columns = [f"image {n:0{len(str(len(near)))}}" for n in range(1, len(near) + 1)]
    if not rows or not columns:
        raise DataError(
            f"{source} has names of {'queries' if rows else 'candidates'} only",
            "save the names of both, or give those of the other with --images NAMES.txt",
        )
    return _joined(near.astype(np.float64), rows, columns, labels, source, say)


def _joined(
    near: np.ndarray,
    rows: list[str],
    columns: list[str],
    labels: dict[str, Any],
    source: str,
    say: Say,
) -> Similarity:
    """Similarities whose names fit; names are compared without suffix, case counts."""
    both = []
    sides = ((rows, "queries"), (columns, "candidates"))
    for (names, what), count in zip(sides, near.shape, strict=True):
        if len(names) != count:
            raise DataError(
                f"there are {len(names)} names for the {count} {what} of {source}",
                "give one name for each, in the order of the array",
            )
        both.append([image_stem(name.strip()) for name in names])
        [(name, times)] = Counter(both[-1]).most_common(1)
        if times > 1:
            raise DataError(
                f"{times} {what} of {source} are called {name!r}",
                "keep one for each image: average repeated trials first",
            )
    lacking = sorted(set(both[0]) - set(both[1]))
    if lacking:
        raise DataError(
            f"{len(lacking)} of {len(near)} queries of {source} are no candidates: {lacking[0]!r} and so on",
            "call images alike on both sides, and give all of them",
        )
    if spare := near.shape[1] - len(near):
        say(f"{spare} of {near.shape[1]} candidates of {source} are the image of no query")
    if not np.isfinite(near).all():
        q, g = np.argwhere(~np.isfinite(near))[0]
        raise DataError(
            f"{source} has the similarity {near[q, g]} for query {both[0][q]!r} and candidate {both[1][g]!r}",
            "give a finite number for each pair",
        )
    return Similarity(near, both[0], both[1], labels)


def _vectors(given: Source) -> tuple[np.ndarray, list[str] | None]:
    """Embeddings (n, e), and their names if there are any."""
    if isinstance(given, str | Path):
        rows, names = load_features(given)
    else:
        names = [*map(str, given.index)] if isinstance(given, pd.DataFrame) else None
        rows = np.atleast_1d(given)
    return rows.reshape(-1, rows.shape[-1]), names


def _compared(brain: np.ndarray, gallery: np.ndarray, space: str = "euclidean") -> np.ndarray:
    shapes = brain.shape, gallery.shape
    kinds = {brain.dtype.kind, gallery.dtype.kind}
    if not len(shapes[0]) == len(shapes[1]) == 2 or shapes[0][1] != shapes[1][1] or kinds != {"f"}:
        raise DataError(
            f"brain embeddings {shapes[0]} and image embeddings {shapes[1]} cannot be compared",
            "give floating-point numbers of shape (queries, n) and (candidates, n)",
        )
    return similarity(brain, gallery, space)


def _read(
    file: str | Path,
) -> tuple[np.ndarray, list[str] | None, list[str] | None, dict[str, Any]]:
    """Similarities in a file, names of their rows and of their columns, and labels."""
    path, key = Path(file), ""
    if not path.exists() and ":" in path.name:
        whole, _, key = str(file).rpartition(":")
        path = Path(whole)
    table = path.suffix.lower() in (".csv", ".tsv")
    content = _read_table(path) if table else load_arrays(path)
    rows, columns = (
        next((np.ravel(content[k]).astype(str).tolist() for k in side + BOTH if k in content), None)
        for side in (ROWS, COLUMNS)
    )
    known: dict[str, Any] = {"source": {path.name: file_sha256(path)}, "method": key or path.stem}
    if not key and {"brain", "gallery"} <= set(content):
        about = content.get("about", "{}")
        try:
            about = about if isinstance(about, dict) else dict(json.loads(str(about)))
        except (ValueError, TypeError) as error:
            raise DataError(f"{path} is damaged: {error}", "write it again") from error
        known |= {name: about[name] for name in (*LABELS, *KNOWN) if name in about}
        check_flags(known.get("flags", ()))
        near = _compared(content["brain"], content["gallery"], about.get("space", "euclidean"))
        return near, rows, columns, known
    arrays = {
        name: array
        for name, array in content.items()
        if isinstance(array, np.ndarray) and array.ndim == 2 and array.dtype.kind in "fiu"
    }
    if key and key not in arrays:
        raise unknown_name(f"array of {path}", key, list(arrays))
    if not key and len(arrays) != 1:
        one = next(iter(arrays), "KEY")
        raise DataError(
            f"{path} holds {len(arrays)} arrays with two axes: {', '.join(arrays) or 'none'}",
            f"save similarities in one, and name it as {path}:{one}",
        )
    return arrays[key or next(iter(arrays))], rows, columns, known


def _read_table(path: Path) -> dict[str, Any]:
    """A table of similarities, with names in its first row and column or without any."""
    layout: dict[str, Any] = {"sep": "\t" if path.suffix.lower() == ".tsv" else ",", "header": None}
    layout |= {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig"}
    try:
        cells = pd.read_csv(path, **layout).to_numpy()
        try:
            cells[0].astype(float)
        except ValueError:  # names
            names = {"brain_ids": cells[1:, 0], "gallery_ids": cells[0, 1:]}
            return {"similarity": cells[1:, 1:].astype(float), **names}
        return {"similarity": cells.astype(float)}
    except FileNotFoundError as error:
        raise MissingDataError(f"no such file: {path}", "give an existing file") from error
    except ValueError as error:  # of pandas too
        raise DataError(
            f"{path} is no table of similarities: {' '.join(str(error).split())}",
            "keep one number for each pair, and names in the first row and column or nowhere",
        ) from error


# -- the embeddings of a run ---------------------------------------------------------------------------------


def labels_of_run(spec: RunSpec, summary: dict[str, Any]) -> dict[str, Any]:
    """What is known of the similarities of a run that was evaluated."""
    known = {name: summary[name] for name in (*LABELS, *KNOWN) if name in summary}
    return known | {"preset": preset_of(spec)}


def embeddings_writer(
    path: Path, spec: RunSpec, asked: Sequence[Evaluation]
) -> Callable[[Embeddings, dict[str, Any]], None]:
    """What writes the embeddings of a run, for :func:`braindecode_ssr.pipeline.evaluate_each`."""
    steps = [final_step(each.spec) for each in asked]
    if steps != [final_step(EvaluationSpec())] or path.suffix not in (".npz", ".safetensors"):
        raise UsageError(
            "--embeddings writes what one evaluation compares, before a correction or n-way, to a .npz or "
            ".safetensors file",
            "write for example --embeddings FILE.npz; `ssr-bd score FILE.npz --evaluation correction=csls` "
            "corrects it",
        )
    return lambda found, summary: write_embeddings(path, found, labels_of_run(spec, summary))


def write_embeddings(path: Path, found: Embeddings, labels: dict[str, Any]) -> None:
    """Write embeddings to ``.npz`` or ``.safetensors`` with the names of their images, for :func:`score`.

    Arrays ``brain`` (q, e) and ``gallery`` (g, e), lists ``brain_ids`` and ``gallery_ids``, and
    ``about``, a JSON text with the space and the labels.
    """
    arrays = {"brain": found.brain, "gallery": found.gallery}
    names = {"brain_ids": found.table["image_id"].tolist(), "gallery_ids": found.gallery_ids}
    about = json.dumps({"space": found.space, **labels})
    if path.suffix == ".safetensors":
        from safetensors.numpy import save

        texts = {name: json.dumps(ids) for name, ids in names.items()}
        atomic_write(path, save(arrays, {**texts, "about": about}), "--embeddings")
        return

    def write(part: Path) -> None:
        content: dict[str, Any] = {**arrays, "about": np.array(about)}
        content |= {name: np.array(ids, dtype=str) for name, ids in names.items()}
        with part.open("wb") as file:
            np.savez(file, **content)

    atomic_write(path, write, "--embeddings")
