"""Bring a dataset: what is here is left alone, what is missing is fetched, verified and put in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .config import DataSpec
from .datasets import DATASETS
from .datasets.download import (
    HERE,
    OFFERS,
    OTHER,
    PACKED,
    Carrier,
    Look,
    Mirror,
    Offer,
    Source,
    bring,
    look,
    open_mirror,
    other_there,
)
from .errors import UsageError
from .files import check_free
from .labels import Label, find_label
from .registry import unknown_name
from .resolve import open_dataset

ASK_ABOVE = 1_000_000_000
"""Bytes beyond which nothing is fetched without the user's word."""


@dataclass(frozen=True)
class Errand:
    """What is to be fetched.

    Parameters
    ----------
    dataset : str
        Its name.
    root : Path
        Its folder.
    form : str
        One of the forms of its offer.
    subjects : tuple of int
        Whose recordings.
    sources : tuple of Source
        What makes up the form, in order.
    looks : tuple of Look
        What is in the place of each.
    """

    dataset: str
    root: Path
    form: str
    subjects: tuple[int, ...]
    sources: tuple[Source, ...]
    looks: tuple[Look, ...]

    @property
    def missing(self) -> list[Source]:
        """Those that are not here, or only packed."""
        return [s for s, seen in zip(self.sources, self.looks, strict=True) if seen.state != HERE]

    @property
    def bytes(self) -> int:
        """Bytes to download, as well as they are known."""
        pairs = zip(self.sources, self.looks, strict=True)
        return sum(
            max(0, s.bytes - seen.have) for s, seen in pairs if seen.state not in (HERE, PACKED)
        )

    @property
    def room(self) -> int:
        """Bytes of disk at the moment when most are needed: an archive is removed once it is unpacked."""
        return _room(self.missing)

    @property
    def password(self) -> str:
        """Where the password is told that is needed; empty if none is."""
        return next((s.archive.password for s in self.missing if s.archive), "")

    def rows(self) -> list[dict[str, Any]]:
        """One row per source: ``what, state, bytes, have, path, url, licence, proof`` and more."""
        return [
            _row(source, seen, self.root)
            for source, seen in zip(self.sources, self.looks, strict=True)
        ]


def errand(
    name: str,
    data_dir: str | Path | None = None,
    *,
    form: str | None = None,
    subjects: Iterable[Label] | None = None,
) -> Errand:
    """Look what there is to do; nothing is asked of the network.

    Parameters
    ----------
    name : str
        A dataset.
    data_dir : path-like, optional
        Its folder; by default where it is looked for.
    form : str, optional
        One of its forms; by default the shortest road.
    subjects : iterable of int, optional
        Empty for all; None where the form has none to choose.

    Raises
    ------
    UsageError
        If there is no such dataset, form or subject, or the dataset is simulated.
    """
    name = DATASETS.name_of(name)
    if name not in OFFERS:
        raise UsageError(
            f"a dataset that can be fetched: {', '.join(OFFERS)}",
            repr(name),
            f"nothing to fetch: see `ssr-bd data where {name}`",
        )
    offer: Offer = OFFERS[name]
    form = offer.form(form)
    asked = (find_label(subject, offer.subjects, name) for subject in subjects or ())
    chosen = () if subjects is None else tuple(dict.fromkeys(asked)) or offer.subjects
    root = open_dataset(DataSpec(dataset=name), data_dir).root
    sources = offer.sources(form, root, chosen)
    looks = tuple(look(source, root) for source in sources)
    return Errand(name, root, form, chosen, sources, looks)


def run_errand(
    todo: Errand,
    carrier: Carrier,
    *,
    mirror: str | None = None,
    password: str = "",
    replace_others: bool = False,
) -> list[dict[str, Any]]:
    """Fetch what is missing, one source after the other.

    Parameters
    ----------
    todo : Errand
        What to do.
    carrier : Carrier
        Who does it.
    mirror : str, optional
        Another place that holds the files under the names they have below the folder of the dataset.
    password : str
        Of the THINGS images.
    replace_others : bool
        Replace files that are there and are not the published ones.

    Returns
    -------
    list of dict
        As :meth:`Errand.rows`, ``state`` being ``"here"`` or ``"fetched"``.

    Raises
    ------
    DataError
        At the first source that cannot be had; what came before is in its place.
    """
    if not mirror and not replace_others:
        _nothing_else_there(todo)
    place = open_mirror(mirror, carrier) if mirror else None
    missing = [_at(source, place) for source in todo.missing]
    check_free(todo.root, _room(missing), f"the {len(missing)} downloads")
    rows = []
    for index, seen in enumerate(todo.looks):
        source, came = _at(_known_now(todo, index), place), ""
        if seen.state != HERE or place:
            came = bring(
                source, todo.root, carrier, password=password, replace_others=replace_others
            )
        state = Look("fetched" if came else HERE)
        rows.append(_row(replace(source, urls=(came,)) if came else source, state, todo.root))
    return rows


