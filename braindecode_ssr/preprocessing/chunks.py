"""Work over trials chunk by chunk, on all cores, in little memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

T = TypeVar("T")


def in_chunks(work: Callable[[slice], T], n_trials: int, size: int) -> Iterator[T]:
    """What ``work`` gives for each slice of trials, in order.

    Slices are worked on by as many threads as the linear algebra would take, each product by a single
    one: results do not depend on the number of threads, and nothing waits in spin locks on a busy
    machine. ``OMP_NUM_THREADS`` and ``threadpoolctl`` are heeded.

    Parameters
    ----------
    work : callable
        Takes a slice of trials.
    n_trials, size : int
        All trials, and those of a slice.

    Yields
    ------
    object
        The results.
    """
    slices = [slice(first, min(first + size, n_trials)) for first in range(0, n_trials, size)]
    threads = min(_threads(), len(slices))
    with one_thread():
        if threads < 2:
            yield from map(work, slices)
            return
        pool = ThreadPoolExecutor(threads)
        try:
            yield from pool.map(work, slices)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def one_thread() -> AbstractContextManager:
    """Within it, each product of numpy is done by the thread that asks for it.

    For products that are small, or few: waking and waiting for others costs more than they save,
    seconds on a busy machine.
    """
    return _libraries().limit(limits=1, user_api="blas")


def _threads() -> int:
    """As many as the linear algebra of numpy may take now."""
    widths = [library["num_threads"] for library in _libraries().info()]
    return max(widths, default=1)


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
