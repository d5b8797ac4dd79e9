"""What there is to choose from, as rows."""

from __future__ import annotations

from typing import Any

from .registry import Registry


def catalogue(kind: str) -> list[dict[str, Any]]:
    """The registered parts of a kind, one row each, ``name`` first.

    Parameters
    ----------
    kind : {"datasets", "methods", "backbones", "losses", "encoders", "views"}
    """
    if kind == "methods":
        return _methods()
    if kind == "backbones":
        return _backbones()
    registry = _registry(kind)
    return [{"name": name, "description": _first_line(registry[name])} for name in registry]


def _registry(kind: str) -> Registry:
    from .datasets import DATASETS
    from .images.encoders import ENCODERS
    from .images.views import VIEWS
    from .losses import LOSSES

    return {"datasets": DATASETS, "encoders": ENCODERS, "views": VIEWS, "losses": LOSSES}[kind]


def _methods() -> list[dict[str, Any]]:
    from .methods import METHODS

    rows = []
    for name in METHODS:
        method = METHODS[name]
        loss = method.settings.get("loss", {}).get("name", "ssr")
        views = "+".join(method.views) or "originals only"
        row = {"name": name, "title": method.title, "year": method.year, "loss": loss}
        rest = {"published": method.published, "known_to_differ": list(method.known_to_differ)}
        rows.append({**row, "views": views, "source": method.source, **rest})
    return rows


def _backbones() -> list[dict[str, Any]]:
    """The measured table, and below it what other packages have brought."""
    from .models import BACKBONES
    from .models.backbone_table import COLUMNS, backbone_rows

    rows = [dict(row) for row in backbone_rows()]
    known = {row["name"] for row in rows}
    unmeasured = dict.fromkeys(COLUMNS) | {"origin": "another package", "reason": "not measured"}
    return rows + [{**unmeasured, "name": name} for name in BACKBONES if name not in known]


def _first_line(part: Any) -> str:
    text = (part.__doc__ or "").strip()
    return text.splitlines()[0] if text else ""
