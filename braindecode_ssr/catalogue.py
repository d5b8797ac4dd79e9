"""What there is to choose from, as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .registry import Registry

if TYPE_CHECKING:
    from .methods.base import Method

PROTOCOLS = ("intra", "inter")
TOLD_AS_IT_IS = {
    "parameters",
    "seeds",
    "needs",
    "published",
    "published_subjects",
    "as_published",
    "traps",
    "known_to_differ",
}


def catalogue(kind: str) -> list[dict[str, Any]]:
    """The registered parts of a kind, one row each, ``name`` first.

    Parameters
    ----------
    kind : {"datasets", "methods", "backbones", "image-heads", "losses", "encoders", "views"}
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
    from .models import IMAGE_HEADS

    registries = {"datasets": DATASETS, "encoders": ENCODERS, "views": VIEWS, "losses": LOSSES}
    return {**registries, "image-heads": IMAGE_HEADS}[kind]


def _methods() -> list[dict[str, Any]]:
    from .methods import METHODS

    return [_method_row(METHODS[name]) for name in METHODS]


def _method_row(method: Method) -> dict[str, Any]:
    """What a method is, as it runs on THINGS-EEG, and what was published."""
    recipes = {protocol: method.settings_for("things-eeg", protocol) for protocol in PROTOCOLS}
    solver = recipes["intra"].get("train", {}).get("solver")
    published = method.model_dump(mode="json", include=TOLD_AS_IT_IS)
    return {
        "name": method.name,
        "title": method.title,
        "year": method.year,
        "venue": method.venue,
        "backbone": _by_protocol(recipes, "model", "backbone"),
        "loss": solver or _by_protocol(recipes, "loss", "name"),
        "encoder": method.encoder or "of the dataset",
        "views": "+".join(method.views) or "originals only",
        "seeds": published.pop("seeds"),
        "flags": ";".join(method.as_published.flags),
        "citation": method.source,
        "protocol": published.pop("as_published"),
        **published,
    }


def _by_protocol(recipes: dict[str, dict[str, Any]], part: str, key: str) -> str:
    """``"EEGProject"``, or ``"EEGProject, inter TSConv"`` where the protocols differ."""
    intra, inter = (recipe.get(part, {}).get(key, "auto") for recipe in recipes.values())
    return intra if intra == inter else f"{intra}, inter {inter}"


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
