"""Published recipes, one TOML file each: data, not code."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field

from ..config import Spec, merge
from ..registry import Registry


class AsPublished(Spec):
    """How a method was evaluated in its publication, where that is not the default.

    ``settings`` and ``evaluation`` override those of the run; ``flags``, in the words of ``FLAGS`` of
    :mod:`braindecode_ssr.retrieval.ranks`, are what a reader of the number must know.
    """

    settings: dict[str, Any] = Field(default_factory=dict)
    evaluation: dict[str, Any] = Field(default_factory=dict)
    flags: tuple[str, ...] = ()


class Method(Spec):
    """A recipe: what differs from the defaults of a run, and where it comes from.

    Only name, title, year and source are required.
    """

    name: str
    """Registered name: that of the file in this folder."""
    title: str
    """Name in tables."""
    year: int
    """Year of publication."""
    source: str
    """Citation, with a link where there is one."""
    venue: str = ""
    """Where it was published, as in tables: ``"CVPR'25"``; empty if it was not."""
    views: tuple[str, ...] = ()
    """Views pooled into the augmented feature; empty if the method uses originals only."""
    encoder: str = ""
    """The published image encoder, used if its features are available; otherwise the dataset's default."""
    batch_size: int | None = None
    """The published one; a run with few trials uses a smaller one."""
    batch_size_of: dict[str, int] = Field(default_factory=dict)
    """Other batch sizes for a protocol, a dataset or both, with keys as in ``settings_of``."""
    seeds: int | None = None
    """Number of seeds behind the published numbers."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Nested settings that override the defaults of :class:`~braindecode_ssr.config.RunSpec`."""
    settings_of: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """More of them for a protocol (``"inter"``), a dataset (``"things-meg"``) or both
    (``"things-meg/inter"``); the more specific ones win. Those for ``inter`` hold for ``pooled`` too."""
    parameters: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Trained parameters of the model as it is built here, without the loss, per dataset and protocol; a test
    counts those that are given."""
    published: dict[str, dict[str, tuple[float, float]]] = Field(default_factory=dict)
    """Mean top-1 and top-5 in percent per dataset and protocol, as published."""
    published_subjects: dict[str, dict[str, dict[str, tuple[float, ...]]]] = Field(
        default_factory=dict
    )
    """The same for each subject: dataset, protocol, ``"top1"`` or ``"top5"``, in the order of subjects."""
    as_published: AsPublished = AsPublished()
    """How those numbers were obtained."""
    traps: tuple[str, ...] = ()
    """What the public code does and this implementation does not copy."""
    needs: tuple[str, ...] = ()
    """Features that must be available, such as ``"text"``."""
    known_to_differ: tuple[str, ...] = ()
    """Where the default run differs from the published one."""

    def settings_for(self, dataset: str, protocol: str) -> dict[str, Any]:
        """The nested settings of this method for a dataset and a protocol."""
        keys = _from_general_to_specific(dataset, protocol)
        return merge(self.settings, *(self.settings_of.get(key, {}) for key in keys))

    def batch_size_for(self, dataset: str, protocol: str) -> int | None:
        """The published batch size for a dataset and a protocol."""
        keys = _from_general_to_specific(dataset, protocol)
        found = (self.batch_size_of.get(key) for key in reversed(keys))
        return next(filter(None, found), self.batch_size)


def _from_general_to_specific(dataset: str, protocol: str) -> list[str]:
    names = ["inter", "pooled"] if protocol == "pooled" else [protocol]
    return [*names, dataset, *(f"{dataset}/{name}" for name in names)]


@cache
def read_method(file: Path) -> Method:
    return Method(name=file.stem, **tomllib.loads(file.read_text(encoding="utf-8")))


_FILES = {file.stem: file for file in sorted(Path(__file__).parent.glob("*.toml"))}

METHODS = Registry("method", {name: f"{__name__}:{name}" for name in _FILES})


def __getattr__(name: str) -> Method:
    """A method by its name, read from its file."""
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return read_method(_FILES[name])
