"""A download that is not whole yet: the bytes so far, and what they are a part of."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..files import sync


class Part:
    """``<file>.part`` beside the file to be, and ``<file>.part.json`` with where it comes from.

    Parameters
    ----------
    target : Path
        The file to be.
    """

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(target.name + ".part")
        self._note = target.with_name(target.name + ".part.json")

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def note(self) -> dict[str, Any]:
        """``url, validator, total`` of the answer that the bytes come from; empty where that is not known."""
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    def begin(self, url: str, validator: str, total: int) -> None:
        """Start from nothing, and note what the bytes to come are a part of."""
        self.discard()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        note = {"url": url, "validator": validator, "total": total}
        self._note.write_text(json.dumps(note), encoding="utf-8")

    def discard(self) -> None:
        """Forget the bytes."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def publish(self, target: Path) -> None:
        """Give the file its name."""
        sync(self.path)
        os.replace(self.path, target)
        sync(target.parent)
        self._note.unlink(missing_ok=True)
