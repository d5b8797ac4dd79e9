"""Simulated experiments as files in the layouts of THINGS-EEG2 and THINGS-MEG, and the MEG of the latter."""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np
import pandas as pd

from ..errors import Say, UsageError, reading, silent
from ..files import atomic_files
from ..registry import unknown_name
from .experiment import Preset, Response, generator
from .images import concept_words, things_numbers
from .recording import Brain, Sensors, add_responses, kernels, moments

if TYPE_CHECKING:
    import mne

    from ..datasets.things_sim import ThingsSim

T = TypeVar("T")
MANIFEST = "things_sim.json"
PARTS = {"train": "training", "test": "test"}
IMAGES_AT_ONCE = 256


# -- THINGS-EEG2, and files of both --------------------------------------------------------------------------


def write_raw(dataset: ThingsSim, subjects: Iterable[int], out: str | Path) -> list[Path]:
    """Write recordings and images of subjects in the layout of THINGS-EEG2; returns all its files.

    Files of the same simulation that exist are left as they are, so that an interrupted run can resume.
    """
    out, chosen = Path(out).expanduser(), [int(dataset.check_subject(s)) for s in subjects]
    mine = {"dataset": dataset.name, "source": dataset.source_key()}
    claim(mine, out, ("Raw_data", "image_set"))
    path = out / "image_set" / "image_metadata.npy"
    files = [write_file(path, partial(_save, lambda: metadata(dataset)))]
    images = {
        out / "image_set" / f"{PARTS[row.split]}_images" / row.file: row.image_id
        for row in dataset.images.itertuples()
    }
    files += write_images(images, dataset.jpeg)
    for subject in chosen:
        for session in dataset.sessions:
            for split, part in PARTS.items():
                path = out / f"Raw_data/sub-{subject:02d}/ses-{session:02d}/raw_eeg_{part}.npy"
                contents = partial(_raw_contents, dataset, subject, session, split)
                files.append(write_file(path, partial(_save, contents)))
    return files


def _save(contents: Callable[[], dict[str, Any]], file: BinaryIO) -> None:
    np.save(file, np.array(contents(), dtype=object), allow_pickle=True)


def _raw_contents(dataset: ThingsSim, subject: int, session: int, split: str) -> dict[str, Any]:
    """The contents of one raw file: data with the stimulus channel last, and its description."""
    data, _ = dataset.session(subject, session, split)
    return {
        "raw_eeg_data": data,
        "ch_names": [*dataset.ch_names, "stim"],
        "ch_types": ["eeg"] * len(dataset.ch_names) + ["stim"],
        "sfreq": int(dataset.preset.sfreq),
        "highpass": 0.01,
        "lowpass": 100.0,
    }


def metadata(dataset: ThingsSim) -> dict[str, list[str]]:
    """The contents of ``image_metadata.npy``: six lists of names, in image-number order."""
    numbers = things_numbers(dataset.images["concept"].tolist())
    lists: dict[str, list[str]] = {}
    for split in ("test", "train"):
        rows = dataset.images[dataset.images["split"] == split]
        folders, files = zip(*(file.split("/") for file in rows["file"]), strict=True)
        things = [f"{numbers[concept]:05d}_{concept}" for concept in rows["concept"]]
        names = {"concepts": list(folders), "concepts_THINGS": things, "files": list(files)}
        order = (
            names if split == "test" else ("files", "concepts", "concepts_THINGS")
        )  # as published
        lists |= {f"{split}_img_{key}": names[key] for key in order}
    return lists


def claim(mine: dict[str, str], out: Path, folders: Iterable[str]) -> None:
    """Mark a folder as that of the simulation ``mine``; UsageError if it has other data (``folders``)."""
    marker = out / MANIFEST
    with reading(marker, "choose another --out"):
        theirs = json.loads(marker.read_text(encoding="utf-8")) if marker.exists() else None
    occupied = any((out / name).exists() for name in folders)
    if (theirs is not None and theirs != mine) or (theirs is None and occupied):
        found = f"there are other data in {out}, not of this same simulation"
        raise UsageError(found, "choose another --out, or remove the folder")
    write_file(marker, lambda file: file.write(json.dumps(mine, indent=1).encode()))


def write_file(path: Path, fill: Callable[[BinaryIO], object]) -> Path:
    """Write a file whole or not at all; an existing one is left as it is."""
    if not path.exists():
        with atomic_files([path]) as (part,), part.open("wb") as file:
            fill(file)
    return path


