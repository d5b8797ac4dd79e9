"""The folder of a run: what was asked, what came out, and what is needed to go on."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, Field, ValidationError

from .config import RunSpec, TrainSpec
from .errors import DataError, MissingDataError
from .files import atomic_write, load_json, make_folder, read_json, sync, unwritable
from .labels import as_read, folder_name

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from .datasets.base import ImageDataset


PACKAGES = ("braindecode_ssr", "torch", "braindecode", "mne", "skorch", "numpy", "open_clip_torch")


AGAIN = "run the `ssr-bd` command that made it again, or leave this folder out"
Fraction = Annotated[float, Field(ge=0, le=1)]


class Recorded(BaseModel):
    """What ``run.json`` says of the dataset."""

    root: str | None = None
    fingerprint: str | None = None


class Record(BaseModel):
    """What must be in ``run.json``; the spec is checked by itself."""

    spec: dict[str, Any]
    dataset: Recorded | None = None
    features: dict[str, str] | None = None


class Summary(BaseModel):
    """What must be right in ``summary.json``, where it is there."""

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


@dataclass(frozen=True)
class Run:
    """One run and its folder.

    Parameters
    ----------
    path : Path
        The folder. ``run.json`` says what was asked and on what; ``history.csv`` has one row per epoch;
        ``model.safetensors`` the weights; ``queries.csv`` one row per query; ``summary.json``, written last,
        the numbers; ``checkpoint/`` what the same command continues from; ``epochs/`` the weights of every
        epoch where ``train.keep`` is ``"every"``.
    """

    path: Path
    parts: ClassVar[tuple[str, ...]] = (
        "run.json",
        "history.csv",
        "model.safetensors",
        "queries.csv",
    )

    @property
    def checkpoint(self) -> Path:
        """Where training keeps what it needs to go on."""
        return self.path / "checkpoint"

    @property
    def weights(self) -> Path:
        """The weights of the model."""
        return self.path / "model.safetensors"

    @property
    def epochs(self) -> Path:
        """Where the weights of every epoch are, if they were to be kept."""
        return self.path / "epochs"

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end, and everything it wrote can be read."""
        return (self.path / "summary.json").is_file() and not self.damage

    @property
    def damage(self) -> str:
        """Which files of a run that came to its end cannot be read; empty if all can, or if it did not."""
        summary = self.path / "summary.json"
        if not summary.is_file():
            return ""
        files = [summary, *(self.path / name for name in self.parts), *self._epoch_files()]
        return ", ".join(str(file.relative_to(self.path)) for file in files if not is_whole(file))

    def _epoch_files(self) -> list[Path]:
        """The weights of every epoch, where the run kept them."""
        record, summary = (read_json(self.path / name) for name in ("run.json", "summary.json"))
        try:
            kept = record["spec"]["train"]["keep"] == "every" and "history.csv" in self.parts
            epochs = range(1, summary["epochs"] + 1) if kept else ()
        except (KeyError, TypeError):
            epochs = ()
        return [self.epochs / f"epoch-{epoch:04d}.safetensors" for epoch in epochs]

    @cached_property
    def record(self) -> dict[str, Any]:
        """What was asked and on what: ``run.json``."""
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
        queries = self._read_table("queries.csv", converters={"subject": as_read})
        if "rank" in queries:
            check_ranks(queries, self.summary.get("n_gallery"), self.path / "queries.csv")
        return queries

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per epoch: ``history.csv``."""
        return self._read_table("history.csv")

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file at once or not at all."""
        atomic_write(self.path / name, json.dumps(content, indent=2) + "\n")

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write a CSV file at once or not at all."""
        atomic_write(self.path / name, table.to_csv(index=False))

    def _existing(self, name: str) -> Path:
        path = self.path / name
        if not path.is_file():
            raise MissingDataError(
                f"there is no {name} in {self.path}",
                "give the folder that `ssr-bd train` printed, or finish the run with the same command",
            )
        return path

    def _read_json(self, name: str, model: type[BaseModel]) -> dict[str, Any]:
        return load_json(self._existing(name), model, AGAIN)

    def _read_table(self, name: str, **options: Any) -> pd.DataFrame:
        import pandas as pd

        path = self._existing(name)
        try:
            return pd.read_csv(path, **options)
        except (ValueError, OSError) as error:  # pandas' own are of the former
            raise DataError(f"{path} is damaged ({str(error).splitlines()[0]})", AGAIN) from error


def check_ranks(queries: pd.DataFrame, n_gallery: Any, path: Path) -> None:
    """Raise DataError for a rank that no query can have.

    Ranks are whole numbers from 1 to the size of the gallery; expected ones, of n-way tests, come with an
    expected ``top1`` and need not be whole.

    Parameters
    ----------
    queries : DataFrame
        With ``rank``.
    n_gallery : number, Series or None
        Candidates, of all queries or of each; None or NaN where it is not known.
    path : Path
        Where they are from.
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
            AGAIN,
        )


