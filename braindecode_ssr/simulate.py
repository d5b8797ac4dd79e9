"""Write a simulated dataset as the real one is published, ready to be read and trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .config import DataSpec
from .errors import UsageError
from .images.pooling import image_features
from .methods import METHODS
from .resolve import open_dataset


def simulate(
    name: str,
    out: str | Path,
    *,
    preset: str = "small",
    subjects: tuple[int, ...] = (),
    seed: int = 0,
    progress: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Write recordings, images and image features of a simulated dataset.

    Recordings and images lie as THINGS-EEG2 is published; features of the simulator's own encoder are kept
    where ``things-eeg`` keeps its features, so that training needs no network.

    Parameters
    ----------
    name : str
        A simulated dataset.
    out : path-like
        The folder that becomes a dataset.
    preset, seed
        As in :class:`braindecode_ssr.config.DataSpec`.
    subjects : tuple of int
        Those to write; empty for all.

    Returns
    -------
    dict
        ``out``, ``subjects``, ``recordings`` written, ``images`` and ``encoder``.
    """
    from .datasets.things_eeg import ThingsEEG
    from .simulation.layout import write_raw

    dataset = open_dataset(DataSpec(dataset=name, preset=preset, seed=seed), out)
    if not hasattr(dataset, "preset"):
        raise UsageError("a simulated dataset", repr(name), "give things-sim")
    chosen = [dataset.check_subject(subject) for subject in subjects or dataset.subjects]
    say(f"write {len(dataset.images)} images and {len(chosen)} subjects to {out}")
    files = write_raw(dataset, chosen, Path(out))
    say(f"encode the images with {dataset.default_encoder}")
    views = METHODS["ssr"].views
    written = ThingsEEG(out)
    features = image_features(written, dataset.default_encoder, views)
    features.complete(written, device="cpu", progress=progress)
    return {
        "out": str(out),
        "subjects": chosen,
        "recordings": sum(file.parent.name.startswith("ses-") for file in files),
        "images": len(dataset.images),
        "encoder": dataset.default_encoder,
    }