def write_images(names: dict[Path, T], jpeg: Callable[[T], bytes]) -> list[Path]:
    """Write the images that do not exist yet, many at once because each alone would wait for the disk."""
    missing = [path for path in names if not path.exists()]
    for first in range(0, len(missing), IMAGES_AT_ONCE):
        paths = missing[first : first + IMAGES_AT_ONCE]
        with atomic_files(paths) as parts:
            for path, part in zip(paths, parts, strict=True):
                part.write_bytes(jpeg(names[path]))
    return list(names)


# -- THINGS-MEG ----------------------------------------------------------------------------------------------

VERSION = 1  # changes when the same preset and seed give other data
SESSIONS = 12
CATCH = 999999
SFREQ = 200.0
SOA, SOA_SD, SOA_RANGE = 1.501, 0.106, (1.25, 1.70)
LEAD, TAIL = 3.0, 3.0  # seconds of a run before its first and after its last onset
SHARED = 28 / 200  # share of the test concepts that are tested in both published experiments
BAND = (0.1, 40.0)  # Hz
SLOPE = 1.0  # of the power spectrum of the background
ALPHA = 0.5  # standard deviation of the alpha rhythm
FIRST, LAST = -20, 260  # samples of an epoch: -0.1 to 1.3 s


@dataclass(frozen=True)
class MEGPreset:
    """A simulated MEG experiment; the names of its fields are part of the mark in a written folder."""

    name: str
    images_per_concept: int  # of type exp, shown once; tested concepts have them too
    test_images: int  # each of a concept of its own, shown in every session
    catch: int  # catch trials per session
    runs: int  # recordings per session
    every: int  # every n-th of the 271 sensors is simulated
    response: Response  # amplitudes in units of the background
    subjects: int = 4


def _response(gain: float) -> Response:
    return Response(early_gain=gain, late_gain=0.8 * gain, common_gain=1.0, target_gain=1.0)


MEG_PRESETS = {
    "tiny": MEGPreset("tiny", 3, 16, catch=2, runs=1, every=8, response=_response(1.0)),
    "small": MEGPreset("small", 6, 100, catch=20, runs=2, every=2, response=_response(0.35)),
    "full": MEGPreset("full", 12, 200, catch=200, runs=10, every=1, response=_response(0.15)),
}


def write_meg(
    dataset: ThingsSim,
    subjects: Iterable[int],
    out: str | Path,
    say: Say = silent,
) -> list[Path]:
    """Write trials, tables and images in the layout of THINGS-MEG; returns all its files.

    The parts of a subject appear together; existing files of the same simulation are left as they are. One
    run at a time is in memory. Concepts, images and eye are those of the EEG experiment.
    """
    out, name = Path(out).expanduser(), dataset.preset.name
    size = name.removesuffix("-v1")
    if size not in MEG_PRESETS:
        raise unknown_name("preset of the MEG layout", name, list(MEG_PRESETS))
    preset = MEG_PRESETS[size]
    chosen = list(subjects) or list(range(1, preset.subjects + 1))
    for subject in chosen:
        if not 1 <= subject <= preset.subjects:
            found = f"the MEG layout has no subject {subject}"
            raise UsageError(found, f"choose from 1 to {preset.subjects} with --subject")
    source = f"{dataset.source_key()} meg v{VERSION} {preset}"
    claim({"dataset": "things-meg", "source": source}, out, ("derivatives", "object_images"))
    images = meg_images(preset, dataset.preset, dataset.seed)
    names = list(zip(images["concept"], images["stem"], strict=True))
    folder = out / "object_images"
    pictures = {folder / concept / f"{stem}.jpg": (concept, stem) for concept, stem in names}
    files = write_images(pictures, lambda name: dataset.draw(*name))
    features = cache(lambda: dataset.seen(names))
    for subject in chosen:
        say(f"MEG of subject {subject}")
        files += _write_subject(dataset, preset, images, features, subject, out)
    return files