class EvaluationFolder(Run):
    """The folder of another evaluation inside a run folder: only queries and summary."""

    parts = ("queries.csv",)


def is_whole(path: Path) -> bool:
    """Whether a JSON, CSV or safetensors file can be read from its beginning to its end."""
    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="np"):  # compares the size with that in the header
                return True
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError, SafetensorError):
        return False
    if path.suffix == ".json":
        return isinstance(read_json(path), dict)
    return text.endswith("\n") and text.count("\n") > 1 and "\0" not in text


def run_name(spec: RunSpec) -> str:
    """The name of a run's folder; device and memory are no part of it, everything else of the spec is."""
    machine = {name: TrainSpec.model_fields[name].default for name in ("device", "memory")}
    anywhere = spec.model_copy(update={"train": spec.train.model_copy(update=machine)})
    return (
        f"{spec.data.dataset}_{spec.method}_{folder_name(spec.data.subject)}_{spec.data.protocol}"
        f"_seed-{spec.train.seed}_{anywhere.digest[:8]}"
    )


def run_of(out: Path, spec: RunSpec) -> Run:
    """The run of a resolved spec below ``out``, whether it is there or not.

    A run that was trained anew, complete, and not yet put in its place when its process was killed is put
    there first.
    """
    run = Run(out / run_name(spec))
    anew = trained_anew(run)
    if anew.finished and not run.path.exists():
        with suppress(OSError):  # another process has done it meanwhile
            anew.path.rename(run.path)
            shutil.rmtree(_before(run), ignore_errors=True)
    return run


def trained_anew(run: Run) -> Run:
    """Where ``--overwrite`` trains: beside the run, which stays until the new one is complete."""
    return Run(run.path.with_name(f".{run.path.name}.new"))


def replace_run(run: Run, anew: Run) -> None:
    """Put a run that was trained anew, complete, in the place of the one before."""
    before = _before(run)
    shutil.rmtree(before, ignore_errors=True)
    if run.path.exists():
        run.path.rename(before)
    anew.path.rename(run.path)
    sync(run.path.parent)
    shutil.rmtree(before, ignore_errors=True)


def _before(run: Run) -> Path:
    return run.path.with_name(f".{run.path.name}.old")


def same_data(
    run: Run, dataset: ImageDataset, spec: RunSpec, features: dict[str, str] | None = None
) -> str:
    """How the data of a run that is there differ from those of now, in a sentence; empty if they do not.

    Parameters
    ----------
    run : Run
        Finished or begun.
    dataset : ImageDataset
    spec : RunSpec
        Resolved.
    features : dict of str to str, optional
        What made the image features, as a run records it; default: not compared.
    """
    try:
        record = run.record
        made_of = record["dataset"]["fingerprint"]
    except (DataError, KeyError, TypeError):  # not there yet, or broken: it will be written again
        return ""
    here = dataset.source_key(spec.data.subject, spec.trials)
    if made_of != here:
        return f"its data were version {made_of!r}, those in {dataset.root} are version {here!r}"
    if features and record.get("features", features) != features:
        return f"its image features ({spec.images.encoder}) have been replaced by others since"
    return ""


@contextmanager
def new_run(run: Run) -> Iterator[Run]:
    """A run with its folder; folders that stay empty are taken away again.

    Raises
    ------
    DataError
        If the folder cannot be written.
    """
    out = run.path.parent
    try:
        make_folder(run.path)
        with TemporaryFile(dir=run.path):
            pass
    except OSError as error:
        raise unwritable(run.path, error) from error
    try:
        yield run
    finally:
        for folder in (run.path, out):
            with suppress(OSError):
                folder.rmdir()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """The commit of the source tree this package runs from, if it is one; marked when changed since."""
    here = Path(__file__).parent
    call = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        tracked = subprocess.run(
            ["git", "-C", str(here), "ls-files", "--error-unmatch", __file__],
            capture_output=True,
            check=False,
            timeout=10,
        )
        if tracked.returncode:
            return None
        return subprocess.run(
            call, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def write_weights(path: Path, model: torch.nn.Module) -> None:
    """Write the weights of a model, at once or not at all.

    Raises
    ------
    DataError
        If the disk is full or the place cannot be written; nothing is left there.
    """
    from safetensors.torch import save

    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    atomic_write(path, save(tensors))  # save_file's own files are closed to colleagues


def load_weights(model: torch.nn.Module, path: Path) -> torch.nn.Module:
    """Fill a model with the weights of a file, all of them.

    Raises
    ------
    DataError
        If the file is missing, damaged or of another model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        model.load_state_dict(load_file(path), strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DataError(
            f"the weights of this run's model in {path}",
            str(error).splitlines()[0],
            "train the run again",
        ) from error
    return model
