"""Every stage from recordings to a trained model at full scale: seconds, memory, disk, as a table.

    python benchmarks/stages.py --folder /scratch/stages --table stages.rst

writes one simulated subject in the layout of the published files (``data simulate``), then runs ``data
prepare``, ``features extract`` and ``train`` on it, each as a process of its own. The peak is
``ru_maxrss`` of that process. After preparing, ``benchmarks/prepare.py`` sets it against the plain
lineage on the first session of the same files; where less than 20 GB of memory is free, on the first
4,000 trials of each part. At full size it takes 25 GB of disk and, on 2 cores, about half an hour. The
table is written after every stage; big files are removed at the end, whatever happens, unless ``--keep``
is given.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from braindecode_ssr.trials.prepare import free_memory

CLI = [sys.executable, "-m", "braindecode_ssr_cli"]
NEEDED_GB = {"tiny": 1, "small": 8, "full": 25}
PRESETS = [size + version for size in NEEDED_GB for version in ("", "-v1")]
LINEAGE_BYTES, LINEAGE_TRIALS = 20e9, 4000
COLUMNS = ("stage", "seconds", "cpu seconds", "peak GB", "on disk GB")


@dataclass
class Stages:
    """What was measured so far, and the folder it is measured in."""

    folder: Path
    subject: int
    preset: str
    epochs: int
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def run(self, name: str, arguments: list[str], grows: str) -> dict | list:
        """Run a command as a process and note what it took; what it printed, as JSON."""
        before, start = size(self.folder / grows), time.perf_counter()
        with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
            process = subprocess.Popen(arguments, stdout=out)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            seconds = time.perf_counter() - start
            if process.returncode:
                raise SystemExit(f"{name} ended with code {process.returncode}: {arguments}")
            out.seek(0)
            printed = json.loads(out.read())
        peak = usage.ru_maxrss * 1024 / 1e9
        written = (size(self.folder / grows) - before) / 1e9
        cpu = usage.ru_utime + usage.ru_stime
        self.rows.append((name, f"{seconds:.0f}", f"{cpu:.0f}", f"{peak:.2f}", f"{written:.2f}"))
        print(dict(zip(COLUMNS, self.rows[-1], strict=True)), file=sys.stderr, flush=True)
        return printed

    def table(self) -> str:
        """The table as reStructuredText, and below it how it was made."""
        lines = [COLUMNS, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
        rule = "  ".join("=" * width for width in widths)
        text = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join([rule, text[0], rule, *text[1:], rule, "", *self.notes, ""])


def main() -> None:
    """Measure, write the table, remove what is big."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where there is room; default: temporary")
    parser.add_argument("--table", type=Path, default=Path("stages.rst"))
    parser.add_argument("--preset", choices=PRESETS, default="full")
    parser.add_argument("--subject", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--skip-lineage", action="store_true")
    parser.add_argument("--keep", action="store_true", help="leave the files")
    options = parser.parse_args()
    base = options.folder or Path(tempfile.gettempdir())
    base.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(base).free / 1e9
    needed = NEEDED_GB[options.preset.removesuffix("-v1")]
    if free < needed:
        raise SystemExit(f"{needed} GB are needed in {base}, {free:.0f} are free")
    folder = Path(tempfile.mkdtemp(dir=base, prefix="stages-"))
    stages = Stages(folder, options.subject, options.preset, options.epochs)
    try:
        measure(stages, options.skip_lineage, options.table)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(options.table.read_text(encoding="utf-8"))


def measure(stages: Stages, skip_lineage: bool, table: Path) -> None:
    """The stages in order; the table is written after each."""
    root, load = str(stages.folder), os.getloadavg()[0]
    call = " ".join(sys.argv[1:])
    stages.notes = [
        f"``python benchmarks/stages.py {call}``: preset {stages.preset}, subject {stages.subject}, "
        f"{stages.epochs} epochs, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"load {load:.1f} at the start."
    ]
    data = ["--data-dir", root]
    eeg = ["--dataset", "things-eeg", "--encoder", "pyramid", *data, "--json"]
    subject = ["--subject", str(stages.subject)]
    simulate = ["data", "simulate", "things-sim", "--layout", "raw", "--out", root, *subject]
    commands = {
        "data simulate": ([*simulate, "--preset", stages.preset, "--json"], ""),
        "data prepare": (
            ["data", "prepare", "things-eeg", *subject, *data, "--json"],
            "ssr/trials",
        ),
        "features extract": (["features", "extract", *eeg], "ssr/features"),
        "train": (["train", *eeg, *subject, "--epochs", str(stages.epochs)], "runs"),
    }
    for name, (arguments, grows) in commands.items():
        if name == "train":
            arguments += ["--out", str(stages.folder / "runs")]
        printed = stages.run(name, [*CLI, *arguments], grows)
        if name == "data prepare":
            stages.notes.append(against_session(stages, printed[0]))
            if not skip_lineage:
                stages.notes.append(against_lineage(stages))
        if name == "train":
            found = {key: printed[key] for key in ("top1", "top5", "n_queries", "train_seconds")}
            stages.notes.append(f"Trained: {json.dumps(found)}.")
        table.write_text(stages.table(), encoding="utf-8")


def against_session(stages: Stages, prepared: dict) -> str:
    """The peak of preparing beside the size of the largest recording."""
    largest = max(file.stat().st_size for file in (stages.folder / "Raw_data").rglob("*.npy")) / 1e9
    peak = float(stages.rows[-1][3])
    return (
        f"Preparing {prepared['trials']:,} trials of {prepared['channels']} channels took at most "
        f"{peak:.2f} GB of memory, {peak / largest:.2f} of the largest recording ({largest:.2f} GB)."
    )


def against_lineage(stages: Stages) -> str:
    """Both roads on the first session, by ``benchmarks/prepare.py``."""
    script = Path(__file__).with_name("prepare.py")
    call = [sys.executable, str(script), "--root", str(stages.folder)]
    call += ["--subject", str(stages.subject)]
    free = free_memory()
    if stages.preset.startswith("full") and (free is None or free < LINEAGE_BYTES):
        call += ["--most", str(LINEAGE_TRIALS)]
    done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return f"The plain lineage ended with code {done.returncode} (out of memory?)."
    both = json.loads(done.stdout)
    ours, plain = both["ours_peak_growth_gb"], both["lineage_peak_growth_gb"]
    return (
        f"Against the plain lineage on the first session ({both['train']:,} and {both['test']:,} trials, "
        f"files read by both): {both['ours_seconds']} s and {both['lineage_seconds']} s, "
        f"{both['ratio']} times as fast ({both['cpu_ratio']} in processor time), {ours} GB and {plain} GB "
        f"of memory, largest difference {both['max_relative_difference']:.1e} of the largest value."
    )


def size(folder: Path) -> int:
    """Bytes of all files below a folder, each once."""
    states = (file.stat() for file in folder.rglob("*") if file.is_file())
    return sum({state.st_ino: state.st_size for state in states}.values())


if __name__ == "__main__":
    main()
