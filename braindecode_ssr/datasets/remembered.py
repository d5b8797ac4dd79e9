"""Numbers that take seconds to compute and never change: asked once, then read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def remembered(path: Path, compute: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Numbers out of a file, or computed and kept there for the next time.

    A file that cannot be read as numbers is written anew; where it cannot be written, the numbers are
    computed each time.

    Parameters
    ----------
    path : Path
        JSON file; its name says all that the numbers depend on.
    compute : callable
        Makes them.

    Returns
    -------
    dict of str to float
    """
    with suppress(OSError, ValueError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(kept, dict) and all(isinstance(value, float) for value in kept.values()):
            return kept
    numbers = compute()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            part.write_text(json.dumps(numbers), encoding="utf-8")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    return numbers
