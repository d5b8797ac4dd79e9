"""What can be fetched of a dataset: the forms it comes in, and the sources that make up each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..download.source import Source
from ..errors import UsageError
from ..labels import Label, find_label
from ..registry import Registry, unknown_name

OFFERS = Registry(
    "fetchable dataset",
    {
        "things-eeg": "braindecode_ssr.datasets.things_eeg_offer:OFFER",
        "things-meg": "braindecode_ssr.datasets.things_meg_sources:OFFER",
    },
)


def _nothing(*args: object) -> tuple[Source, ...]:
    return ()


@dataclass(frozen=True)
class Form:
    """A form in which a dataset can be had.

    Parameters
    ----------
    text : str
        What it is, in a line.
    common : callable
        From the folder of the dataset to what all subjects need.
    of_subject : callable
        From the folder and a subject to what that subject needs.
    by_subject : bool
        Whether there is anything to choose subjects of.
    """

    text: str
    common: Callable[[Path], tuple[Source, ...]] = _nothing
    of_subject: Callable[[Path, int], tuple[Source, ...]] = _nothing
    by_subject: bool = True


@dataclass(frozen=True)
class Offer:
    """What can be fetched of a dataset.

    Parameters
    ----------
    subjects : tuple of int
        The published subjects.
    forms : dict of str to Form
        By name, the shortest road first.
    elsewhere : dict of str to str
        Forms that are read but not fetched, and where they are.
    """

    subjects: tuple[int, ...]
    forms: dict[str, Form]
    elsewhere: dict[str, str] = field(default_factory=dict)

    def form(self, name: str | None) -> str:
        """The name of a form, by default the first.

        Raises
        ------
        UsageError
            If there is none of that name, or it is not fetched.
        """
        name = (name or next(iter(self.forms))).lower()
        if name in self.elsewhere:
            raise UsageError(
                f"a form that is fetched: {', '.join(self.forms)}",
                f"{name!r}, an unofficial copy",
                f"bring it yourself from {self.elsewhere[name]}; it is read where `ssr-bd data where` says",
            )
        if name not in self.forms:
            raise unknown_name("form to fetch", name, list(self.forms))
        return name

    def sources(self, name: str, root: Path, subjects: Iterable[Label] = ()) -> tuple[Source, ...]:
        """What makes up a form, in the order in which it is fetched.

        Parameters
        ----------
        name : str
            A form.
        root : Path
            The folder of the dataset: what lies there under another of its public names keeps it.
        subjects : iterable of int
            Whose recordings.

        Raises
        ------
        UsageError
            If a subject is not among the published, or none is given where there must be.
        """
        form = self.forms[name]
        subjects = tuple(find_label(subject, self.subjects, name) for subject in subjects)
        if not form.by_subject:
            return form.common(root)
        if not subjects:
            raise UsageError(
                f"whose recordings of the form {name!r}",
                "no subject",
                "add --subject 5, 1,3 or all",
            )
        own = (source for subject in subjects for source in form.of_subject(root, subject))
        return (*form.common(root), *own)
