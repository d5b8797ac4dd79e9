"""Share a run: on the Hugging Face Hub, and as files that other programs load."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..errors import DataError, UsageError
from ..files import atomic_folder, atomic_write
from ..inference.trained import TrainedRun, load_run
from ..models.names import Trust
from ..registry import unknown_name
from ..retrieval.evaluations import evaluation_of
from ..runs import CARD, HUB_FILES, model_card, versions
from .challenge import FILES, check_submission, write_submission

FORMATS = ("embeddings", "onnx", "torchscript", "torch-export", "challenge")
SUFFIX = {"onnx": ".onnx", "torchscript": ".pt", "torch-export": ".pt2"}
TOLERANCE = 1e-4
"""Largest difference of an exported model from the run's, as a share of its largest output."""


def push(
    source: str | Path, name: str, *, to: str | Path | None = None, private: bool = False
) -> str:
    """Upload a run to ``ORG/NAME`` on the Hugging Face Hub, where ``load_run`` finds it; gives the address.

    Weights, configuration, model card, settings, history, whitening and ranks are uploaded; checkpoints,
    images and the path of the data on this disk are not. ``to`` is a folder for what would be uploaded,
    without a network.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UsageError(f"{name!r} cannot name a repository: {error}", "give ORG/NAME") from error
    if name.count("/") != 1:
        raise UsageError(f"{name!r} names no owner", "give ORG/NAME, such as my-lab/my-run")
    run = load_run(source, device="cpu")
    run.model  # noqa: B018 - that others can load it too
    if to is not None:
        with atomic_folder(Path(to) / name, option="--to") as folder:
            _stage(run, folder)
        return str(Path(to) / name)
    with TemporaryDirectory() as temporary:
        _stage(run, Path(temporary))
        try:
            api = HfApi()
            url = api.create_repo(name, private=private, exist_ok=True)
            message = f"{run.path.name}, by ssr-bd push"
            api.upload_folder(folder_path=temporary, repo_id=name, commit_message=message)
        except Exception as error:  # no network, no token, no permission
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise DataError(
                f"the Hugging Face Hub does not take {name}: {reason}",
                "check the network and log in with `hf auth login`, or write the files with --to FOLDER",
            ) from error
    return str(url)


def _stage(run: TrainedRun, folder: Path) -> None:
    """Write what is uploaded: data, and no path of this disk."""
    for name in HUB_FILES:
        if (run.path / name).is_file():
            shutil.copyfile(run.path / name, folder / name)
    record = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    record["dataset"]["root"] = None
    for part, key in (("model", "pretrained"), ("finetune", "run")):
        path = record["spec"].get(part, {}).get(key)
        if path and Path(path).expanduser().exists():
            record["spec"][part][key] = Path(path).name
    (folder / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if not (folder / CARD).is_file():
        (folder / CARD).write_text(model_card(run.spec, record, run.summary), encoding="utf-8")


def export(
    source: str | Path,
    form: str,
    out: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    trust: Trust = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Write a run's model, or its embeddings of the test, for other programs, and check what was written.

    ``form`` is ``"embeddings"`` (``embeddings.npz``), or ``"onnx"``, ``"torchscript"`` or
    ``"torch-export"``: the two sides of the model as ``brain`` (trials (b, c, t) to (b, e)) and ``image``
    (features (b, d) to (b, e)), for any batch size; or ``"challenge"``, a submission to the EEG-to-image
    task of the NeurIPS 2026 EEG challenge, ``submission.py`` and ``model.pt``. ``out`` is by default
    ``export`` in the run folder. Returns what ``export.json`` says: ``run, format, files, difference`` (the
    largest, relative to the largest output), and what the model takes: ``channels, sfreq, n_times, start,
    whitening, encoder``.
    DataError, and nothing is left, if what was written does not give what the run gives.
    """
    if form not in FORMATS:
        raise unknown_name("format of an export", form, list(FORMATS))
    lacking = [name for name in ("onnx", "onnxscript", "onnxruntime") if not find_spec(name)]
    if form == "onnx" and lacking:
        raise UsageError(
            f"exporting to ONNX needs {', '.join(lacking)}",
            'install them: pip install "braindecode-ssr[onnx]"',
        )
    run = load_run(source, trust=trust, device="cpu")
    folder = Path(out) if out is not None else run.path / "export"
    if form == "challenge":
        check_submission(run)
    spec, trials = run.spec, run.spec.trials
    content: dict[str, Any] = {
        "run": run.path.name,
        "format": form,
        "channels": list(run.channels.ch_names),
        "sfreq": _of_trials(run, "sampling rate", trials.sfreq),
        "n_times": int(run.channels.facts["number of samples"]),
        "start": _of_trials(run, "time of the first sample", trials.start),
        "whitening": trials.whitening,
        "encoder": spec.images.encoder,
        "versions": versions(),
    }
    with atomic_folder(folder, merge=True, option="--out") as part:
        if form == "embeddings":
            names = ["embeddings.npz"]
            content["difference"] = _write_embeddings(
                run, part / names[0], data_dir=data_dir, trust=trust, progress=progress
            )
        elif form == "challenge":
            names = list(FILES)
            content["difference"] = write_submission(
                run, part, content["versions"]["braindecode_ssr"]
            )
        else:
            names = [f"{side}{SUFFIX[form]}" for side in ("brain", "image")]
            content["difference"] = _write_model(run, form, part, names, content["n_times"])
        content["files"] = names
        atomic_write(part / "export.json", json.dumps(content, indent=2) + "\n")
    return {**content, "folder": str(folder)}


