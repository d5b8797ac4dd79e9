"""Real processes that start at once: forked from one that has imported torch and us already.

A process started from nothing spends ten seconds on imports, whatever it is to test. Those here come from
:mod:`multiprocessing`'s fork server, which on Linux is itself forked from each worker of the tests.
"""

import contextlib
import gc
import importlib
import multiprocessing
import os
import signal
import sys
import warnings
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from unittest.mock import patch

os.register_at_fork(after_in_child=gc.freeze)  # joblib collects garbage: not ours again and again
FORK = multiprocessing.get_context("fork")
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(  # the command line and the pipeline import torch only when they need it
    [
        f"braindecode_ssr.{name}"
        for name in ("models.ssr", "training.retriever", "inference.evaluation")
    ]
    + ["braindecode_ssr.pipeline", "braindecode_ssr_cli", "torchvision"]
)


def start_server():
    """Fork the server from this process, before it runs a test, with all that its tests have imported."""
    if sys.platform == "linux" and "torch" in sys.modules:
        with patch.object(forkserver.util, "spawnv_passfds", _fork_server):
            forkserver.ensure_running()


def _fork_server(path, args, descriptors):
    """In the place of starting the interpreter on ``args``, which end in ``-c`` and the server's code."""
    pid = os.fork()
    if pid:
        return pid
    try:
        alive = descriptors[
            1
        ]  # a pipe whose other end must be open in those alone who need the server
        for number in {*map(int, os.listdir("/proc/self/fd"))} - {alive}:
            with contextlib.suppress(OSError):
                if os.path.sameopenfile(number, alive):
                    os.close(number)
        sys.stdout, sys.stderr = (open(n, "w", closefd=False) for n in (1, 2))
        exec(args[-1], {})
    finally:
        os._exit(1)


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


def on_a_terminal(function, *args, until, typed, seconds=300):
    """Call a function on a terminal of its own, 100 columns wide, and type once ``until`` is seen.

    Returns
    -------
    tuple of int and str
        Exit code and all that was printed.
    """
    import pty
    import select
    import termios
    import time

    terminal, side = pty.openpty()
    termios.tcsetwinsize(side, (30, 100))  # tqdm draws no bar on a terminal without width
    where = {"cwd": os.getcwd(), "env": dict(os.environ)}
    named, place = (function.__module__, function.__name__), os.ttyname(side)
    process = SERVER.Process(target=_on_terminal, args=(place, where, named, args))
    process.start()
    seen, left, end = b"", typed, time.monotonic() + seconds
    while True:
        alive = (
            process.is_alive()
        )  # asked before reading: what it printed last is then there to be read
        if select.select([terminal], [], [], 0.05)[0]:
            seen += os.read(terminal, 1 << 16)
        elif not alive:
            break
        if left and until.encode() in seen:
            os.write(terminal, left)
            left = b""
        if time.monotonic() > end:
            process.kill()
    process.join()
    os.close(terminal)
    os.close(side)
    return process.exitcode, seen.decode()


def _on_terminal(place, where, named, args):
    os.setsid()
    # the terminal of the new session: its Ctrl-C interrupts us, and what is typed there we read
    sys.stdin = os.fdopen(os.open(place, os.O_RDWR), closefd=False)
    _call(place, place, where, named, args, {})


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

    main([*map(str, args)])


def forking_ssr_bd(*args):
    """``ssr-bd`` whose ``--jobs`` are processes forked from it, which have its imports already."""
    from braindecode_ssr.trials import prepare

    fork_workers()
    prepare.get_context = lambda how: FORK
    ssr_bd(*args)


def fork_workers(patch=setattr):
    """Let loky fork its processes in place of starting them from nothing."""
    from joblib.externals import loky

    patch(loky, "ProcessPoolExecutor", partial(loky.ProcessPoolExecutor, context=FORK))
