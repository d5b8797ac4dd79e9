"""The folder of a run: settings, results, and everything needed to resume."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, Field, ValidationError

from .config import EvaluationSpec, RunSpec, TrainSpec, html_table
from .errors import DataError, MissingDataError, first_line
from .files import atomic_write, load_json, new_folder, publish, read_json
from .registry import as_read, folder_name
from .retrieval.ranks import FLAGS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch

    from .datasets.base import ImageDataset


PACKAGES = ("braindecode_ssr", "torch", "braindecode", "mne", "skorch", "numpy", "open_clip_torch")
REPAIR = "run the `ssr-bd` command that made it again, or leave this folder out"
CONFIG, CARD, WHITENING = "config.json", "README.md", "whitening.safetensors"
IMAGE_ENCODER = "image_encoder.safetensors"
FILES = ("run.json", "history.csv", "model.safetensors", "queries.csv")
HUB_FILES = (*FILES, "summary.json", CONFIG, CARD, WHITENING, IMAGE_ENCODER)
"""What a run is on the Hugging Face Hub."""
NAMES = ("image_id", "concept", *(f"top_{place}" for place in range(1, 6)))
"""Columns of ``queries.csv`` that are names, also those such as ``007``."""
Fraction = Annotated[float, Field(ge=0, le=1)]


class RecordedDataset(BaseModel):
    root: str | None = None
    fingerprint: str | None = None
    images: str | None = None


class Record(BaseModel):
    """What ``run.json`` must contain; the spec is validated by itself."""

    spec: dict[str, Any]
    dataset: RecordedDataset | None = None
    features: dict[str, str] | None = None


class Summary(BaseModel):
    top1: Fraction | None = None
    top5: Fraction | None = None
    mrr: Fraction | None = None
    mean_rank: float | None = Field(default=None, ge=1)
    median_rank: float | None = Field(default=None, ge=1)
    n_queries: int | None = Field(default=None, ge=1)
    n_gallery: int | None = Field(default=None, ge=1)
    epochs: int | None = Field(default=None, ge=0)
    evaluation: str | None = None
    flags: list[str] = []
    train_subjects: list[int | str] = []
    scored_by: dict[str, str] | None = None


@dataclass(frozen=True)
class Run:
    """One run and its folder.

    Parameters
    ----------
    path : Path
        The folder. ``run.json`` holds settings, data and versions; ``history.csv`` one row per epoch;
        ``model.safetensors`` the weights; ``queries.csv`` one row per query; ``summary.json``, written last,
        the numbers; ``config.json`` and ``README.md`` the model and its card for braindecode and the Hub;
        ``whitening.safetensors`` the mean noise normalization of the training sessions, if known;
        ``image_encoder.safetensors`` the changes of a trained image encoder; ``checkpoint/`` what the same
        command resumes from; ``epochs/`` the weights of every epoch if ``train.keep`` is ``"every"``.
    """

    path: Path
    parts: ClassVar[tuple[str, ...]] = FILES

    def _repr_html_(self) -> str:
        if not self.finished:
            return f"<p>unfinished run in <code>{escape(str(self.path))}</code></p>"
        numbers = self.summary
        names = "dataset method backbone protocol subject seed evaluation n_gallery".split()
        cells = {name.replace("_", " "): str(numbers[name]) for name in names if name in numbers}
        cells["flags"] = ", ".join(numbers.get("flags", ())) or "none"
        cells |= {f"top-{k}": f"{100 * numbers[f'top{k}']:.1f} %" for k in (1, 5)}
        return html_table(self.path.name, cells)

    @property
    def checkpoint(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoint"

    @property
    def weights(self) -> Path:
        """The weights of the model."""
        return self.path / "model.safetensors"

    @property
    def epochs(self) -> Path:
        """The folder with the weights of every epoch, if they are kept."""
        return self.path / "epochs"

    @property
    def finished(self) -> bool:
        """Whether the run is complete, and every file it wrote can be read."""
        return (self.path / "summary.json").is_file() and not self.damage

    @property
    def damage(self) -> str:
        """The files of a complete run that cannot be read; empty if there are none, or it is not complete."""
        summary = self.path / "summary.json"
        if not summary.is_file():
            return ""
        files = [summary, *(self.path / name for name in self.parts), *self._further_files()]
        return ", ".join(str(file.relative_to(self.path)) for file in files if not is_whole(file))

    @property
    def data_root(self) -> str:
        """Where the run found its data; DataError if it does not say that."""
        root = (self.record.get("dataset") or {}).get("root")
        if not root:
            raise DataError(
                f"{self.path / 'run.json'} does not say where the data are", "add --data-dir"
            )
        return root

    def _further_files(self) -> list[Path]:
        """The weights of each epoch, and those of the image encoder, if there should be any."""
        if "history.csv" not in self.parts:
            return []
        record, summary = (read_json(self.path / name) for name in ("run.json", "summary.json"))
        try:
            kept = record["spec"]["train"]["keep"] == "every"
            epochs = range(1, summary["epochs"] + 1) if kept else range(0)
            tuned = record["spec"]["images"].get("tuning", "frozen") != "frozen"
        except (AttributeError, KeyError, TypeError):
            return []
        files = [self.epochs / f"epoch-{epoch:04d}.safetensors" for epoch in epochs]
        return [*files, self.path / IMAGE_ENCODER] if tuned else files

    @cached_property
    def record(self) -> dict[str, Any]:
        """Settings, data and versions: ``run.json``."""
        return self._read_json("run.json", Record)

    @cached_property
    def spec(self) -> RunSpec:
        """The resolved spec."""
        try:
            return RunSpec.model_validate(self.record["spec"])
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, ("spec", *first["loc"])))
            raise DataError(
                f"{self.path / 'run.json'} is damaged or of another version ({where}: {first['msg']})",
                "train the run again with this version of braindecode_ssr",
            ) from error

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The numbers: ``summary.json``."""
        return self._read_json("summary.json", Summary)

    @cached_property
    def queries(self) -> pd.DataFrame:
        """One row per query: ``queries.csv``."""
        options = {"converters": {"subject": as_read}, "dtype": dict.fromkeys(NAMES, str)}
        queries = self._read_table("queries.csv", **options)
        if "rank" in queries:
            check_ranks(queries, self.summary.get("n_gallery"), self.path / "queries.csv")
        return queries

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per epoch: ``history.csv``."""
        return self._read_table("history.csv")

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file, whole or not at all."""
        atomic_write(self.path / name, json.dumps(content, indent=2) + "\n")

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write a CSV file, whole or not at all."""
        atomic_write(self.path / name, table.to_csv(index=False))

    def _existing(self, name: str) -> Path:
        path = self.path / name
        if not path.is_file():
            raise MissingDataError(
                f"there is no {name} in {self.path}",
                "give the folder that `ssr-bd train` printed, or complete the run with the same command",
            )
        return path

    def _read_json(self, name: str, model: type[BaseModel]) -> dict[str, Any]:
        return load_json(self._existing(name), model, REPAIR)

    def _read_table(self, name: str, **options: Any) -> pd.DataFrame:
        import pandas as pd

        path = self._existing(name)
        try:
            # a concept may be called "null" or "NA"
            return pd.read_csv(path, keep_default_na=False, na_values=[""], **options)
        except (ValueError, OSError) as error:  # pandas' errors are ValueErrors
            raise DataError(f"{path} is damaged ({first_line(error)})", REPAIR) from error


def check_ranks(queries: pd.DataFrame, n_gallery: Any, path: Path) -> None:
    """Raise DataError for an impossible rank in a table that was read from a file.

    Ranks are whole numbers from 1 to the size of the gallery, which may be None or a column (NaN:
    unknown). Expected ranks, of n-way tests, come with an expected ``top1`` and need not be whole.
    """
    import pandas as pd

    rank = pd.to_numeric(queries["rank"], errors="coerce")
    most = pd.to_numeric(pd.Series(n_gallery, queries.index, dtype=object)).fillna(float("inf"))
    expected = queries["top1"].notna() if "top1" in queries else False
    bad = ~(rank >= 1) | (rank > most) | ((rank % 1 != 0) & ~(rank.isna() | expected))
    if bad.any():
        row = int(bad.to_numpy().argmax())
        among = "" if most.iloc[row] == float("inf") else f" to {most.iloc[row]:g}"
        raise DataError(
            f"row {row + 1} of {path} has rank {queries['rank'].iloc[row]}; ranks are whole numbers from "
            f"1{among}",
            REPAIR,
        )


class EvaluationFolder(Run):
    parts = ("queries.csv",)


def is_whole(path: Path) -> bool:
    """Whether a JSON, CSV or safetensors file can be read completely."""
    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="np"):  # checks the size against the header
                return True
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError, SafetensorError):
        return False
    if path.suffix == ".json":
        return isinstance(read_json(path), dict)
    return text.endswith("\n") and text.count("\n") > 1 and "\0" not in text


def named_folder(source: Any) -> Path:
    """The path of a folder, run or benchmark, with the name of the folder even where that is ``.``."""
    path = Path(getattr(source, "path", source)).expanduser()
    return path.resolve() if path.name in ("", "..") else path


ANY_MACHINE = {name: TrainSpec.model_fields[name].default for name in ("device", "memory")}
"""Settings that say where a run is trained."""


def run_name(spec: RunSpec) -> str:
    """The name of a run's folder, with a digest of the whole spec but for device and memory."""
    return (
        f"{spec.data.dataset}_{spec.label}_{folder_name(spec.data.subject)}_{spec.data.protocol}"
        f"_seed-{spec.train.seed}_{spec.replace(train=ANY_MACHINE).digest[:8]}"
    )


