"""The one exception for what a user can get wrong, and how a user's Ctrl-C is taken.

The command line prints the exception's message as a single line and exits with code 2. A fault of
the program itself raises anything else and keeps its traceback.
"""

import math
import signal
import time


class InputError(ValueError):
    """A user's input is wrong: the message names file and field, what was found and expected."""


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