def offered(name: str, root: Path) -> list[dict[str, Any]]:
    """The forms in which a dataset can be fetched, the shortest road first; nothing is looked at.

    Returns
    -------
    list of dict
        ``form``, ``text``, ``common_bytes``, ``subject_bytes`` (of the first subject), ``licences`` and the
        ``sources`` of all subjects; empty for a dataset that needs none.
    """
    if name not in OFFERS:
        return []
    offer: Offer = OFFERS[name]
    rows = []
    for key, form in offer.forms.items():
        common = form.common(root)
        own = [form.of_subject(root, subject) for subject in offer.subjects]
        rows.append(
            {
                "form": key,
                "text": form.text,
                "common_bytes": sum(source.bytes for source in common),
                "subject_bytes": sum(source.bytes for source in own[0]),
                "exact": all(s.size for s in (*common, *own[0])),
                "licences": sorted({s.licence for s in (*common, *own[0])}),
                "sources": [_row(s, Look(""), root) for s in (*common, *sum(own, ()))],
            }
        )
    return rows


def _room(sources: list[Source]) -> int:
    most = kept = 0
    for source in sources:
        most = max(most, kept + source.bytes + (source.on_disk if source.archive else 0))
        kept += source.on_disk
    return most


def _nothing_else_there(todo: Errand) -> None:
    """Say so before an hour of downloads where the last one could not be put in its place."""
    for source, seen in zip(todo.sources, todo.looks, strict=True):
        if seen.state == OTHER:
            raise other_there(source, todo.root, seen)


def _known_now(todo: Errand, index: int) -> Source:
    """A source again: once the image list is here, it says what the archives must hold."""
    offer: Offer = OFFERS[todo.dataset]
    return offer.sources(todo.form, todo.root, todo.subjects)[index]


def _at(source: Source, mirror: Mirror | None) -> Source:
    return mirror.source(source) if mirror else source


def _row(source: Source, seen: Look, root: Path) -> dict[str, Any]:
    known = {"state": seen.state} if seen.state else {}
    return {
        "what": source.what,
        **known,
        **({"detail": seen.detail} if seen.detail else {}),
        "bytes": source.bytes,
        "have": seen.have,
        "exact": bool(source.size),
        "path": str(root / source.place),
        "url": source.url,
        "licence": source.licence,
        "proof": source.proof,
        "sha256": source.sha256,
    }


LAYOUTS = {"raw": "things-eeg", "meg": "things-meg"}
"""Published layouts that can be written, and the dataset that reads each."""


def simulate(
    name: str,
    out: str | Path,
    *,
    layout: str = "raw",
    preset: str = "small",
    subjects: tuple[int, ...] = (),
    seed: int = 0,
    progress: bool = False,
    say: Callable[[str], object] = lambda text: None,
) -> dict[str, Any]:
    """Write recordings, images and image features of a simulated dataset.

    Files are laid out as THINGS-EEG2 or THINGS-MEG is published. The features of the simulator's own encoder
    are stored where ``things-eeg`` or ``things-meg`` stores its features, so that training needs no network.

    Parameters
    ----------
    name : str
        A simulated dataset.
    out : path-like
        The folder that becomes a dataset.
    layout : {"raw", "meg"}
        The raw recordings of THINGS-EEG2, or the epochs of THINGS-MEG: another experiment with the same
        concepts.
    preset, seed
        As in :class:`braindecode_ssr.config.DataSpec`.
    subjects : tuple of int
        The subjects to write; empty for all.

    Returns
    -------
    dict
        ``out``, the ``dataset`` that reads it, ``subjects``, ``recordings`` written, ``images``, ``encoder``.

    Raises
    ------
    UsageError
        If there is no such dataset, layout, preset or subject, or the folder holds another dataset.
    DataError
        If a file cannot be written.
    """
    from .images.features import image_features
    from .methods import METHODS

    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, list(LAYOUTS))
    dataset: Any = open_dataset(DataSpec(dataset=name, preset=preset, seed=seed), out)
    if not hasattr(dataset, "preset"):
        raise UsageError(f"{name!r} is not a simulated dataset", "use things-sim")
    chosen = tuple(map(dataset.check_subject, subjects))
    if layout == "raw":
        from .simulation.layout import write_raw

        chosen = chosen or dataset.subjects
        say(f"writing {len(dataset.images)} images and {len(chosen)} subjects to {out}")
        files = write_raw(dataset, chosen, out)
    else:
        from .simulation.meg import write_meg

        say(f"writing images and trials to {out}")
        files = write_meg(dataset, chosen, Path(out), say)
    recordings = [f for f in files if f.suffix == ".fif" or f.parent.name.startswith("ses-")]
    written = DATASETS[LAYOUTS[layout]](out)
    say(f"encoding the images with {dataset.default_encoder}")
    features = image_features(written, dataset.default_encoder, METHODS["ssr"].views)
    features.complete(written, device="cpu", progress=progress)
    return {
        "out": str(out),
        "dataset": written.name,
        "subjects": list(chosen or written.present_subjects),
        "recordings": len(recordings),
        "images": len(written.images),
        "encoder": dataset.default_encoder,
    }
