"""What asks the program to end: Ctrl-C, `kill` (SIGTERM), a closed terminal, Slurm (SIGUSR1).

Each raises KeyboardInterrupt, as Ctrl-C does, so that unfinished work is cleaned up. Work that is
to be saved first lets them wait, see `stops_wait`.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

STOPS = [
    number
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    if (number := getattr(signal, name, None))
]
"""Signals that ask a process to end and leave it time to clean up."""

_OUTLIVED_SECONDS = 600
_stopped_by: int | None = None
_waiting: list["Waiting"] = []


def stopped_by() -> int | None:
    """The number of the signal that asked this process to end; None: none did."""
    return _stopped_by


def stop_as(number: int) -> None:
    """Have been asked to end by a signal that another process got, for all."""
    global _stopped_by
    _stopped_by = _stopped_by or number or None


def take_interrupts_once(seconds: float = 2.0) -> None:
    """Handle `kill` and a closed terminal as Ctrl-C, and repeated signals as one.

    Cleaning up takes time: a signal within so many seconds after another does nothing. A signal
    that the process ignores (Ctrl-C in the background, SIGHUP under `nohup`) stays ignored. Forked
    processes are ended by a signal at once.
    """
    last = -math.inf
    owner = os.getpid()

    def stop(number: int, _: object) -> None:
        nonlocal last
        global _stopped_by
        if os.getpid() != owner and number != signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            _stopped_by = number
            if not (_waiting and _waiting[-1].take()):
                raise KeyboardInterrupt

    for number in STOPS:
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(number, stop)


class Waiting:
    """Whether the program was asked to end while that waits.

    Attributes:
        came: Whether it was.
        at_once: Whether to raise KeyboardInterrupt at the next signal all the same.
    """

    came = at_once = False

    def take(self) -> bool:
        """Let a first signal wait; False: it is to be raised."""
        waits = not (self.came or self.at_once)
        self.came = True
        return waits


@contextmanager
def stops_wait() -> Iterator[Waiting]:
    """Let the first signal that asks to end wait in the block, which looks whether one came.

    A second one raises KeyboardInterrupt. Signals that somebody else handles are left to them.
    """
    waiting = Waiting()
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in STOPS} if is_main else {}
    _waiting.append(waiting)
    try:
        if is_main:
            take_interrupts_once()  # of a program that is not the command line
        yield waiting
    finally:
        _waiting.remove(waiting)
        for number, handler in before.items():
            if handler in (signal.default_int_handler, signal.SIG_DFL):
                signal.signal(number, handler)


def leave_interrupts() -> None:
    """Nothing is left to stop: ignore Ctrl-C and restore the defaults of the others."""
    for number in STOPS:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)


@contextmanager
def interrupts_delayed() -> Iterator[None]:
    """Delay Ctrl-C and its like until the block ends; processes started in it ignore them.

    Python prints a traceback if it is interrupted while it starts.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not (is_main and hasattr(signal, "pthread_sigmask")):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # starting it lets signals through
    came: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in STOPS
        if callable(signal.getsignal(number))
    }
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, set(handlers))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def outlive_one_stop() -> None:
    """Let this process, which works for another one, ignore Ctrl-C and one signal of each other.

    A signal to all processes of a job leaves the one it works for time to finish; that one then
    ends it, by a second signal if need be. After ten minutes it ends by itself.
    """

    def wait_for_another(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        if hasattr(signal, "alarm"):
            signal.alarm(_OUTLIVED_SECONDS)

    for number in STOPS:
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else wait_for_another)
