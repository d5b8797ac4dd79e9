"""Share a run: on the Hugging Face Hub, as files that other programs load, or as a submission."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..config import EvaluationSpec
from ..errors import DataError, UsageError, first_line
from ..files import atomic_folder, atomic_write
from ..inference.trained import TrainedRun, load_run
from ..methods import METHODS
from ..models.names import Trust
from ..pipeline import evaluate
from ..registry import check_name
from ..retrieval.evaluations import evaluation_of
from ..retrieval.ranks import rank_of_target
from ..runs import CARD, HUB_FILES, model_card, versions
from .score import embeddings_writer, final_step, read_similarity

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
            raise DataError(
                f"the Hugging Face Hub does not take {name}: {first_line(error)}",
                "check the network and log in with `hf auth login`, or write the files with --to FOLDER",
            ) from error
    return str(url)


def _stage(run: TrainedRun, folder: Path) -> None:
    """Write what is uploaded: no image, and no path of this disk."""
    for name in HUB_FILES:
        if (run.path / name).is_file():
            shutil.copyfile(run.path / name, folder / name)
    record = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    record["spec"]["train"]["keep"] = "final"  # weights of earlier epochs are not uploaded
    for part, key in (("model", "pretrained"), ("finetune", "run")):
        path = record["spec"].get(part, {}).get(key)
        if path and Path(path).expanduser().exists():
            record["spec"][part][key] = Path(path).name
    roots = {record["dataset"]["root"]: record["dataset"]["name"]}
    roots |= {source["root"]: source["name"] for source in record.get("sources", ())}
    for place, key in (
        (record["dataset"], "root"),
        *((source, "root") for source in record.get("sources", ())),
        *((extra, "data_dir") for extra in record["spec"]["data"].get("extra", ())),
    ):
        place[key] = None
    for root, name in roots.items():
        record["notes"] = [note.replace(str(root), name) for note in record.get("notes", ())]
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
    check_name("format of an export", form, FORMATS)
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
    tested = evaluation_of(run.spec)
    plain = final_step(tested.spec) == final_step(EvaluationSpec())
    if form == "embeddings" and not (plain and tested.spec.average != "none"):
        raise UsageError(
            f"this run is tested with {tested.name}, but embeddings are exported for plain retrieval: one "
            "query per image, ranked by similarity",
            f"export those of another evaluation: ssr-bd evaluate {run.path} --evaluation default "
            "--embeddings FILE.npz",
        )
    spec, trials = run.spec, run.spec.trials
    content: dict[str, Any] = {
        "run": run.path.name,
        "format": form,
        "channels": list(run.channels.ch_names),
        "sfreq": _of_trials(run, "sampling rate", trials.sfreq),
        "n_times": int(run.channels.facts["number of samples"]),
        "start": _of_trials(run, "time of the first sample", trials.start),
        "whitening": trials.whitening,
        "encoder": spec.images.label,
        "versions": versions(),
    }
    with atomic_folder(folder, merge=True, option="--out") as part:
        if form == "embeddings":
            names = ["embeddings.npz"]
            how: dict[str, Any] = {"data_dir": data_dir, "trust": trust, "progress": progress}
            content["difference"] = _write_embeddings(run, part / names[0], **how)
        elif form == "challenge":
            names = list(SUBMISSION_FILES)
            version = content["versions"]["braindecode_ssr"]
            content["difference"] = write_submission(run, part, version)
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

    options: dict[str, Any] = {"dynamo": True, "external_data": False, "verbose": False}
    options |= {"input_names": ["x"], "output_names": ["embedding"]}
    options["dynamic_shapes"] = {"x": {0: torch.export.Dim("b", min=1)}}
    torch.onnx.export(side, (example,), path, **options)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


WRITERS: dict[str, Callable[..., Callable[[Any], Any]]] = {
    "torchscript": _torchscript,
    "torch-export": _torch_export,
    "onnx": _onnx,
}

__all__ = ["export", "push"]


# -- a submission to the EEG-to-image task of the NeurIPS 2026 EEG challenge ---------------------------------

SUBMISSION_FILES = ("submission.py", "model.pt")
SAME_PREDICTION = 1e-5
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
    trained = ""
    if spec.train.solver != "gradient" or spec.model.image_head != "none":
        trained = f"{run.path.name} has an image head, {spec.model.image_head}"
    elif spec.images.tuning != "frozen":
        trained = f"the image encoder of {run.path.name} was trained"
    if trained:
        raise UsageError(
            f"the challenge compares predictions with frozen image features, and {trained}", recipe
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
        # TorchScript is no longer recommended, but needs no other package
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(model, (example[:2],)), folder / SUBMISSION_FILES[1])
    text = SUBMISSION.format(
        name=run.path.name, version=version, channels=json.dumps(channels), expected=repr(expected)
    )
    atomic_write(folder / SUBMISSION_FILES[0], text)

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
    if not largest <= SAME_PREDICTION:
        raise DataError(
            f"the submission differs from the run by {largest:.1e} of its largest prediction",
            "choose another --backbone, and please report it",
        )
    return largest


def load_submission(folder: Path) -> Any:
    spec = spec_from_file_location("submission", folder / SUBMISSION_FILES[0])
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Solver()
