"""Real processes that start at once: forked from one that has imported torch and us already.

A process started from nothing spends five seconds on imports, whatever it is to test. Those here come from
:mod:`multiprocessing`'s fork server, which each worker of the tests starts once and on first use.
"""

import importlib
import multiprocessing
import os
import signal
import sys
import warnings
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(  # the command line and the pipeline import torch only when they need it
    [
        f"braindecode_ssr.{name}"
        for name in ("models.ssr", "training.retriever", "inference.evaluation")
    ]
    + ["braindecode_ssr.pipeline", "braindecode_ssr_cli", "torchvision"]
)


def started(function, *args, folder, cwd=None, env=None, **kwargs):
    """A process that calls ``function``, of a module in ``tests`` or installed.

    What it prints is written to ``.out`` and ``.err`` in ``folder``.

    Returns
    -------
    multiprocessing.Process
        With ``pid``, ``exitcode`` and ``join``; ``out`` and ``err`` are the paths of what it prints.
    """
    folder = Path(folder)
    number = len(list(folder.glob("*.err")))
    paths = [folder / f"{number}.{name}" for name in ("out", "err")]
    for path in paths:
        path.touch()
    where = {"cwd": str(cwd or Path.cwd()), "env": {**os.environ, **(env or {})}}
    # by name: pytest calls a module tests.test_x, which is importable only as test_x
    named = function.__module__.removeprefix("tests."), function.__name__
    call = (*map(str, paths), where, named, args, kwargs)
    process = SERVER.Process(target=_call, args=call, daemon=False)
    process.start()
    process.out, process.err = paths
    return process


def on_a_terminal(function, *args, until, then):
    """Call a function in a process on a terminal, and ``then(pid)`` once ``until`` is seen.

    Returns
    -------
    tuple of int and str
        Exit code and all that was printed.
    """
    import pty
    import select

    terminal, side = pty.openpty()
    where = {"cwd": os.getcwd(), "env": dict(os.environ)}
    named = function.__module__, function.__name__
    call = (os.ttyname(side), os.ttyname(side), where, named, args, {})
    process = SERVER.Process(target=_call, args=call, daemon=False)
    process.start()
    seen, told = b"", False
    while select.select([terminal], [], [], 0.1)[0] or process.is_alive():
        if select.select([terminal], [], [], 0)[0]:
            seen += os.read(terminal, 1 << 16)
        if not told and until in seen.decode(errors="ignore"):
            told = True
            then(process.pid)
    process.join()
    os.close(terminal)
    os.close(side)
    return process.exitcode, seen.decode()


def _call(out, err, where, named, args, kwargs):
    for path, stream in ((out, sys.stdout), (err, sys.stderr)):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, stream.fileno())
        os.close(file)
    os.fsync = lambda number: None  # as in conftest.py
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it
    os.chdir(where["cwd"])
    os.environ.clear()
    os.environ.update(where["env"])
    warnings.simplefilter("ignore")
    module, name = named
    getattr(importlib.import_module(module), name)(*args, **kwargs)


def ssr_bd(*args):
    """``ssr-bd`` with these arguments."""
    from braindecode_ssr_cli import main

    main([*args])
