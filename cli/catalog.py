"""What ``ssr-bd list`` and ``show`` print about the registered parts: a row for each."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from braindecode_ssr.registry import Registry

if TYPE_CHECKING:
    from braindecode_ssr.methods import Method

PROTOCOLS = ("intra", "inter")
UNCHANGED = {
    *("parameters", "seeds", "needs", "published", "published_subjects", "as_published"),
    *("traps", "known_to_differ"),
}


def part_names(kind: str) -> list[str]:
    """The names of a kind; imports no part."""
    if kind in ("backbones", "settings"):
        return [row["name"] for row in catalogue(kind)]
    return list(_registry(kind))


def _registry(kind: str) -> Registry:
    from braindecode_ssr.datasets import DATASETS
    from braindecode_ssr.images.encoders import ENCODERS
    from braindecode_ssr.images.views import VIEWS
    from braindecode_ssr.losses import LOSSES
    from braindecode_ssr.methods import METHODS
    from braindecode_ssr.models import IMAGE_HEADS

    registries: dict[str, Registry] = {"datasets": DATASETS, "encoders": ENCODERS, "views": VIEWS}
    registries |= {"losses": LOSSES, "image-heads": IMAGE_HEADS, "methods": METHODS}
    return registries[kind]


def catalogue(kind: str) -> list[dict[str, Any]]:
    """The registered parts of a kind, one row each, ``name`` first."""
    if kind == "methods":
        from braindecode_ssr.methods import METHODS

        return [_method_row(METHODS[name]) for name in METHODS]
    if kind == "backbones":
        from braindecode_ssr.models.names import listed_backbones

        return [dict(row) for row in listed_backbones()]
    if kind == "settings":
        return list(_settings())
    registry, rows = _registry(kind), []
    for name in registry:
        lines = (registry[name].__doc__ or "").strip().splitlines()
        row = {"name": name, "description": lines[0] if lines else ""}
        if kind == "encoders":
            row["needs"] = getattr(registry[name], "needs", "")
        rows.append(row)
    return rows


def _settings() -> Iterator[dict[str, Any]]:
    """Every setting with its default and what its spec says of it."""
    from braindecode_ssr.config import RunSpec

    for section, field in RunSpec.model_fields.items():
        spec: Any = field.annotation
        if not hasattr(spec, "model_fields"):
            about = "Registered name."
            yield {"name": section, "default": str(field.default), "description": about}
            continue
        said = _said(spec)
        for name, inner in spec.model_fields.items():
            default = inner.get_default(call_default_factory=True)
            shown = default if isinstance(default, str) else json.dumps(default)
            row = {"name": f"{section}.{name}", "default": shown}
            yield {**row, "description": said.get(name, "")}


def _said(spec: type) -> dict[str, str]:
    """The text below each setting of a spec."""
    definition: Any = ast.parse(inspect.getsource(spec)).body[0]
    return {
        ast.unparse(setting.target): " ".join(
            ast.literal_eval(text.value).replace("``", "").split()
        )
        for setting, text in pairwise(definition.body)
        if isinstance(setting, ast.AnnAssign) and isinstance(text, ast.Expr)
    }


def _method_row(method: Method) -> dict[str, Any]:
    """A method as it runs on THINGS-EEG, and its published results."""
    recipes = {protocol: method.settings_for("things-eeg", protocol) for protocol in PROTOCOLS}
    solver = recipes["intra"].get("train", {}).get("solver")
    published = method.model_dump(mode="json", include=UNCHANGED)
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
        **published,
    }


def _by_protocol(recipes: dict[str, dict[str, Any]], part: str, key: str) -> str:
    """``"EEGProject"``, or ``"EEGProject, inter TSConv"`` where the protocols differ."""
    intra, inter = (recipe.get(part, {}).get(key, "auto") for recipe in recipes.values())
    return intra if intra == inter else f"{intra}, inter {inter}"
