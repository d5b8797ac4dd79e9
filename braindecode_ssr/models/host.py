"""The import of braindecode, without what it makes MNE say about montage names."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_import() -> Iterator[None]:
    """Silence MNE's FutureWarning about the montages that braindecode asks for when imported.

    Some of braindecode's modules ask for ``standard_1020`` and ``standard_1005`` by names that
    MNE 1.13 calls deprecated; users of a model can do nothing about it.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Montage name", FutureWarning)
        yield
