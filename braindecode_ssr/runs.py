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
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ValidationError

from .config import RunSpec, TrainSpec
from .errors import DataError, MissingDataError
from .files import atomic_write, make_folder, read_json, sync, unwritable
from .labels import as_read, folder_name

if TYPE_CHECKING:
    import pandas as pd

    from .datasets.base import ImageDataset

PACKAGES = ("braindecode_ssr", "torch", "braindecode", "mne", "skorch", "numpy", "open_clip_torch")


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
        return self._read_json("run.json")

    @cached_property
    def spec(self) -> RunSpec:
        """The resolved spec."""
        try:
            return RunSpec.model_validate(self.record["spec"])
        except (KeyError, ValidationError) as error:
            raise DataError(
                f"the spec of a run in {self.path / 'run.json'}",
                str(error).splitlines()[0],
                "train the run again with this version of braindecode_ssr",
            ) from error

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The numbers: ``summary.json``."""
        return self._read_json("summary.json")

    @cached_property
    def queries(self) -> pd.DataFrame:
        """One row per query: ``queries.csv``."""
        import pandas as pd

        return pd.read_csv(self._existing("queries.csv"), converters={"subject": as_read})

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per epoch: ``history.csv``."""
        import pandas as pd

        return pd.read_csv(self._existing("history.csv"))

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
                f"a run folder with {name}",
                f"none at {path}",
                "give the folder that `ssr-bd train` printed, or finish the run with the same command",
            )
        return path

    def _read_json(self, name: str) -> dict[str, Any]:
        path = self._existing(name)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(
                f"JSON in {path}", str(error), "run the same `ssr-bd train` command again"
            ) from error


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
