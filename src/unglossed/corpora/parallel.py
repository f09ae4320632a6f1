"""Work on many items in several processes, with results in the items' order.

Each process has a pipe of its own and holds no lock, so that all can be killed at any moment, and
ends with its parent even in the middle of an item. Pools do not: `concurrent.futures` and joblib's
loky share queues with locks, and a process that hangs in an item outlives a killed parent.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import cv2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from unglossed.errors import InputError
from unglossed.signals import STOPS, interrupts_delayed

Item = TypeVar("Item")
Result = TypeVar("Result")

_WAITING_PER_PROCESS = 4
_GONE = (EOFError, BrokenPipeError, ConnectionResetError)
"""What a pipe raises when there is no process at its other end."""


def map_in_order(
    work: Callable[[Item], Result], items: Iterable[Item], num_workers: int
) -> Generator[Result, None, None]:
    """Apply a function to items, in one or more processes.

    Only a few results are computed ahead, as they may be large. The processes end with the
    generator, whatever they are doing: close it, unless all results are taken.

    Args:
        work: What is done with each item; it and the items can be pickled.
        items: Taken one by one.
        num_workers: Processes; 1 works in this one.

    Yields:
        Results in the order of the items. What the work raises is raised here.

    Raises:
        InputError: A process was killed.
    """
    if num_workers <= 1:
        yield from map(work, items)
        return
    items = iter(items)
    most_waiting = _WAITING_PER_PROCESS * num_workers
    with _start_workers(work, num_workers) as workers:
        idle = list(workers)
        busy: dict[Any, int] = {}  # the numbers of the items
        done: dict[int, tuple[Result | None, Exception | None]] = {}
        num_taken = num_given = 0
        while True:
            if busy:
                for connection in wait(list(busy), timeout=0 if num_given in done else None):
                    assert isinstance(connection, Connection)
                    with _alive(workers[connection]):
                        done[busy.pop(connection)] = connection.recv()
                    idle.append(connection)
            free = min(len(idle), most_waiting - (num_taken - num_given))
            for item in islice(items, free):
                connection = idle.pop()
                with _alive(workers[connection]):
                    connection.send(item)
                busy[connection] = num_taken
                num_taken += 1
            if num_given in done:
                result, error = done.pop(num_given)
                if error is not None:
                    raise error
                num_given += 1
                yield result  # type: ignore[misc]
            elif not busy:
                return


def counting_bar(shown: bool) -> Progress:
    """A bar on stderr that counts items and tells the time left."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    return Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), disable=not shown
    )


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _start_workers(
    work: Callable[[Any], Any], num_workers: int
) -> Iterator[dict[Connection, BaseProcess]]:
    """Processes that answer each item with a result and an error, one of them None."""
    # Not fork: the caller may have threads, whose locks a forked child would inherit.
    context = multiprocessing.get_context("spawn")
    workers: dict[Connection, BaseProcess] = {}
    try:
        with interrupts_delayed():
            for _ in range(num_workers):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(work, theirs), daemon=True)
                process.start()
                workers[ours] = process
                theirs.close()
        yield workers
    finally:
        for worker in workers.values():
            worker.kill()
        for connection, worker in workers.items():
            worker.join()
            connection.close()


@contextmanager
def _alive(process: BaseProcess) -> Iterator[None]:
    """Turn the error of a pipe whose process has gone into one line."""
    try:
        yield
    except _GONE:
        process.join()
        raise InputError(
            f"a worker process was ended from outside or crashed (code {process.exitcode}):"
            " if memory ran out, fewer --workers need less"
        ) from None


def _serve(work: Callable[[Any], Any], connection: Connection) -> None:
    """Work on items until the parent ends this process, or ends itself."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)  # it is the parent that is asked to stop
    cv2.setNumThreads(1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    with suppress(*_GONE):
        while True:
            item = connection.recv()
            try:
                connection.send((work(item), None))
            except Exception as error:
                connection.send((None, _portable(error)))


def _leave_with_parent() -> None:
    """End this process when its parent was killed, even in the middle of its work."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _portable(error: Exception) -> Exception:
    """The error with its traceback as a note; another one if it cannot be pickled."""
    text = "in a worker process:\n" + traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(text)
    error.add_note(text)
    return error
