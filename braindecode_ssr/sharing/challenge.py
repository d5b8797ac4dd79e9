"""A run as a submission to the EEG-to-image task of the NeurIPS 2026 EEG challenge."""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

from ..errors import DataError, UsageError
from ..files import atomic_write
from ..inference.trained import TrainedRun
from ..methods import METHODS

FILES = ("submission.py", "model.pt")
TOLERANCE = 1e-5
"""Largest difference of a prediction from the run's, as a share of the largest number of the run's."""
PREPROCESSING = ("l_freq", "h_freq", "notch", "sfreq", "whitening", "clamp", "start", "stop")
"""Settings of trials that the challenge prescribes."""

SUBMISSION = '''\
"""{name}: a brain encoder trained with braindecode_ssr {version}. It needs PyTorch alone."""

from pathlib import Path

import torch

try:
    import benchmark_utils  # noqa: F401 - finds the modules of the challenge's kit
    from compet_core.base_solver import CompetSolver
except ImportError:  # used without the kit
    CompetSolver = object

CHANNELS = {channels}
EXPECTED = {expected}


class Model:
    """Predicts image features from epochs; each epoch by itself."""

    def __init__(self, meta):
        for key, value in EXPECTED.items():
            if key in meta and abs(meta[key] - value) > 1e-6 * value:
                raise ValueError(f"this model was trained with {{key}} = {{value}}, not {{meta[key]}}")
        places = {{name.casefold(): place for place, name in enumerate(meta["ch_names"])}}
        missing = [name for name in CHANNELS if name.casefold() not in places]
        if missing:
            raise ValueError("this model needs the channels " + ", ".join(missing))
        device = torch.device(meta.get("device", "cpu"))
        self.picks = torch.tensor([places[name.casefold()] for name in CHANNELS], device=device)
        weights = Path(meta.get("submission_dir", Path(__file__).parent)) / "model.pt"
        self.network = torch.jit.load(weights, map_location=device).eval()

    @torch.no_grad()
    def predict(self, X):
        parts = X.float().index_select(1, self.picks).split(512)
        return torch.cat([self.network(part) for part in parts])


class Solver(CompetSolver):
    name = {name!r}
    requirements = []

    def load_model(self, meta):
        return Model(meta)
'''


def check_submission(run: TrainedRun) -> None:
    """Raise UsageError for a run whose output or input is not that of the challenge."""
    spec = run.spec
    recipe = (
        "train one with --method neuralbench, or with its settings: ssr-bd show method neuralbench"
    )
    if spec.train.solver != "gradient" or spec.model.image_head != "none":
        raise UsageError(
            f"the challenge compares predictions with frozen image features, and {run.path.name} has an "
            f"image head, {spec.model.image_head}",
            recipe,
        )
    wanted = {name: METHODS["neuralbench"].settings["trials"].get(name) for name in PREPROCESSING}
    trials = spec.trials.model_dump(mode="json")
    other = [
        f"trials.{name} = {trials[name]}, not {value}"
        for name, value in wanted.items()
        if trials[name] != value
    ]
    if other:
        raise UsageError(
            f"the trials of {run.path.name} were not made as the challenge makes them: {'; '.join(other)}",
            recipe,
        )


def write_submission(run: TrainedRun, folder: Path, version: str) -> float:
    """Write ``submission.py`` and ``model.pt``; the largest difference of its predictions from the run's."""
    import torch

    channels, model = list(run.channels.ch_names), run.model
    n_times, width = int(run.channels.facts["number of samples"]), int(run.record["n_features"])
    expected = {"sfreq": run.spec.trials.sfreq, "n_times": n_times, "n_outputs": width}
    example = torch.randn(6, len(channels), n_times, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # TorchScript is no longer recommended, but needs no other package
        torch.jit.save(torch.jit.trace(model, (example[:2],)), folder / FILES[1])
    text = SUBMISSION.format(
        name=run.path.name, version=version, channels=json.dumps(channels), expected=repr(expected)
    )
    atomic_write(folder / FILES[0], text)

    meta: dict[str, Any] = {**expected, "ch_names": channels[::-1], "device": "cpu"}
    meta["submission_dir"] = str(folder)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = load_submission(folder).load_model(meta)
        wanted = model(example)
    largest = 0.0
    for rows in ([0, 1, 2, 3, 4, 5], [3], [5, 0, 2]):
        difference = found.predict(example[rows].flip(1)) - wanted[rows]
        largest = max(largest, float(difference.abs().max() / wanted.abs().max()))
    if not largest <= TOLERANCE:
        raise DataError(
            f"the submission differs from the run by {largest:.1e} of its largest prediction",
            "choose another --backbone, and please report it",
        )
    return largest


def load_submission(folder: Path) -> Any:
    """The Solver of a folder that :func:`write_submission` wrote."""
    spec = importlib.util.spec_from_file_location("submission", folder / FILES[0])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Solver()