def preset_of(spec: RunSpec) -> str:
    """The preset of a simulated dataset; ``"none"`` for recorded ones."""
    return spec.data.preset if spec.data.dataset == "things-sim" else "none"


def settings_digest(spec: RunSpec) -> str:
    """Eight digits of the settings of a run, whatever its subject, seed, machine and evaluation."""
    train = {**ANY_MACHINE, "seed": 0}
    alike = spec.replace(data={"subject": 1}, train=train, evaluation=EvaluationSpec())
    return alike.digest[:8]


def run_of(out: Path, spec: RunSpec) -> Run:
    """The run of a resolved spec below ``out``, whether it exists or not.

    A complete ``--overwrite`` run whose process was killed before it replaced the old one does so first.
    """
    run = Run(out / run_name(spec))
    new = replacement_of(run)
    if new.finished and not run.path.exists():
        with suppress(OSError):  # another process was faster
            publish(new.path, run.path)
    return run


def replacement_of(run: Run) -> Run:
    """Where ``--overwrite`` trains: beside the old run, which stays until the new one is complete."""
    return Run(run.path.with_name(f".{run.path.name}.new"))


def data_difference(
    run: Run,
    dataset: ImageDataset,
    spec: RunSpec,
    features: dict[str, str] | None = None,
    made_of: str = "",
) -> str:
    """How the data of an existing run differ from those there are now, as a sentence; empty if not.

    ``features`` and ``made_of`` are ``made_by()`` and ``made_of()`` of the image features, if known.
    """
    if not (run.path / "run.json").exists():
        return ""
    try:
        record = run.record
        trained_on = record["dataset"]["fingerprint"]
    except (DataError, KeyError, TypeError):  # damaged: it will be written again
        return ""
    here = dataset.source_key(spec.data.subject, spec.trials)
    if trained_on != here:
        return f"its data were version {trained_on!r}, those in {dataset.root} are version {here!r}"
    if features and record.get("features", features) != features:
        return f"its image features ({spec.images.encoder}) have been replaced since"
    if made_of and record["dataset"].get("images", made_of) != made_of:
        return f"image files in {dataset.root} have changed since"
    return ""


