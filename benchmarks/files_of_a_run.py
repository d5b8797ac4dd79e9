"""Which files of ours one small run executes, and how many of their functions.

    python benchmarks/files_of_a_run.py

Runs ``ssr-bd train --dataset things-sim --preset tiny --subject 1 --epochs 2`` in this process and threads,
under ``sys.setprofile``. A file counts when a function of it is called.
"""

import sys
import tempfile
import threading
from collections import defaultdict
from pathlib import Path

import braindecode_ssr
import braindecode_ssr_cli

PLACES = {str(Path(p.__file__).parent): p.__name__ for p in (braindecode_ssr, braindecode_ssr_cli)}


def called_in(arguments: list[str]) -> dict[str, set[str]]:
    """File to the functions of it that a command of ``ssr-bd`` calls."""
    called: dict[str, set[str]] = defaultdict(set)

    def note(frame, event, argument) -> None:
        code = frame.f_code
        if event == "call" and code.co_name not in (
            "<module>",
            "<listcomp>",
            "<genexpr>",
            "<lambda>",
        ):
            for place, name in PLACES.items():
                if code.co_filename.startswith(place):
                    is_class_body = (
                        "__qualname__" in code.co_names and "__module__" in code.co_names
                    )
                    if not is_class_body:
                        called[name + code.co_filename[len(place) :]].add(code.co_qualname)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        braindecode_ssr_cli.main(arguments)
    except SystemExit as end:
        if end.code:
            raise
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return called


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        run = [
            "--preset",
            "tiny",
            "--subject",
            "1",
            "--epochs",
            "2",
            "--data-dir",
            folder,
            "--out",
            f"{folder}/runs",
        ]
        called = called_in(["train", "--dataset", "things-sim", *run])
    for file, names in sorted(called.items()):
        print(f"{len(names):4d}  {file}")
    print(f"{sum(map(len, called.values()))} functions in {len(called)} files")


if __name__ == "__main__":
    main()
