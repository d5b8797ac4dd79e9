"""Which channel of a trial a model takes for which of its own: by name, by position or by place."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UsageError, listed
from ..preprocessing.channels import standard_names

Channels = Sequence[dict[str, Any]]
SHOWN = 5  # names in a message


def renamed(chs_info: Channels | None) -> list[dict[str, Any]] | None:
    """The same channels with electrodes named as in the 10-05 system: ``EEG OZ-Ref`` is ``Oz``."""
    if chs_info is None:
        return None
    names = standard_names([channel["ch_name"] for channel in chs_info])
    return [{**channel, "ch_name": name} for channel, name in zip(chs_info, names, strict=True)]


def channel_map(entry: dict[str, Any], module: nn.Module, chs_info: Channels) -> dict[str, Any]:
    """What a built model takes the channels for; ``entry`` is its part of ``adjustments.toml``.

    ``by`` is ``"name"``, ``"position"``, ``"region"`` or ``"place"``, the number of the channel; ``matched``
    maps channels to the model's own, or to its regions; ``unmatched`` lists the others. Empty for models that
    treat all channels alike or learn what each is.
    """
    names, how = [channel["ch_name"] for channel in chs_info], entry.get("channels")
    if how is None or not names:
        return {}
    if how in ("place", "position"):
        return {"by": how, "matched": {}, "unmatched": []}
    if how == "region":
        regions: dict[str, list[str]] = module.regions  # type: ignore[assignment]
        matched = {name: region for region, members in regions.items() for name in members}
        return {"by": how, "matched": matched, "unmatched": []}
    known = {name.casefold(): name for name in known_electrodes(how)}
    matched = {name: known[name.casefold()] for name in names if name.casefold() in known}
    unmatched = [name for name in names if name not in matched]
    return {"by": "name", "known": len(known), "matched": matched, "unmatched": unmatched}


def describe_channels(name: str, found: dict[str, Any], entry: dict[str, Any]) -> str:
    if found["by"] == "place":
        return f"{name} knows no names of channels: it takes them for its own in the order of the trial"
    if found["by"] == "position":
        return f"{name} takes channels by their positions"
    if found["by"] == "region":
        regions = Counter(found["matched"].values())
        counts = ", ".join(f"{region} {n}" for region, n in regions.items())
        return f"{name} groups channels by region: {counts}"
    n, unmatched = len(found["matched"]), found["unmatched"]
    line = f"{name} knows {n} of {n + len(unmatched)} channels by name"
    return f"{line}; {entry['unknown']}: {listed(unmatched, SHOWN)}" if unmatched else line


def check_names(name: str, entry: dict[str, Any], chs_info: Channels | None) -> None:
    """UsageError if a model that takes only electrodes it knows is given others."""
    known = [electrode.casefold() for electrode in known_electrodes(entry["channels"])]
    strange = [ch["ch_name"] for ch in chs_info or () if ch["ch_name"].casefold() not in known]
    if strange:
        raise UsageError(
            f"{name} knows {len(known)} electrodes by name, and {len(strange)} of {len(chs_info or ())} "
            f"channels are not among them: {listed(strange, SHOWN)}",
            "choose the others with --set data.channels=[...], or another --backbone",
        )


@cache
def known_electrodes(path: str) -> tuple[str, ...]:
    """Names of electrodes at ``"package.module:LIST"``, or of the 10-05 system for ``"10-05"``."""
    if path == "10-05":
        return tuple(_standard_positions()[0])
    module, _, name = path.partition(":")
    return tuple(getattr(importlib.import_module(module), name))


# REVE: positions without the Hugging Face Hub -----------------------------------------------------------


@cache
def _standard_positions() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Positions in m of the 10-05 electrodes on MNE's template head, and its frame in head coordinates."""
    import mne

    names = mne.channels.get_builtin_montages()  # MNE 1.13 renamed it
    name = "colin27_1005" if "colin27_1005" in names else "standard_1005"
    montage = mne.channels.make_standard_montage(name)
    to_head = mne.channels.compute_native_head_t(montage)["trans"]
    return montage.get_positions()["ch_pos"], np.linalg.inv(to_head)


def position(channel: dict[str, Any]) -> np.ndarray | None:
    """Where a channel is (3,) in m, in head coordinates; None where that is not known."""
    own = np.asarray(channel.get("loc", np.nan), dtype=float).ravel()[:3]
    return own if own.size == 3 and np.isfinite(own).all() and own.any() else None


def electrode_positions(chs_info: Channels) -> Tensor:
    """Where electrodes are for REVE, shape (c, 3) in m.

    REVE's bank of positions, on the Hugging Face Hub, holds those of MNE's ``standard_1005``; electrodes of
    that name get these. Others get their own (``loc``), moved from MNE's head coordinates to those of the
    bank; a UsageError if there is none.
    """
    from mne.io.constants import FIFF

    standard, from_head = _standard_positions()
    known = {name.casefold(): place for name, place in standard.items()}
    places, lost = [], []
    for channel in chs_info:
        own = position(channel)
        if channel["ch_name"].casefold() in known:
            places.append(known[channel["ch_name"].casefold()])
        elif own is not None and channel.get("kind") not in (
            FIFF.FIFFV_MEG_CH,
            "meg",
            "mag",
            "grad",
        ):
            places.append(from_head[:3, :3] @ own + from_head[:3, 3])
        else:
            lost.append(channel["ch_name"])
    if lost:
        raise UsageError(
            f"REVE needs the position of every electrode, and {len(lost)} of {len(chs_info)} channels have "
            f"neither a name of the 10-05 system nor a position: {listed(lost, SHOWN)}",
            "add an electrodes.tsv, choose others with --set data.channels=[...], or choose another "
            "--backbone",
        )
    return torch.tensor(np.array(places), dtype=torch.float32)


class _Positions(nn.Module):
    """Stands for braindecode's bank of REVE's positions, which is downloaded when a model is built."""

    def __init__(self, chs_info: Channels) -> None:
        super().__init__()
        places = electrode_positions(chs_info)
        self.places = dict(zip([ch["ch_name"] for ch in chs_info], places.tolist(), strict=True))

    def forward(self, channel_names: Sequence[str]) -> Tensor:
        return torch.tensor([self.places[name] for name in channel_names])


@contextmanager
def without_hub(model: type[nn.Module], chs_info: Channels | None) -> Iterator[None]:
    """Within this context, REVE is built with :func:`electrode_positions`; other models as always."""
    from braindecode.models import reve

    if not issubclass(model, reve.REVE):
        yield
        return
    bank = reve.RevePositionBank
    reve.RevePositionBank = lambda: _Positions(chs_info or ())
    try:
        yield
    finally:
        reve.RevePositionBank = bank
