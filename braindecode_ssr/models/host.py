"""The import of braindecode, without what it makes MNE say about montage names."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_import() -> Iterator[None]:
    """Silence what MNE warns of, and at times logs to stdout, when braindecode is imported.

    Some of braindecode's modules ask for ``standard_1020`` and ``standard_1005`` by names that
    MNE 1.13 calls deprecated; users of a model can do nothing about it.
    """
    logger = logging.getLogger("mne")
    logger.addFilter(_is_other)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Montage name", FutureWarning)
            yield
    finally:
        logger.removeFilter(_is_other)


def _is_other(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Montage name")
