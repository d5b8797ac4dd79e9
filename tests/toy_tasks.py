"""Toy tasks with fates, in a module that other processes can import."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from braindecode_ssr.benchmarking.workers import Outcome

KEPT = []  # what tasks leave behind in their process


@dataclass(frozen=True)
class Toy:
    name: str
    fate: str = ""
    folder: str = ""


def toys(fates, folder):
    return [Toy(f"{number}-{fate}", fate, str(folder)) for number, fate in enumerate(fates)]


def work(toy):
    """Do a toy task: note who did it, then meet its fate."""
    marks = Path(toy.folder)
    (marks / f"{toy.name}.{os.getpid()}").touch()
    if toy.fate == "killed" or (toy.fate == "killed once" and len(attempts(marks, toy)) == 1):
        os.kill(os.getpid(), 9)
    if toy.fate == "raises":
        raise ValueError("as it was\ntold to")
    if toy.fate == "waits":
        time.sleep(120)
    if toy.fate == "grows":
        time.sleep(1.2)  # the pool looks at memory once a second
        KEPT.append(b"1" * 400_000_000)
    if toy.fate == "works":
        time.sleep(1)
    return Outcome(toy.name, float(os.environ.get("OMP_NUM_THREADS", 0)))


def attempts(folder, toy):
    """The process ids of those who have begun a task."""
    return [int(mark.name.rpartition(".")[2]) for mark in Path(folder).glob(f"{toy.name}.*")]