@contextmanager
def new_run(run: Run) -> Iterator[Run]:
    """A run with its folder, which must be writable; folders that stay empty are removed at the end."""
    with new_folder(run.path.parent), new_folder(run.path):
        yield run


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that the numbers depend on."""
    found = {"python": platform.python_version()}
    return found | {name: known for name in PACKAGES if (known := _version(name))}


@cache
def _version(name: str) -> str | None:
    with suppress(PackageNotFoundError):
        return version(name)
    return None


def machine() -> dict[str, Any]:
    """What the last digits of numbers depend on: processor, threads, BLAS libraries, torch's kernels."""
    import torch
    from threadpoolctl import threadpool_info

    libraries = [lib for lib in threadpool_info() if lib["user_api"] == "blas"]
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "blas": sorted(f"{lib['internal_api']} {lib['version']}" for lib in libraries),
        "blas_threads": max((lib["num_threads"] for lib in libraries), default=1),
        "aten": torch.backends.cpu.get_cpu_capability(),
    }


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def git_commit() -> str | None:
    """The commit of the source tree this package runs from, if any; marked "-dirty" if it was changed.

    Asked once: what is imported does not change afterwards.
    """
    git = ["git", "-C", str(Path(__file__).parent)]
    describe = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 10}
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", __file__], check=True, **options)
        return subprocess.run([*git, *describe], check=True, **options).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def write_weights(path: Path, model: torch.nn.Module) -> None:
    """Write weights with the SHA-256 of their bytes, so that a single wrong bit is noticed."""
    from safetensors.torch import save

    state = model.state_dict()
    if any(".parametrizations." in name for name in state):
        from .models.tuning import merged_state

        state = merged_state(model)
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    # save_file would make a file that only its owner can read
    atomic_write(path, _with_sha256(save, tensors))


def _with_sha256(save: Callable[..., bytes], tensors: dict[str, Any]) -> bytes:
    return save(tensors, {"sha256": _tensors_sha256(save(tensors))})


def _tensors_sha256(content: bytes) -> str:
    """SHA-256 of what follows the header of a safetensors file, which begins with its length."""
    start = 8 + int.from_bytes(content[:8], "little")
    return hashlib.sha256(memoryview(content)[start:]).hexdigest()


