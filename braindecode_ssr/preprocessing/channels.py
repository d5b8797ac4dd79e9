"""Channels by name: the sets that published methods use, and how recordings are joined."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import DataError, UsageError, listed
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

MEG_REGIONS = {"occipital": "O", "parietal": "P", "temporal": "T", "central": "C", "frontal": "F"}
"""Regions of a CTF helmet: the third letter of names such as ``MLO11-1609`` (left, occipital)."""

MEG_SETS = (*(f"meg-{region}" for region in MEG_REGIONS), "meg-occipital-parietal")
"""Sensor regions that are listed; any other combination of regions with hyphens works too."""

REGIONS = ("frontal", "central", "temporal", "parietal", "occipital", "other")
"""Regions of the head, from front to back."""

WHOLE_SETS = ("all", "common", "mag", "grad")
"""All channels, those that all recordings have, or those of one type of MEG sensor."""

SET_NAMES = (*WHOLE_SETS, *CHANNEL_SETS, *MEG_SETS)  # names of sets of channels, as they are listed

REFERENCES = frozenset("a1 a2 m1 m2 a1a2 a1a22 m1m2 m1m22 le avg ave average car".split())
"""References at the end of a name, as in ``Oz-A1``; ``-Ref`` says that there is one, not which."""

OLD_NAMES = {"t3": "t7", "t4": "t8", "t5": "p7", "t6": "p8"}
"""Electrodes of the 10-20 system that the 10-10 system renamed."""

NOT_AVERAGE = "not the mean of the channels"
"""The reference of recordings whose samples are known, and no more."""

MOST = 20  # channels in a message


@dataclass(frozen=True)
class ChannelSet:
    """The channels of one of several recordings, subjects or datasets to be joined.

    ``owner`` is named in errors. ``facts``, such as ``{"unit": "V", "reference": "Cz"}``, must be equal
    before trials are joined; empty if unknown.
    """

    owner: str
    ch_names: Sequence[str]
    facts: Mapping[str, str] = field(default_factory=dict)


def plain_names(ch_names: Sequence[str]) -> list[str]:
    """Channel names in lower case without what differs between amplifiers and formats, for comparison only.

    Dropped are case, spaces, dots and underscores, a leading ``EEG``, the reference at the end (``-Ref``,
    ``-A1``, or whatever all names end with) and the serial number of CTF sensors; ``T3`` to ``T6`` become
    ``T7``, ``T8``, ``P7`` and ``P8``.

    >>> plain_names(["OZ", "Oz..", "EEG Oz-Ref", "MLO11-1609"])
    ['oz', 'oz', 'oz', 'mlo11']
    """
    return [OLD_NAMES.get(name, name) for name, _ in _parts(ch_names)]


def standard_names(ch_names: Sequence[str]) -> list[str]:
    """Names as the 10-05 system spells them; two channels that mean one electrode keep their names."""
    plain, names = plain_names(ch_names), list(ch_names)
    for index, name in enumerate(plain):
        if (electrode := _ELECTRODE.fullmatch(name)) and plain.count(name) == 1:
            region, place = electrode.groups()
            names[index] = region.upper().replace("FP", "Fp") + place
    return names


def in_standard_order(ch_names: Sequence[str], order: Sequence[str] = ()) -> list[int]:
    """The permutation that puts channels in an order that does not depend on the file.

    Channels of ``order`` come first, others by name. Default: the order of the raw files of THINGS-EEG2
    for exactly its 63 channels, else :data:`THINGS_EEG_63`.
    """
    plain = plain_names(ch_names)
    order = order or (THINGS_EEG_63_RAW if set(plain) == _PLAIN_63 else THINGS_EEG_63)
    place = {name.casefold(): index for index, name in enumerate(order)}

    def key(index: int) -> tuple:
        name = plain[index]
        pieces = [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", name)]
        return place.get(name, len(place)), pieces, ch_names[index]

    return sorted(range(len(ch_names)), key=key)


def match_channels(
    sets: Sequence[ChannelSet], channels: str | Sequence[str]
) -> tuple[tuple[str, ...], list[list[int]]]:
    """One order of channels for several subjects, sessions or files, matched by name.

    The first of ``sets`` gives names, and the order where ``channels`` does not. ``"all"`` and MEG
    regions require the same channels everywhere, ``"common"`` takes the intersection. Returns the names
    and their indices in each set; DataError if a set lacks channels, repeats a name, or differs in a fact
    or a reference.
    """
    first = sets[0]
    for other in sets[1:]:
        check_facts(first, other)
    if channels in ("mag", "grad") and first.facts.get("channel type", channels) != channels:
        found = f"{first.owner} has {first.facts['channel type']} channels, not {channels}"
        raise DataError(found, "choose others with --set data.channels=..., such as all")
    asked = channels
    if isinstance(channels, str) and channels not in CHANNEL_SETS:
        asked = _shared(sets, channels)
    picks = [_picked(one, asked) for one in sets]
    ours = _parts(first.ch_names)
    for other, places in zip(sets[1:], picks[1:], strict=True):
        theirs = _parts(
            other.ch_names
        )  # names such as Oz-A1 and Oz-A2 say that the reference differs
        for i, j in zip(picks[0], places, strict=True):
            if ours[i][1] and theirs[j][1] and ours[i][1] != theirs[j][1]:
                raise DataError(
                    f"the reference differs: {first.ch_names[i]} in {first.owner}, {other.ch_names[j]} in "
                    f"{other.owner}",
                    "re-reference the recordings to the same electrodes and rename their channels",
                )
    return tuple(first.ch_names[index] for index in picks[0]), picks


def channel_indices(ch_names: Sequence[str], channels: str | Sequence[str]) -> list[int]:
    """The indices of channels, in the requested order.

    A name means the channel with exactly this name, else the only one with the same plain name (see
    :func:`plain_names`).

    Parameters
    ----------
    ch_names : sequence of str
        The channels of the recording.
    channels : str or sequence of str
        ``"all"`` (within one recording, ``"common"``, ``"mag"`` and ``"grad"`` mean the same),
        ``"occipital-17"``, ``"things-eeg-63"``, MEG regions such as ``"meg-occipital-parietal"`` (in the
        order of the recording), or channel names.

    Returns
    -------
    list of int

    Raises
    ------
    UsageError
        If there is no set of that name, or no channel or one channel twice is requested.
    DataError
        If channels are missing, or a name is ambiguous.
    """
    if isinstance(channels, str):
        if channels in WHOLE_SETS:
            return list(range(len(ch_names)))
        check_set_name(channels)
        if channels not in CHANNEL_SETS:
            pattern = re.compile(rf"m[lrz][{_regions(channels).lower()}]\d\d")
            inside = [i for i, name in enumerate(plain_names(ch_names)) if pattern.fullmatch(name)]
            if not inside:
                raise DataError(
                    f"there are no CTF sensors of {channels}, with names such as "
                    f"ML{_regions(channels)[0]}11, only {listed(ch_names, MOST)}",
                    "choose channels that were recorded, or 'all'",
                )
            return inside
        channels = CHANNEL_SETS[channels]
    channels = tuple(channels)
    repeated = ", ".join(sorted({name for name in channels if channels.count(name) > 1}))
    if repeated or not channels:
        wrong = f"the channel {repeated} is listed twice" if repeated else "no channel is requested"
        raise UsageError(wrong, "name every channel once, or give 'all' or the name of a set")
    plain = plain_names(ch_names)
    found: list[int] = []
    missing, near = [], []
    for name, wanted in zip(channels, plain_names(channels), strict=True):
        like = [i for i, p in enumerate(plain) if p == wanted]
        if name in ch_names:
            found.append(list(ch_names).index(name))
        elif len(like) > 1:
            raise DataError(
                f"the channel {name} could be any of {', '.join(ch_names[i] for i in like)}",
                "give the exact names of the channels with --set data.channels=[...]",
            )
        elif like:
            found.append(like[0])
        else:
            missing.append(name)
            for key in difflib.get_close_matches(wanted, plain, 1, 0.6):
                near.append(f"{ch_names[plain.index(key)]!r} for {name!r}")
    if missing:
        meant = f"did you mean {', '.join(near[:3])}? " if near else ""
        wrong = f"there is no channel {', '.join(missing)}, only {listed(ch_names, MOST)}"
        raise DataError(wrong, f"{meant}choose channels that were recorded, or 'all'")
    if len(set(found)) < len(found):
        twice = next(i for i in found if found.count(i) > 1)
        names = [name for name, i in zip(channels, found, strict=True) if i == twice]
        raise UsageError(
            f"{' and '.join(names)} are one channel, {ch_names[twice]}", "name every channel once"
        )
    return found


def check_set_name(name: str) -> None:
    """Raise UsageError if no set of channels goes by that name."""
    if name not in SET_NAMES and not _regions(name):
        raise unknown_name("channel set", name, list(SET_NAMES))


def _parts(ch_names: Sequence[str]) -> list[tuple[str, str]]:
    """The plain name of each channel, and the reference that its name gives."""
    texts = [_DASHES.sub("-", unicodedata.normalize("NFKC", name)).casefold() for name in ch_names]
    texts = [re.sub(r"^eeg[-:]?(?=.)", "", re.sub(r"[\s._]+", "", text)) for text in texts]
    ends = {_tail(text) for text in texts}
    shared = ends if len(texts) > 2 and len(ends) == 1 else ()
    parts = []
    for text in texts:
        base, _, end = text.rpartition("-")
        tail = _tail(text)
        if re.fullmatch(r"m[lrz][a-z]\d\d-\d+", text) or (base and tail in ("ref", "reference")):
            parts.append((base, ""))
        elif base and (tail in REFERENCES or (tail in shared and not end.isdecimal())):
            parts.append((base, tail))
        else:
            parts.append((text, ""))
    return parts


_ELECTRODE = re.compile(
    r"(n|fp|afp|af|aff|f|fft|ffc|ft|fc|ftt|fcc|t|c|ttp|ccp|tp|cp|tpp|cpp|p|ppo|po|poo|o|oi|i)(z|\d{1,2}h?)"
)
_DASHES = re.compile("[\u2010-\u2015\u2212]")
_PLAIN_63 = {name.casefold() for name in THINGS_EEG_63_RAW}


def _tail(text: str) -> str:
    """What follows the last hyphen, letters and digits only: ``(A1+A2)/2`` is ``a1a22``."""
    return re.sub(r"[^a-z0-9]", "", text.rpartition("-")[2]) if "-" in text else ""


def _shared(sets: Sequence[ChannelSet], channels: str) -> list[str]:
    """The channels, as the first set names them, that ``"all"``, ``"common"`` or a region means."""
    first, *others = sets
    inside = []
    for one in sets:
        plain = plain_names(one.ch_names)
        if twice := next((p for p in plain if plain.count(p) > 1), None):
            same = [name for name, p in zip(one.ch_names, plain, strict=True) if p == twice]
            raise DataError(
                f"{' and '.join(same)} in {one.owner} are names of the same channel",
                "rename one of them, or give the one that is not wanted the type MISC in channels.tsv",
            )
        inside.append({plain[i]: one.ch_names[i] for i in _picked(one, channels)})
    if channels == "common":
        kept = set.intersection(*(set(names) for names in inside))
        if not kept:
            raise DataError(
                f"no channel is common to {' and '.join(one.owner for one in sets)}",
                f"their names are {listed(first.ch_names, MOST)} and {listed(others[0].ch_names, MOST)}: "
                "rename them in the recordings, or leave a subject out",
            )
        return [name for plain, name in inside[0].items() if plain in kept]
    for other, names in zip(others, inside[1:], strict=True):
        lacks = [name for plain, name in inside[0].items() if plain not in names]
        more = [name for plain, name in names.items() if plain not in inside[0]]
        if lacks or more:
            differ = [f"{other.owner} lacks {listed(lacks, MOST)}"] if lacks else []
            differ += [f"{other.owner} also has {listed(more, MOST)}"] if more else []
            raise DataError(
                f"the channels of two recordings differ: {first.owner} has {len(inside[0])} and "
                f"{other.owner} has {len(names)}; {'; '.join(differ)}",
                "take the channels that all have with --set data.channels=common, or name them with "
                '--set \'data.channels=["O1", "Oz"]\'',
            )
    return list(inside[0].values())


def _picked(one: ChannelSet, asked: str | Sequence[str]) -> list[int]:
    try:
        return channel_indices(one.ch_names, asked)
    except DataError as error:
        raise DataError(f"{one.owner}: {error.message}", error.hint) from None


def check_facts(first: ChannelSet, other: ChannelSet) -> None:
    """Raise DataError, naming both sides, if two sets differ in a fact that is known of both."""
    for what, value in first.facts.items():
        found = other.facts.get(what, "")
        if value and found and _differ(value, found):
            raise DataError(
                f"the {what} differs: {value} in {first.owner}, {found} in {other.owner}",
                _HINTS.get(what, "use recordings that were made and prepared in the same way"),
            )


_HINTS = {
    "reference": "re-reference the recordings to the same electrodes, and correct EEGReference in their "
    "*_eeg.json files (or the column reference of channels.tsv)",
    "channel type": "correct the column type of channels.tsv, or leave one of the two out",
}


def _differ(value: str, found: str) -> bool:
    if NOT_AVERAGE in (value, found):  # it may be any other reference
        other = found if value == NOT_AVERAGE else value
        return bool(re.match(r"(common)?(average|avg|ave)|car$", _plain_text(other)))
    return _plain_text(value) != _plain_text(found)


def _plain_text(text: str) -> str:
    return re.sub(r"(?!^-\d)[^a-z0-9./]", "", text.casefold())  # -0.1 s is not 0.1 s


def _regions(name: str) -> str:
    """``"OP"`` for ``"meg-occipital-parietal"``; empty if the name is not of this kind."""
    prefix, *regions = name.split("-")
    known = prefix == "meg" and regions and set(regions) <= set(MEG_REGIONS)
    return "".join(MEG_REGIONS[region] for region in regions) if known else ""


def regions_of(ch_names: Sequence[str]) -> dict[str, list[int]]:
    """Indices of channels by region of the head, in the order of ``REGIONS``.

    EEG is named as in the 10-05 system (``FC1`` is central, ``TP9`` temporal, ``CP1`` parietal, ``PO7``
    occipital), MEG as by CTF (``MLO11``).
    """
    groups: dict[str, list[int]] = {region: [] for region in REGIONS}
    for index, name in enumerate(plain_names(ch_names)):
        groups[_region(name)].append(index)
    return {region: part for region, part in groups.items() if part}


def _region(name: str) -> str:
    """The region of a channel by its plain name."""
    if meg := re.fullmatch(r"m[lrz]([a-z])\d+", name):
        of_letter = {letter.lower(): region for region, letter in MEG_REGIONS.items()}
        return of_letter.get(meg[1], "other")
    eeg = re.fullmatch(r"(n|[afctpoi]{1,3})(?:z|\d+h?)", name)
    letters = eeg[1] if eeg else ""
    if "t" in letters:
        return "temporal"
    if "o" in letters or "i" in letters:
        return "occipital"
    if "f" in letters.rstrip("c") and not letters.endswith("c") or letters == "n":
        return "frontal"
    return {"c": "central", "p": "parietal"}.get(letters[-1:], "other")
