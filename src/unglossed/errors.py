"""What a user is told: the one exception for what can be wrong, notes; how Ctrl-C is taken.

The command line prints the exception's message as a single line and exits with code 2. A fault of
the program itself raises anything else and keeps its traceback.
"""

import math
import signal
import sys
import time


class InputError(ValueError):
    """A user's input is wrong: the message names file and field, what was found and expected."""


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