def _write_subject(
    dataset: ThingsSim,
    preset: MEGPreset,
    images: pd.DataFrame,
    features: Callable[[], np.ndarray],
    subject: int,
    out: Path,
) -> list[Path]:
    runs = meg_runs(preset, images, subject, dataset.seed)
    table = sample_attributes(runs, images, subject)
    csv = out / "sourcedata" / f"sample_attributes_P{subject}.csv"
    write_file(csv, lambda file: file.write(table.to_csv(index=False).encode()))
    paths = [out / "derivatives" / "preprocessed" / name for name in part_names(subject)]
    if not all(path.is_file() for path in paths):
        brain = _meg_brain(preset.response, dataset.dims, subject, dataset.seed, preset.every)
        epochs = _subject_epochs(runs, features(), brain, subject, dataset.seed, preset.every)
        info, events = helmet_info(SFREQ, preset.every), _meg_events(runs)
        with atomic_files(paths) as parts:
            names = [path.name for path in paths]
            write_parts(parts, names, info, events, table, epochs, FIRST)
    return [csv, *paths]


# -- design --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class MEGRun:
    samples: np.ndarray  # onsets, in samples from the start of the run
    images: np.ndarray  # rows of the image table; -1 for catch trials
    n_samples: int
    session: int  # from 1
    run: int  # from 1 in each session


def meg_images(preset: MEGPreset, eeg: Preset, seed: int) -> pd.DataFrame:
    """All images that are shown, in order of number; ``test_image_nr`` is 0 for those of type ``exp``."""
    words = concept_words(eeg.concepts + eeg.test_images, seed)
    shared = round(SHARED * preset.test_images)
    rng = generator(seed, "meg", "tested")
    chosen = [
        rng.choice(words[eeg.concepts :], shared, replace=False),
        rng.choice(words[: eeg.concepts], preset.test_images - shared, False),
    ]
    tested = sorted(np.concatenate(chosen).tolist())
    later = generator(seed, "meg", "exemplars").integers(1, 4, len(tested))
    extra = dict(zip(tested, (preset.images_per_concept + later).tolist(), strict=True))
    rows = []
    for number, word in enumerate(sorted(words), 1):
        shown = [("exp", k) for k in range(1, preset.images_per_concept + 1)]
        shown += [("test", extra[word])] if word in extra else []
        rows += [(kind, word, number, k) for kind, k in shown]
    table = pd.DataFrame(rows, columns=["trial_type", "concept", "concept_nr", "exemplar"])
    table["stem"] = [
        f"{word}_{k:02d}{'b' if k == 1 else 's'}"
        for word, k in zip(table["concept"], table["exemplar"], strict=True)
    ]
    test = table["trial_type"] == "test"
    return table.assign(test_image_nr=test.cumsum().where(test, 0))


def meg_runs(preset: MEGPreset, images: pd.DataFrame, subject: int, seed: int) -> list[MEGRun]:
    """All runs of a subject by session, which shows as many ``exp`` images of each concept, at most one."""
    rng = generator(seed, "meg", "trials", subject)
    rows = np.flatnonzero(images["trial_type"] == "exp").reshape(-1, preset.images_per_concept)
    rows = rng.permuted(rng.permutation(rows), axis=1)
    session_of = np.arange(rows.size).reshape(rows.shape) % SESSIONS
    test = np.flatnonzero(images["trial_type"] == "test")
    runs = []
    for session in range(1, SESSIONS + 1):
        shown = [rows[session_of == session - 1], test, np.full(preset.catch, -1)]
        parts = np.array_split(rng.permutation(np.concatenate(shown)), preset.runs)
        for run, part in enumerate(parts, 1):
            soa = rng.normal(SOA, SOA_SD, len(part)).clip(*SOA_RANGE)
            samples = np.round((LEAD + np.cumsum(soa)) * SFREQ).astype(int)
            length = int(samples[-1] + TAIL * SFREQ)
            runs.append(MEGRun(samples, part, length, session, run))
    return runs


def _meg_events(runs: list[MEGRun]) -> np.ndarray:
    """MNE's events of all runs, concatenated: image numbers, ``CATCH`` for catch trials."""
    starts = np.cumsum([0, *(run.n_samples for run in runs)])[:-1]
    samples = [run.samples + start for run, start in zip(runs, starts, strict=True)]
    shown = np.concatenate([run.images for run in runs])
    codes = np.where(shown < 0, CATCH, shown + 1)
    return np.stack([np.concatenate(samples), np.zeros_like(codes), codes], axis=1)


def sample_attributes(runs: list[MEGRun], images: pd.DataFrame, subject: int) -> pd.DataFrame:
    """The table of trials, with the published columns; catch trials have no ids."""
    rng = generator(0, "meg", "answers", subject)
    return pd.concat([_run_table(run, images, rng) for run in runs], ignore_index=True)


