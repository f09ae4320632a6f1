"""Work on many items in several processes, with results in the items' order."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TypeVar

import cv2

Item = TypeVar("Item")
Result = TypeVar("Result")

_WAITING_PER_PROCESS = 4


def map_in_order(
    work: Callable[[Item], Result], items: Iterable[Item], num_workers: int
) -> Iterator[Result]:
    """Apply a function to items, in one or more processes.

    Only a few results are made before they are asked for, as they may be large.

    Args:
        work: What is done with each item; it and the items can be pickled.
        items: Taken one by one.
        num_workers: Processes; 1 works in this one.

    Yields:
        Results in the order of the items. What the work raises is raised here.
    """
    if num_workers <= 1:
        yield from map(work, items)
        return
    executor = ProcessPoolExecutor(
        num_workers,
        # Not fork: the caller may have threads, whose locks a forked child would inherit.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )
    try:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(executor.submit(work, item))
            if len(waiting) >= _WAITING_PER_PROCESS * num_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start_worker() -> None:
    cv2.setNumThreads(1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this process when its parent was killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
