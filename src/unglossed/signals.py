"""What asks the program to end: Ctrl-C, `kill` (SIGTERM), a closed terminal (SIGHUP).

Each is taken as Ctrl-C is: KeyboardInterrupt, upon which what was begun is tidied up.
"""

import math
import os
import signal
import time

STOPS = [
    number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))
]
"""What asks a process to end, and leaves it time to tidy up: Ctrl-C, `kill`, a closed terminal."""

_stopped_by: int | None = None


def stopped_by() -> int | None:
    """The number of the signal that asked this process to end; None: none did."""
    return _stopped_by


def take_interrupts_once(seconds: float = 2.0) -> None:
    """Take `kill` and a closed terminal as Ctrl-C, and either that comes again soon for one.

    What stops has to tidy up: a signal within so many seconds after another does nothing. A process
    that ignores a signal, as Ctrl-C in the background or the end of a terminal under `nohup`, goes
    on doing so. Processes that this one forks are ended by a signal at once.
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
            raise KeyboardInterrupt

    for number in STOPS:
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(number, stop)


def leave_interrupts() -> None:
    """Nothing is left to stop: Ctrl-C does nothing any more, and the rest what it does to any."""
    for number in STOPS:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