def _run_table(run: MEGRun, images: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    catch, onset = run.images < 0, run.samples / SFREQ
    shown = images.iloc[np.where(catch, 0, run.images)]
    exp = (shown["trial_type"] == "exp").to_numpy() & ~catch

    def unless_catch(values: Any, only: np.ndarray | bool = True) -> np.ndarray:
        return np.where(catch | ~np.broadcast_to(only, catch.shape), np.nan, values)

    kinds = np.where(catch, "catch", shown["trial_type"])
    folders = {"exp": "images_meg/{}/{}.jpg", "test": "images_test_meg/{1}.jpg"}
    paths = [
        "images_catch_meg/catch.jpg" if kind == "catch" else folders[kind].format(concept, stem)
        for kind, concept, stem in zip(kinds, shown["concept"], shown["stem"], strict=True)
    ]
    answered = catch & (rng.random(len(catch)) < 0.95)
    reaction = np.where(answered, rng.normal(0.6, 0.1, len(catch)), np.nan)
    columns = {
        "trial_type": kinds,
        "image_nr": unless_catch(run.images + 1),
        "category_nr": unless_catch(shown["concept_nr"]),
        "exemplar_nr": unless_catch(shown["exemplar"]),
        "test_image_nr": unless_catch(shown["test_image_nr"], ~exp),
        "things_category_nr": unless_catch(shown["concept_nr"]),
        "things_image_nr": unless_catch(run.images + 1),
        "things_exemplar_nr": unless_catch(shown["exemplar"]),
        "image_path": paths,
        "onset": onset,
        "image_on": onset,
        "image_off": onset + 0.5,
        "responded": answered.astype(int),
        "key_id": np.where(answered, 1.0, np.nan),
        "key_time": onset + reaction,
        "RT": reaction,
        "session_nr": run.session,
        "run_nr": run.run,
    }
    return pd.DataFrame(columns)


# -- sensors -------------------------------------------------------------------------------------------------

BROKEN = ("MLF25", "MRF43", "MRO11", "MRO13")  # of the nominal 275 sensors, absent in THINGS-MEG
SERIAL = "1609"
RIM = 1.9  # radians from the vertex to the rim
RADIUS = 0.11  # meters
EARLY, LATE = "MLO MRO MZO", "MLT MRT MLP MRP"


@cache
def helmet() -> Sensors:
    """The 271 sensors, in order; their positions are MNE's flat layout of the helmet, bent back."""
    from mne.channels import read_layout

    layout = read_layout("CTF-275")
    places = zip(layout.names, layout.pos, strict=True)
    flat = {name.partition("-")[0]: place[:2] for name, place in places}
    names = sorted(set(flat) - set(BROKEN))
    vertex = np.mean([flat["MZC02"], flat["MZC03"]], axis=0)
    x, y = (np.array([flat[name] for name in names]) - vertex).T
    distance = np.hypot(x, y)
    angle = RIM * distance / distance.max()
    scale = np.sin(angle) / distance
    positions = np.stack([x * scale, y * scale, np.cos(angle)], axis=1)
    positions.setflags(write=False)
    return Sensors(tuple(f"{name}-{SERIAL}" for name in names), positions)


def helmet_info(sfreq: float, every: int = 1) -> mne.Info:
    """MNE's description of every n-th sensor, with its position."""
    import mne

    names = list(helmet().names[::every])
    info = mne.create_info(names, sfreq, "mag", verbose="error")
    for channel, outward in zip(info["chs"], helmet().positions[::every], strict=True):
        across = np.cross(outward, [0.0, 1.0, 0.0])
        across /= np.linalg.norm(across)
        frame = [across, np.cross(outward, across), outward]  # the unit vectors of the coil
        channel["coil_type"] = mne.io.constants.FIFF.FIFFV_COIL_CTF_GRAD
        channel["loc"] = np.concatenate([RADIUS * outward, *frame])
    return info


# -- responses and noise -------------------------------------------------------------------------------------


def _meg_brain(
    response: Response, dims: tuple[int, int], subject: int, seed: int, every: int
) -> Brain:
    """The responses at every n-th sensor, partly shared and partly individual."""
    rng = generator(seed, "meg", "brain", subject)
    gain = np.exp(rng.normal(0, response.gain_sd) - response.gain_sd**2 / 2)
    shift = rng.normal(0, response.latency_sd)
    times = np.arange(round(response.duration * SFREQ)) / SFREQ
    share = np.sqrt([1 - response.individuality, response.individuality])
    everybody = generator(seed, "meg", "brain", "all")
    shared, own = (helmet().topographies(dims, r, EARLY, LATE, 0.4) for r in (everybody, rng))
    patterns = (share[0] * shared + share[1] * own)[:, ::every]
    peaks, widths = moments(response, dims, generator(seed, "kernels"))
    amplitude = gain * np.repeat([response.early_gain, response.late_gain], dims)
    courses = kernels(times, peaks + shift, widths)
    evoked = kernels(times, np.array([0.1, 0.17]) + shift, np.array([0.02, 0.03]))
    places = [helmet().near(EARLY, 0.5), -helmet().near(LATE, 0.5)]
    common = response.common_gain * gain * np.einsum("kc,kt->ct", places, evoked)[::every]
    wave = kernels(times, np.array([0.42]) + shift, np.array([0.07]))[0]
    target = response.target_gain * np.outer(helmet().near("MLP MRP MZP", 0.6)[::every], wave)
    return Brain(
        weights=np.einsum("k,kc,kt->kct", amplitude, patterns, courses).astype(np.float32),
        common=common.astype(np.float32),
        target=target.astype(np.float32),
    )


def _subject_epochs(
    runs: list[MEGRun], features: np.ndarray, brain: Brain, subject: int, seed: int, every: int
) -> Iterator[np.ndarray]:
    """The epochs of all runs of a subject, run by run; noise changes with the session."""
    person = generator(seed, "meg", "noise", subject)
    sources, alpha = helmet().patterns(8, 0.5, person), helmet().patterns(4, 0.6, person)
    alpha *= 0.3 + helmet().near("MLP MRP MLO MRO", 0.5)
    for run in runs:
        day = generator(seed, "meg", "noise", subject, run.session)
        gains = np.exp(day.normal(0, 0.15, len(helmet().names)))
        mixing = _mixing(sources, gains, every)
        rng = generator(seed, "meg", "run", subject, run.session, run.run)
        yield _run_epochs(run, features, brain, mixing, alpha[:, ::every].astype(np.float32), rng)


def _run_epochs(
    run: MEGRun,
    features: np.ndarray,
    brain: Brain,
    mixing: np.ndarray,
    alpha: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """The epochs of a run, z-scored on their baseline as those published; float32 (n_trials, chans, 281)."""
    catch = run.images < 0
    shown = np.where(catch[:, None], 0, features[run.images])
    data = mixing @ spectral_noise(len(mixing), run.n_samples, rng, background)
    data += ALPHA * alpha.T @ spectral_noise(len(alpha), run.n_samples, rng, rhythm)
    add_responses(data, run.samples, shown, catch, brain)
    windows = np.lib.stride_tricks.sliding_window_view(data, LAST - FIRST + 1, axis=1)
    epochs = windows[:, run.samples + FIRST].swapaxes(0, 1).copy()
    rest = epochs[:, :, : 1 - FIRST]
    epochs -= rest.mean(axis=2, keepdims=True)
    epochs /= rest.std(axis=2, keepdims=True)
    return epochs


def _mixing(sources: np.ndarray, gains: np.ndarray, every: int) -> np.ndarray:
    covariance = 0.5 * helmet().correlation(0.5) + 0.2 * helmet().correlation(0.2)
    covariance = covariance + 0.15 * np.eye(len(gains)) + 0.05 * sources.T @ sources
    covariance = (covariance * np.outer(gains, gains))[::every, ::every]
    covariance /= np.mean(np.diag(covariance))
    return np.linalg.cholesky(covariance).astype(np.float32)


def spectral_noise(
    rows: int, n: int, rng: np.random.Generator, amplitude: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Noise of variance one with a given spectrum; float32, shape (rows, n)."""
    from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

    length = next_fast_len(n, real=True)
    gain = amplitude(rfftfreq(length, 1 / SFREQ)).astype(np.float32)
    gain *= np.sqrt(len(gain) / np.sum(gain**2))
    white = rng.standard_normal((rows, length), dtype=np.float32)
    return irfft(rfft(white, axis=1) * gain, length, axis=1)[:, :n]


def background(frequency: np.ndarray) -> np.ndarray:
    """Amplitude of the 1/f background between 0.1 and 40 Hz."""
    inside = (frequency >= BAND[0]) & (frequency <= BAND[1])
    return np.where(inside, np.maximum(frequency, 1.0) ** (-SLOPE / 2), 0)


def rhythm(frequency: np.ndarray) -> np.ndarray:
    """Amplitude of the alpha rhythm: a peak at 10 Hz."""
    return np.exp(-((frequency - 10.0) ** 2) / 2)


# -- FIF files -----------------------------------------------------------------------------------------------

PARTS_FIF = 4  # files of a subject
_MEAS, _PROCESSED, _EPOCHS, _EVENTS, _METADATA, _REFERENCE = 100, 103, 373, 361, 3811, 118
_START, _END, _NOP = 104, 105, 108
_INT, _FLOAT, _STRING, _FLOAT_MATRIX = 3, 4, 10, 4 | 1 << 30
_END_TAGS = 36  # bytes of the tags that end a measurement and a file


def part_names(subject: int) -> list[str]:
    """Names of a subject's files, as published."""
    stem = f"preprocessed_P{subject}-epo"
    return [f"{stem}.fif", *(f"{stem}-{part}.fif" for part in range(1, PARTS_FIF))]


def write_parts(
    paths: list[Path],
    names: list[str],
    info: mne.Info,
    events: np.ndarray,
    metadata: pd.DataFrame,
    batches: Iterable[np.ndarray],
    first: int,
) -> None:
    """Write epochs into FIF files that refer to one another; MNE would hold them all in memory.

    The parts go to ``paths``, which become ``names``. ``first`` is the first sample relative to the onset.
    """
    import mne

    with tempfile.TemporaryDirectory() as folder:  # MNE's file of the info, without its end
        path = Path(folder) / "info.fif"
        mne.io.write_info(path, info, verbose="error")
        head = path.read_bytes()[:-_END_TAGS]
    epochs = chain.from_iterable(batches)
    edges = np.linspace(0, len(events), len(paths) + 1).astype(int).tolist()
    for number, path in enumerate(paths, 1):
        start, stop = edges[number - 1 : number + 1]
        with path.open("wb") as file:
            file.write(head)
            _block(file, _START, _PROCESSED, _EPOCHS, _EVENTS)
            _tag(file, 3561, _INT, events[start:stop].astype(">i4").tobytes())
            _block(file, _END, _EVENTS)
            _block(file, _START, _METADATA)
            table = metadata.iloc[start:stop].reset_index().to_json(orient="records")
            _tag(file, 206, _STRING, table.encode())
            _block(file, _END, _METADATA)
            _write_data(file, epochs, stop - start, first, info)
            log = [[] if start <= k < stop else ["IGNORED"] for k in range(len(events))]
            _tag(file, 3801, _STRING, json.dumps(log).encode())
            _tag(file, 3800, _INT, np.arange(start, stop).astype(">i4").tobytes())
            if number < len(paths):
                _block(file, _START, _REFERENCE)
                _tag(file, 115, _INT, struct.pack(">i", 2))
                _tag(file, 118, _STRING, names[number].encode())
                _tag(file, 117, _INT, struct.pack(">i", number))
                _block(file, _END, _REFERENCE)
            _block(file, _END, _EPOCHS, _PROCESSED, _MEAS)
            file.write(struct.pack(">4i", _NOP, 0, 0, -1))


def _write_data(
    file: BinaryIO, epochs: Iterator[np.ndarray], n_epochs: int, first: int, info: mne.Info
) -> None:
    """The data as one matrix tag, written epoch by epoch; its dimensions follow."""
    epoch = next(epochs)
    n_chans, n_times = epoch.shape
    _tag(file, 208, _INT, struct.pack(">i", first))
    _tag(file, 209, _INT, struct.pack(">i", first + n_times - 1))
    _tag(file, 3803, _FLOAT, struct.pack(">f", info["sfreq"]))
    _tag(file, 3568, _FLOAT, struct.pack(">f", first / info["sfreq"]))
    _tag(file, 3569, _FLOAT, struct.pack(">f", 0.0))
    file.write(struct.pack(">4i", 302, _FLOAT_MATRIX, 4 * n_epochs * epoch.size + 16, 0))
    for part in chain([epoch], islice(epochs, n_epochs - 1)):
        file.write(part.astype(">f4").tobytes())
    file.write(struct.pack(">4i", n_times, n_chans, n_epochs, 3))


def _block(file: BinaryIO, edge: int, *kinds: int) -> None:
    for kind in kinds:
        _tag(file, edge, _INT, struct.pack(">i", kind))


def _tag(file: BinaryIO, kind: int, form: int, content: bytes) -> None:
    file.write(struct.pack(">4i", kind, form, len(content), 0))
    file.write(content)
