"""Write a simulated dataset as the real one is published, ready to be read and trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .config import DataSpec
from .errors import UsageError
from .images.pooling import image_features
from .methods import METHODS
from .registry import unknown_name
from .resolve import open_dataset

LAYOUTS = {"raw": "things-eeg", "meg": "things-meg"}
"""Published forms that can be written, and the dataset that reads each."""


def simulate(
    name: str,
    out: str | Path,
    *,
    layout: str = "raw",
    preset: str = "small",
    subjects: tuple[int, ...] = (),
    seed: int = 0,
    progress: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Write recordings, images and image features of a simulated dataset.

    Recordings and images lie as THINGS-EEG2 or THINGS-MEG is published; features of the simulator's own
    encoder are kept where ``things-eeg`` or ``things-meg`` keeps its features, so that training needs no
    network.

    Parameters
    ----------
    name : str
        A simulated dataset.
    out : path-like
        The folder that becomes a dataset.
    layout : {"raw", "meg"}
        As the raw recordings of THINGS-EEG2, or as the epochs of THINGS-MEG: another experiment with the
        same concepts.
    preset, seed
        As in :class:`braindecode_ssr.config.DataSpec`.
    subjects : tuple of int
        Those to write; empty for all.

    Returns
    -------
    dict
        ``out``, ``dataset`` that reads it, ``subjects``, ``recordings`` written, ``images`` and ``encoder``.

    Raises
    ------
    UsageError
        If there is no such dataset, layout, preset or subject, or the folder is another dataset's.
    DataError
        If a file cannot be written.
    """
    from .datasets import DATASETS

    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, list(LAYOUTS))
    dataset = open_dataset(DataSpec(dataset=name, preset=preset, seed=seed), out)
    if not hasattr(dataset, "preset"):
        raise UsageError("a simulated dataset", repr(name), "give things-sim")
    subjects = tuple(map(dataset.check_subject, subjects))
    files = _WRITERS[layout](dataset, subjects, Path(out), say)
    written = DATASETS[LAYOUTS[layout]](out)
    say(f"encode the images with {dataset.default_encoder}")
    features = image_features(written, dataset.default_encoder, METHODS["ssr"].views)
    features.complete(written, device="cpu", progress=progress)
    return {
        "out": str(out),
        "dataset": written.name,
        "subjects": list(subjects or written.present_subjects),
        "recordings": len(files),
        "images": len(written.images),
        "encoder": dataset.default_encoder,
    }


def _write_raw(dataset: Any, subjects: tuple[int, ...], out: Path, say: Callable) -> list[Path]:
    from .simulation.layout import write_raw

    chosen = [dataset.check_subject(subject) for subject in subjects or dataset.subjects]
    say(f"write {len(dataset.images)} images and {len(chosen)} subjects to {out}")
    return [path for path in write_raw(dataset, chosen, out) if path.parent.name.startswith("ses-")]


def _write_meg(dataset: Any, subjects: tuple[int, ...], out: Path, say: Callable) -> list[Path]:
    from .simulation.meg_layout import write_meg

    say(f"write images and trials to {out}")
    return [path for path in write_meg(dataset, subjects, out, say) if path.suffix == ".fif"]


_WRITERS = {"raw": _write_raw, "meg": _write_meg}
