"""What a method file holds."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ..config import Spec, merge

BACK_OF_THE_HEAD = {
    f"{dataset}/inter": {"data": {"channels": "occipital-17"}}
    for dataset in ("things-eeg", "things-sim")
}
"""For ``settings_of``: 17 channels in inter-subject runs too, where the default is all."""

BACKBONE_BY_PROTOCOL = {
    "intra": {"model": {"backbone": "EEGProject"}},
    "inter": {"model": {"backbone": "TSConv"}},
}
"""For ``settings_of``: NeuroBridge's choice, which is the default of a run, too."""

IMAGE_AND_TEXT = {
    "regime": "raw-learned",
    "brain_original": 0.99,
    "brain_view": 0.01,
    "view_original": 0.0,
}
"""For loss ``triple``: ATM's contrast with images, and a little with sentences, the view ``text``."""


class AsPublished(Spec):
    """How the authors of a method evaluated it, where that is not the default evaluation.

    Parameters
    ----------
    settings : dict
        Nested settings laid over those of the run.
    evaluation : dict
        Fields of :class:`~braindecode_ssr.config.EvaluationSpec`.
    flags : tuple of str
        What a reader of the number must know, in the words of ``FLAGS`` of
        :mod:`braindecode_ssr.retrieval.evaluations`: ``"test-selection"``, ``"altered-gallery"``,
        ``"class-templates"``, ``"transductive"``.
    """

    settings: dict[str, Any] = Field(default_factory=dict)
    evaluation: dict[str, Any] = Field(default_factory=dict)
    flags: tuple[str, ...] = ()


class Method(Spec):
    """A recipe: what differs from the defaults of a run, and where it comes from.

    Parameters
    ----------
    name, title : str
        Registered name, and the name in tables.
    year : int
        Of publication.
    venue : str
        Where it was published, as in tables: ``"CVPR'25"``; empty if it was not.
    source : str
        Citation with a link where there is one.
    views : tuple of str
        Views pooled into the augmented feature; empty if the method uses originals only.
    encoder : str
        The published image encoder, used where its features are there; else the dataset's default is.
    batch_size : int, optional
        The published one; smaller where there are few trials.
    batch_size_of : dict of str to int
        Another one for a protocol, a dataset or both, keyed as ``settings_of``.
    seeds : int, optional
        Number of seeds behind the published numbers.
    settings : dict
        Nested settings laid over the defaults of :class:`~braindecode_ssr.config.RunSpec`.
    settings_of : dict
        More of them for a protocol (``"inter"``), a dataset (``"things-meg"``) or both
        (``"things-meg/inter"``); the narrower wins.
    parameters : dict
        Trained parameters of the model as it is built here, loss left out, per dataset and protocol.
    published : dict
        Mean top-1 and top-5 in percent per dataset and protocol, as published.
    published_subjects : dict
        The same of each subject: dataset, protocol, ``"top1"`` or ``"top5"``, in the order of subjects.
    as_published : AsPublished
        How those numbers were evaluated.
    traps : tuple of str
        What the public code does and this does not copy.
    needs : tuple of str
        Features that must be there, such as ``"text"``.
    known_to_differ : tuple of str
        Where the default run differs from the published one.
    """

    name: str
    title: str
    year: int
    source: str
    venue: str = ""
    views: tuple[str, ...] = ()
    encoder: str = ""
    batch_size: int | None = None
    batch_size_of: dict[str, int] = Field(default_factory=dict)
    seeds: int | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    settings_of: dict[str, dict[str, Any]] = Field(default_factory=dict)
    parameters: dict[str, dict[str, int]] = Field(default_factory=dict)
    published: dict[str, dict[str, tuple[float, float]]] = Field(default_factory=dict)
    published_subjects: dict[str, dict[str, dict[str, tuple[float, ...]]]] = Field(
        default_factory=dict
    )
    as_published: AsPublished = AsPublished()
    traps: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    known_to_differ: tuple[str, ...] = ()

    def settings_for(self, dataset: str, protocol: str) -> dict[str, Any]:
        """The nested settings of this method on a dataset, in a protocol."""
        narrower = _narrower(dataset, protocol)
        return merge(self.settings, *(self.settings_of.get(key, {}) for key in narrower))

    def batch_size_for(self, dataset: str, protocol: str) -> int | None:
        """The published batch on a dataset, in a protocol."""
        found = (self.batch_size_of.get(key) for key in reversed(_narrower(dataset, protocol)))
        return next(filter(None, found), self.batch_size)


def _narrower(dataset: str, protocol: str) -> tuple[str, str, str]:
    """The keys of what belongs to a protocol or dataset only, from wide to narrow."""
    return protocol, dataset, f"{dataset}/{protocol}"
