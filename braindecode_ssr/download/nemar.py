"""BIDS recordings from NEMAR, by its own client nemar-py, which resumes and compares checksums itself."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from ..errors import DataError, MissingDataError
from ..files import writing
from .source import Source

INSTALL = "pip install 'nemar-py>=0.3.3'"


def bring_subject(source: Source, root: Path, url: str = "") -> None:
    """Bring the files of one subject, and those of all subjects, into the data set's folder.

    Parameters
    ----------
    source : Source
        ``nemar`` is the data set, ``place`` its folder and the subject, such as ``nm000232/sub-05``.
    root : Path
        The folder of our dataset.
    url : str
        Another address than NEMAR's.

    Raises
    ------
    MissingDataError
        If nemar-py is not installed.
    DataError
        If it says that a file cannot be had.
    """
    nemar = _client(source)
    target = root / source.place
    address = {"data_url": url} if url else {}
    with writing(target.parent, "--data-dir"):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            nemar.download(
                dataset=source.nemar, target_dir=target.parent, subject=target.name, **address
            )
        except (RuntimeError, ValueError) as error:
            raise DataError(
                f"{source.what} from NEMAR ({source.nemar})",
                " ".join(str(error).split())[:300],
                "run the same command again: files that are whole are kept",
            ) from error


def _client(source: Source) -> ModuleType:
    try:
        return importlib.import_module("nemar")
    except ImportError as error:
        raise MissingDataError(
            f"nemar-py, which brings {source.nemar} from NEMAR", "it is not installed", INSTALL
        ) from error