def write_model(run: Run, model: Any, whitening: dict[str, Any]) -> None:
    """Write weights, the configuration of a braindecode model, and the whitening if its arrays are known."""
    from safetensors.numpy import save

    write_weights(run.weights, model)
    if getattr(model, "_has_config", False):
        from braindecode import __version__

        run.write_json(CONFIG, {**model.get_config(), "braindecode_version": __version__})
    if whitening:
        atomic_write(run.path / WHITENING, _with_sha256(save, whitening))


def read_whitening(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        _check_sha256(path)
        return load_file(path)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DataError(
            f"{path} does not hold the whitening of this run: {first_line(error)}",
            "train the run again, or use --whitening recording",
        ) from error


CARD_TEXT = """---
library_name: braindecode
tags:
- braindecode
- braindecode_ssr
- eeg
- image-retrieval
---

# {title}

Retrieves the image that a person saw from brain responses, with braindecode_ssr {version}.

{facts}

## Numbers

{numbers}

One run with one seed; the rank of each query is in `queries.csv`.

{flags}

## Use

```python
from braindecode_ssr import SSR, load_run

{use}
```

No image and no recording is part of this folder.
"""


def model_card(spec: RunSpec, record: dict[str, Any], summary: dict[str, Any]) -> str:
    """The README of a run on the Hugging Face Hub: what it is, its numbers and how they were obtained."""
    from tabulate import tabulate

    data, trials = spec.data, spec.trials
    who = ", ".join(map(str, summary.get("train_subjects", ()))) or "unknown"
    channels = record["channels"]
    flags = [f"- **{flag}**: {FLAGS[flag]}" for flag in summary["flags"]]
    averaged = dict.fromkeys((summary["repetitions"], summary["repetitions_max"]))
    facts = {
        "dataset": f"{data.dataset}, version {(record['dataset'] or {}).get('fingerprint')}",
        "protocol": f"{data.protocol}: trained on subject {who}, tested on subject {data.subject}",
        "channels": f"{len(channels)}: {', '.join(channels)}",
        "trials": f"{trials.start:g} to {trials.stop:g} s after image onset at {trials.sfreq:g} Hz, "
        f"baseline {trials.baseline}, whitening {trials.whitening}",
        "images": f"features of {spec.images.label}, views {', '.join(spec.images.views) or 'none'}",
        "model": f"{spec.label}, backbone {spec.model.backbone}, {spec.train.epochs} epochs, "
        f"seed {spec.train.seed}",
        "evaluation": f"{summary['evaluation']}: {summary['n_queries']} queries among "
        f"{summary['n_gallery']} images, {' to '.join(map(str, averaged))} trials averaged",
    }
    if spec.finetune.run:
        n_trials, frozen = spec.finetune.trials or "all", ", ".join(spec.model.freeze) or "nothing"
        trained = f"from {spec.finetune.run} with {n_trials} training trials of the tested subject"
        facts["fine-tuned"] = f"{trained}, frozen: {frozen}"
    numbers = [
        [row, *(f"{100 * summary[prefix + key]:.1f} %" for key in ("top1", "top5"))]
        for row, prefix in (("this run", ""), ("ceiling", "ceiling_"), ("chance", "chance_"))
        if f"{prefix}top1" in summary
    ]
    flags = flags and ["Flags, without which the numbers must not be read:", *flags]
    use = [
        'run = load_run("FOLDER or ORG/NAME")',
        'run.retrieve("recording.vhdr", images="pictures")',
    ]
    if spec.train.solver == "gradient":
        use.append('model = SSR.from_pretrained("FOLDER or ORG/NAME")')
    return CARD_TEXT.format(
        title=f"{spec.label}: {data.dataset}, subject {data.subject}",
        version=record["versions"].get("braindecode_ssr", ""),
        facts=tabulate(facts.items(), ["", ""], tablefmt="pipe"),
        numbers=tabulate(numbers, ["", "top-1", "top-5"], tablefmt="pipe"),
        flags="\n".join(flags or ["No flags."]),
        use="\n".join(use),
    )


def load_weights(model: torch.nn.Module, path: Path) -> torch.nn.Module:
    """Load all weights of a model; DataError if the file is missing, damaged or of another model."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        _check_sha256(path)
        model.load_state_dict(load_file(path), strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DataError(
            f"{path} does not hold the weights of this run's model: {first_line(error)}",
            "train the run again",
        ) from error
    return model


def _check_sha256(path: Path) -> None:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        written = (file.metadata() or {}).get("sha256")  # older runs have none
    if written and _tensors_sha256(path.read_bytes()) != written:
        raise RuntimeError("its bytes have changed since it was written")
