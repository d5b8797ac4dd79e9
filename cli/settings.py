"""From the options of a command to the nested settings of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from braindecode_ssr.config import merge, parse_setting, read_toml

WHERE = {
    "method": "method",
    "dataset": "data.dataset",
    "subject": "data.subject",
    "protocol": "data.protocol",
    "preset": "data.preset",
    "backbone": "model.backbone",
    "encoder": "images.encoder",
    "loss": "loss.name",
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "seed": "train.seed",
    "device": "train.device",
}


def settings_of(
    config: Path | None, sets: tuple[str, ...], options: dict[str, Any]
) -> dict[str, Any]:
    """A file's settings, over them those of ``--set``, over them the options that were given."""
    given: dict[str, Any] = {}
    for name, value in options.items():
        if value is None:
            continue
        nested: Any = value
        for part in reversed(WHERE[name].split(".")):
            nested = {part: nested}
        given = merge(given, nested)
    layers = [read_toml(config)] if config else []
    return merge(*layers, *map(parse_setting, sets), given)
