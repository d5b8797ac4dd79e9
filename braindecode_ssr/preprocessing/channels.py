"""Channels by name: the sets that published methods use, and their places in a recording."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from ..errors import DataError, UsageError
from ..registry import unknown_name

THINGS_EEG_63_RAW = tuple(
    "Fp1 F3 F7 FT9 FC5 FC1 C3 T7 TP9 CP5 CP1 Pz P3 P7 O1 Oz O2 P4 P8 TP10 CP6 CP2 Cz C4 T8 FT10 "
    "FC6 FC2 F4 F8 Fp2 AF7 AF3 AFz F1 F5 FT7 FC3 FCz C1 C5 TP7 CP3 P1 P5 PO7 PO3 POz PO4 PO8 P6 "
    "P2 CPz CP4 TP8 C6 C2 FC4 FT8 F6 F2 AF4 AF8".split()
)
"""The EEG channels of THINGS-EEG2 in the order of the raw files (Fz is the online reference)."""

THINGS_EEG_63 = tuple(
    "Fp1 Fp2 AF7 AF3 AFz AF4 AF8 F7 F5 F3 F1 F2 F4 F6 F8 FT9 FT7 FC5 FC3 FC1 FCz FC2 FC4 FC6 FT8 "
    "FT10 T7 C5 C3 C1 Cz C2 C4 C6 T8 TP9 TP7 CP5 CP3 CP1 CPz CP2 CP4 CP6 TP8 TP10 P7 P5 P3 P1 Pz "
    "P2 P4 P6 P8 PO7 PO3 POz PO4 PO8 O1 Oz O2".split()
)
"""The same channels in the order of NICE, UBP and NeuroBridge."""

OCCIPITAL_17 = tuple("P7 P5 P3 P1 Pz P2 P4 P6 P8 PO7 PO3 POz PO4 PO8 O1 Oz O2".split())
"""Occipital and parietal channels, in the order of UBP and NeuroBridge."""

CHANNEL_SETS = {"occipital-17": OCCIPITAL_17, "things-eeg-63": THINGS_EEG_63}
"""The sets that can be asked for by name."""

MEG_REGIONS = {"occipital": "O", "parietal": "P", "temporal": "T", "central": "C", "frontal": "F"}
"""Regions of a CTF helmet: the third letter of names such as ``MLO11-1609`` (left, occipital)."""

MEG_SETS = (*(f"meg-{region}" for region in MEG_REGIONS), "meg-occipital-parietal")
"""Sensor regions that are listed; any other joining of regions by hyphens is understood too."""

SET_NAMES = ("all", *CHANNEL_SETS, *MEG_SETS)
"""Names of sets of channels, as they are listed."""

MAX_LISTED = 20


def channel_indices(ch_names: Sequence[str], channels: str | Sequence[str]) -> list[int]:
    """Where the asked channels are, in the asked order.

    Parameters
    ----------
    ch_names : sequence of str
        The channels there are, in order.
    channels : str or sequence of str
        ``"all"``, ``"occipital-17"``, ``"things-eeg-63"``, sensors of MEG regions such as
        ``"meg-occipital"`` or ``"meg-occipital-parietal"`` (in the order of the recording), or channel
        names.

    Returns
    -------
    list of int
        Index into ``ch_names`` of each asked channel.

    Raises
    ------
    UsageError
        If no channel set has that name, or no channel or one channel twice is asked for.
    DataError
        If a channel is not among ``ch_names``; names every missing one.
    """
    if isinstance(channels, str):
        if channels == "all":
            return list(range(len(ch_names)))
        check_set_name(channels)
        if channels not in CHANNEL_SETS:
            return _region_indices(ch_names, channels)
        channels = CHANNEL_SETS[channels]
    channels = tuple(channels)
    _check_asked(channels)
    missing = [name for name in channels if name not in ch_names]
    if missing:
        raise _missing_channels(missing, ch_names)
    place = {name: index for index, name in enumerate(ch_names)}
    return [place[name] for name in channels]


def check_set_name(name: str) -> None:
    """Raise UsageError if no set of channels goes by that name."""
    if name not in SET_NAMES and not _regions(name):
        raise unknown_name("channel set", name, list(SET_NAMES))


def _regions(name: str) -> str:
    """The letters of ``"meg-occipital-parietal"``, ``"OP"``; empty if it is no such name."""
    prefix, *regions = name.split("-")
    known = prefix == "meg" and regions and set(regions) <= set(MEG_REGIONS)
    return "".join(MEG_REGIONS[region] for region in regions) if known else ""


def _region_indices(ch_names: Sequence[str], name: str) -> list[int]:
    pattern = re.compile(rf"M[LRZ][{_regions(name)}]\d\d(-\d+)?")
    places = [index for index, channel in enumerate(ch_names) if pattern.fullmatch(channel)]
    if not places:
        raise DataError(
            f"CTF sensors of {name}, with names such as ML{_regions(name)[0]}11",
            f"only {_listed(ch_names)}",
            "choose channels that were recorded, or 'all'",
        )
    return places


def _listed(ch_names: Sequence[str]) -> str:
    more = f" and {len(ch_names) - MAX_LISTED} more" if len(ch_names) > MAX_LISTED else ""
    return ", ".join(ch_names[: MAX_LISTED if more else None]) + more


def _check_asked(channels: tuple[str, ...]) -> None:
    twice = sorted({name for name in channels if channels.count(name) > 1})
    if twice or not channels:
        raise UsageError(
            "each wanted channel once",
            f"{', '.join(twice)} more than once" if twice else "no channel",
            "name every channel once, or give 'all' or the name of a set",
        )


def _missing_channels(missing: list[str], ch_names: Sequence[str]) -> DataError:
    folded = {name.casefold(): name for name in ch_names}
    near = {
        name: [folded[key] for key in difflib.get_close_matches(name.casefold(), folded, 1, 0.6)]
        for name in missing
    }
    hints = [f"{found[0]!r} for {name!r}" for name, found in near.items() if found]
    meant = f"did you mean {', '.join(hints[:3])}? " if hints else ""
    return DataError(
        f"the channels {', '.join(missing)}",
        f"only {_listed(ch_names)}",
        f"{meant}choose channels that were recorded, or 'all'",
    )
