"""Where the released forms of THINGS-EEG2 lie, and which of them to read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import MissingDataError, UsageError
from ..registry import unknown_name
from .things_bids import things_bids_subjects
from .things_layout import HOW, claim, numbered_folders, raw_subjects


@dataclass(frozen=True)
class ReleaseForm:
    """Where a released form lies.

    Parameters
    ----------
    folders : tuple of str
        Folders it goes by, the usual one first.
    train, test : str
        File names in the folder of a subject.
    """

    folders: tuple[str, ...]
    train: str
    test: str


_TRAINING, _TEST = "preprocessed_eeg_training.npy", "preprocessed_eeg_test.npy"
FORMS = {
    "gifford": ReleaseForm(("Preprocessed_data", "preprocessed_data"), _TRAINING, _TEST),
    "nice": ReleaseForm(("Preprocessed_data_250Hz",), _TRAINING, _TEST),
    "ubp": ReleaseForm(("Preprocessed_data_250Hz_whiten",), "train.pt", "test.pt"),
    "neurobridge": ReleaseForm(("preprocessed_eeg", "Preprocessed_eeg"), "train.npy", "test.npy"),
}
RELEASES = ("raw", "bids", *FORMS)


def find_release(root: Path, subject: int, release: str) -> str:
    """The form to read: ``"raw"``, ``"bids"`` or a key of :data:`FORMS`.

    ``"auto"`` is raw where it is here, else the one released form that is, else BIDS.

    Raises
    ------
    UsageError
        If the name is not known, or ``"auto"`` finds several forms and no raw files.
    """
    known = {name.replace("-", ""): name for name in RELEASES}
    if release != "auto":
        if release.lower().replace("-", "") not in known:
            raise unknown_name("released form", release, ["auto", *RELEASES])
        return known[release.lower().replace("-", "")]
    here = [name for name in FORMS if subject in release_folders(root, name)]
    if subject in raw_subjects(root):
        return "raw"
    if not here:
        return "bids" if subject in things_bids_subjects(root) else "raw"
    if len(here) > 1:
        raise UsageError(
            f"raw files or one released form of subject {subject} in {root}",
            f"the forms {', '.join(here)}",
            f"choose one with --set trials.release={here[0]}",
        )
    return here[0]


def release_files(form: str, root: Path, subject: int) -> list[Path]:
    """The files of a subject: training, test, and what else the form needs.

    Raises
    ------
    MissingDataError
        Naming every file that is not here.
    """
    kind = FORMS[form]
    usual = root / kind.folders[0] / f"sub-{subject:02d}"
    folder = release_folders(root, form).get(subject, usual)
    files = [folder / kind.train, folder / kind.test]
    if form == "neurobridge":
        own = folder / "info.json"
        files.append(own if own.is_file() else folder.parent / "info.json")
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise MissingDataError(
            f"the files of subject {subject} in the form {form!r}",
            f"nothing at {', '.join(map(str, missing))}",
            f"put them there; {HOW}",
        )
    return files


def release_folders(root: Path, form: str) -> dict[int, Path]:
    """The folders of subjects with files of a form, by number."""
    kind = FORMS[form]
    found: dict[int, Path] = {}
    for name in kind.folders:
        for number, folder in numbered_folders(root / name, "sub").items():
            if (folder / kind.train).is_file() or (folder / kind.test).is_file():
                claim(found, number, folder)
    return found
