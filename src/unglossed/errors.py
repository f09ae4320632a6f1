"""What a user is told: the one exception for what can be wrong, notes; how Ctrl-C is taken.

The command line prints the exception's message as a single line and exits with code 2. A fault of
the program itself raises anything else and keeps its traceback.
"""

import math
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class InputError(ValueError):
    """A user's input is wrong: the message names file and field, what was found and expected."""


class InputErrors(InputError):
    """Several mistakes at once, in one message.

    Args:
        faults: what is wrong, one mistake each.
        where: what all of them are in, such as a file; empty: each says it itself.
    """

    def __init__(self, faults: Sequence[str], where: str = "") -> None:
        self.faults = tuple(faults)
        count = f"{len(faults)} mistakes: " if len(faults) > 1 else ""
        super().__init__((f"{where}: " if where else "") + count + "; ".join(faults))

    def __reduce__(self) -> tuple[type[InputError], tuple[str]]:
        return InputError, (str(self),)


class Mistakes:
    """Collects mistakes of a user, who is told all of them at once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Note the mistake that the block raises, if it does, and go on behind it."""
        try:
            yield
        except InputError as error:
            faults = error.faults if isinstance(error, InputErrors) else (str(error),)
            self.found += [fault for fault in faults if fault not in self.found]

    def tell(self) -> None:
        """Raise an InputError about all that was noted, if anything was."""
        if self.found:
            raise InputErrors(self.found)


def note(text: str) -> None:
    """Tell the user, in a line on standard error, what does not stop the work."""
    print(f"note: {text}", file=sys.stderr)


def take_interrupts_once(seconds: float = 2.0) -> None:
    """Take Ctrl-C that comes again within so many seconds for one: what stops has to tidy up.

    A process that ignores Ctrl-C, as one that runs in the background, goes on doing so.
    """
    last = -math.inf

    def stop(*_: object) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, stop)