def _of_trials(run: TrainedRun, fact: str, default: float) -> float:
    """A fact of the trials of a run, as a number; of released files, it may not be what was asked for."""
    known = run.channels.facts.get(fact)
    return float(known.split()[0]) if known else default


def _write_embeddings(run: TrainedRun, file: Path, **options: Any) -> float:
    """Write the embeddings of the test; ranks of what was written must be those of the run."""
    from ..pipeline import evaluate
    from ..retrieval.ranks import rank_of_target
    from .score import embeddings_writer, read_similarity

    keep = embeddings_writer(file, run.spec, [evaluation_of(run.spec)])
    queries, _ = evaluate(run.path, embeddings=keep, **options)
    found = read_similarity(file)
    own = np.array([found.gallery_ids.index(image) for image in found.query_ids])
    ranks = dict(zip(found.query_ids, rank_of_target(found.near, own), strict=True))
    scores = dict(zip(found.query_ids, found.near[np.arange(len(own)), own], strict=True))
    expected = queries.set_index("image_id")
    if any(ranks[image] != rank for image, rank in expected["rank"].items()):
        raise DataError(f"{file.name} does not give the ranks of the run", "please report it")
    return max(abs(scores[image] - score) for image, score in expected["score"].items())


def _write_model(run: TrainedRun, form: str, folder: Path, names: list[str], n_times: int) -> float:
    """Write both sides of the model; the largest difference of what is read again."""
    import torch
    from torch import nn

    class Side(nn.Module):
        """A function of the model as a module of its own."""

        def __init__(self, function: str) -> None:
            super().__init__()
            self.function = function
            self.model: Any = run.model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.model(x) if self.function == "brain" else self.model.image_head(x)

    shapes = (len(run.channels.ch_names), n_times), (int(run.record["n_features"]),)
    largest, generator = 0.0, torch.Generator().manual_seed(0)
    for name, shape in zip(names, shapes, strict=True):
        side = Side(Path(name).stem).eval()
        example, *others = (torch.randn(n, *shape, generator=generator) for n in (2, 1, 5))
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = WRITERS[form](side, example, folder / name)
            for x in (example, *others):
                expected = side(x)
                difference = (loaded(x) - expected).abs().max() / expected.abs().max()
                largest = max(largest, float(difference))
    if not largest <= TOLERANCE:
        raise DataError(
            f"the model in {form} differs from the run by {largest:.1e} of its largest output",
            "use another format, and please report it",
        )
    return largest


def _torchscript(side: Any, example: Any, path: Path) -> Callable[[Any], Any]:
    import torch

    torch.jit.save(torch.jit.trace(side, (example,)), path)
    return torch.jit.load(path)


def _torch_export(side: Any, example: Any, path: Path) -> Callable[[Any], Any]:
    import torch

    batch = {"x": {0: torch.export.Dim("b", min=1)}}
    torch.export.save(torch.export.export(side, (example,), dynamic_shapes=batch), path)
    return torch.export.load(path).module()


def _onnx(side: Any, example: Any, path: Path) -> Callable[[Any], Any]:
    import onnxruntime
    import torch

    batch = {"x": {0: torch.export.Dim("b", min=1)}}
    torch.onnx.export(
        side,
        (example,),
        path,
        dynamo=True,
        external_data=False,
        dynamic_shapes=batch,
        input_names=["x"],
        output_names=["embedding"],
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


WRITERS: dict[str, Callable[..., Callable[[Any], Any]]] = {
    "torchscript": _torchscript,
    "torch-export": _torch_export,
    "onnx": _onnx,
}

__all__ = ["export", "push"]
