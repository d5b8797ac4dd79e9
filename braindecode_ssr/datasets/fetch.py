"""Which files make up a dataset, which of them are missing, and downloading those."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..config import DataSpec
from ..errors import UsageError
from ..files import check_free
from ..registry import Label, Registry, find_label, unknown_name
from . import DATASETS, open_dataset
from .download import (
    HERE,
    OTHER,
    PACKED,
    Downloader,
    Source,
    Status,
    download,
    local_status,
    open_mirror,
    wrong_file,
)

DOWNLOADS = Registry(
    "dataset to download",
    {
        "things-eeg": "braindecode_ssr.datasets.things_eeg.dataset:DOWNLOADS",
        "things-eeg-sample": "braindecode_ssr.datasets.things_eeg.sample:DOWNLOADS",
        "things-meg": "braindecode_ssr.datasets.things_meg.files:DOWNLOADS",
    },
)
ASK_ABOVE = 1_000_000_000
"""Bytes beyond which nothing is downloaded before the user has agreed."""


@dataclass(frozen=True)
class Form:
    """A form in which a dataset is published, such as raw or preprocessed."""

    text: str  # description in a line
    common: Callable[[Path], tuple[Source, ...]] = lambda root: ()  # what all subjects need
    of_subject: Callable[[Path, int], tuple[Source, ...]] | None = (
        None  # None: there are no subjects
    )


@dataclass(frozen=True)
class Downloads:
    """What can be downloaded of a dataset."""

    subjects: tuple[int, ...]  # those published
    forms: dict[str, Form]  # by name, the smallest download first
    elsewhere: dict[str, str] = field(default_factory=dict)  # read, but the user gets them there

    def form(self, name: str | None) -> str:
        """The name of a form, by default the first; UsageError if it cannot be downloaded."""
        name = (name or next(iter(self.forms))).lower()
        if name in self.elsewhere:
            raise UsageError(
                f"the form {name!r} is an unofficial copy and is not downloaded",
                f"get it from {self.elsewhere[name]} and put it where `ssr-bd data where` says, or choose "
                f"one of {', '.join(self.forms)}",
            )
        if name not in self.forms:
            raise unknown_name("form to download", name, list(self.forms))
        return name

    def sources(self, name: str, root: Path, subjects: tuple[int, ...] = ()) -> tuple[Source, ...]:
        """The sources of a form, in the order in which they are downloaded.

        Files that ``root``, the folder of the dataset, holds under another public name keep that name.
        UsageError if the form needs subjects and none is given.
        """
        form, of_subject = self.forms[name], self.forms[name].of_subject
        if of_subject is None:
            return form.common(root)
        if not subjects:
            found = f"say which subjects to download of the form {name!r}"
            raise UsageError(found, "add --subject 5, 1,3 or all")
        own = (source for subject in subjects for source in of_subject(root, subject))
        return (*form.common(root), *own)


@dataclass(frozen=True)
class DownloadPlan:
    """The sources of one form of a dataset, and what of them is on the disk."""

    dataset: str
    root: Path
    form: str
    subjects: tuple[int, ...]
    sources: tuple[Source, ...]
    status: tuple[Status, ...]

    @property
    def _pairs(self) -> list[tuple[Source, Status]]:
        return list(zip(self.sources, self.status, strict=True))

    @property
    def missing(self) -> list[Source]:
        """Sources that are not there, or only as an archive."""
        return [source for source, found in self._pairs if found.state != HERE]

    @property
    def bytes(self) -> int:
        """Bytes to download, approximate where sizes are not published."""
        needed = [pair for pair in self._pairs if pair[1].state not in (HERE, PACKED)]
        return sum(max(0, source.bytes - found.have) for source, found in needed)

    @property
    def room(self) -> int:
        """Bytes of disk needed at the peak: an archive is deleted after it is unpacked."""
        return _room(self.missing)

    @property
    def password(self) -> str:
        """Where the user finds the password that is needed; empty if none is."""
        return next((source.archive.password for source in self.missing if source.archive), "")

    def rows(self) -> list[dict[str, Any]]:
        """One row per source: ``what, state, bytes, have, path, url, licence, proof`` and more."""
        return [_row(source, found, self.root) for source, found in self._pairs]


def plan_download(
    name: str,
    data_dir: str | Path | None = None,
    *,
    form: str | None = None,
    subjects: Iterable[Label] | None = None,
) -> DownloadPlan:
    """Find out what is missing, without using the network.

    Parameters
    ----------
    name : str
        A dataset.
    data_dir : path-like, optional
        Its folder; by default where it is looked for.
    form : str, optional
        One of its forms; by default the smallest download.
    subjects : iterable of int, optional
        Empty for all; None for a form without subjects.

    Raises
    ------
    UsageError
        If there is no such dataset, form or subject, or the dataset is simulated.
    """
    name = DATASETS.name_of(name)
    if name not in DOWNLOADS:
        raise UsageError(
            f"{name!r} cannot be downloaded with this command",
            f"see `ssr-bd data where {name}`; these can: {', '.join(DOWNLOADS)}",
        )
    downloads: Downloads = DOWNLOADS[name]
    form = downloads.form(form)
    asked = (int(find_label(subject, downloads.subjects, name)) for subject in subjects or ())
    chosen = () if subjects is None else tuple(dict.fromkeys(asked)) or downloads.subjects
    root = open_dataset(DataSpec(dataset=name), data_dir).root
    sources = downloads.sources(form, root, chosen)
    status = tuple(local_status(source, root) for source in sources)
    return DownloadPlan(name, root, form, chosen, sources, status)


def run_download(
    plan: DownloadPlan,
    downloader: Downloader,
    *,
    mirror: str | None = None,
    password: str = "",
    replace_others: bool = False,
) -> list[dict[str, Any]]:
    """Download what is missing, one source after the other.

    Parameters
    ----------
    mirror : str, optional
        A web folder with the files under the names they have below the folder of the dataset.
    password : str
        Of the THINGS images.
    replace_others : bool
        Replace files that are not the published ones.

    Returns
    -------
    list of dict
        As :meth:`DownloadPlan.rows`, with the ``state`` ``"here"`` or ``"fetched"``.

    Raises
    ------
    DataError
        At the first source that fails; those before it are in their places.
    """
    if not mirror and not replace_others:  # before hours of downloads, not after
        for source, found in zip(plan.sources, plan.status, strict=True):
            if found.state == OTHER:
                raise wrong_file(source, plan.root, found)
    place = open_mirror(mirror, downloader).source if mirror else lambda source: source
    missing = list(map(place, plan.missing))
    check_free(plan.root, _room(missing), f"the download of {len(missing)} files")
    downloads, rows = DOWNLOADS[plan.dataset], []
    options: dict[str, Any] = {"password": password, "replace_others": replace_others}
    for index, found in enumerate(plan.status):
        # asked again: once the image list is there, it says what the archives must hold
        source = place(downloads.sources(plan.form, plan.root, plan.subjects)[index])
        done = found.state == HERE and not mirror
        came_from = "" if done else download(source, plan.root, downloader, **options)
        source = replace(source, urls=(came_from,)) if came_from else source
        rows.append(_row(source, Status("fetched" if came_from else HERE), plan.root))
    return rows


def downloadable_forms(name: str, root: Path) -> list[dict[str, Any]]:
    """A row for each form in which a dataset can be downloaded, the smallest first; empty if it cannot be.

    ``subject_bytes`` and ``exact`` are of the first subject, ``sources`` of all.
    """
    if name not in DOWNLOADS:
        return []
    downloads, rows = DOWNLOADS[name], []
    for key, form in downloads.forms.items():
        common = form.common(root)
        of_subject = form.of_subject or (lambda root, subject: ())
        own = [of_subject(root, subject) for subject in downloads.subjects]
        rows.append(
            {
                "form": key,
                "text": form.text,
                "common_bytes": sum(source.bytes for source in common),
                "subject_bytes": sum(source.bytes for source in own[0]),
                "exact": all(source.size for source in (*common, *own[0])),
                "licences": sorted({source.licence for source in (*common, *own[0])}),
                "sources": [_row(s, Status(""), root) for s in (*common, *sum(own, ()))],
            }
        )
    return rows


def _room(sources: list[Source]) -> int:
    peak = kept = 0
    for source in sources:
        peak = max(peak, kept + source.bytes + (source.on_disk if source.archive else 0))
        kept += source.on_disk
    return peak


def _row(source: Source, found: Status, root: Path) -> dict[str, Any]:
    return {
        "what": source.what,
        **({"state": found.state} if found.state else {}),
        **({"detail": found.detail} if found.detail else {}),
        "bytes": source.bytes,
        "have": found.have,
        "exact": bool(source.size),
        "path": str(root / source.place),
        "url": source.url,
        "licence": source.licence,
        "proof": source.proof,
        "sha256": source.sha256,
    }
