"""The one exception for wrong input, and notes to the user.

The command line prints the exception's message as one line and exits with code 2. A fault of the
program itself raises anything else and keeps its traceback.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_FROM_WORKER = "Caught InputError in "
_MARK = "unglossed.errors.InputError: "
_ENDS_OR_STEERS_A_LINE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class InputError(ValueError):
    r"""A user's input is wrong: the message names file and field, what was found and expected.

    The message is one line: line ends in it, as a file's name can have, are written as `\\n`.

    Attributes:
        told_elsewhere: Whether another process has told it.
    """

    told_elsewhere = False

    def __init__(self, message: str = "") -> None:
        if message.startswith(_FROM_WORKER):
            # torch wraps an error of a worker process in the traceback of that process.
            message = message.rpartition(_MARK)[2].strip()
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """A text with what would end its line, or steer a terminal, written as an escape."""
    return _ENDS_OR_STEERS_A_LINE.sub(lambda match: repr(match[0])[1:-1], text)


class InputErrors(InputError):
    """Several mistakes at once, in one message.

    Args:
        faults: One mistake each.
        where: What all of them are in, such as a file; empty: each says it itself.
    """

    def __init__(self, faults: Sequence[str], where: str = "") -> None:
        self.faults = tuple(faults)
        self.where = where
        count = f"{len(faults)} mistakes: " if len(faults) > 1 else ""
        super().__init__((f"{where}: " if where else "") + count + "; ".join(faults))

    def __reduce__(self) -> tuple[type[InputError], tuple[str]]:
        return InputError, (str(self),)


class Mistakes:
    """Collects a user's mistakes and reports all of them at once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Note the mistake that the block raises, if it does, and go on after it."""
        try:
            yield
        except InputError as error:
            faults = error.faults if isinstance(error, InputErrors) else (str(error),)
            self.found += [fault for fault in faults if fault not in self.found]

    def tell(self) -> None:
        """Raise an InputError about all that was noted, if anything was."""
        if self.found:
            raise InputErrors(self.found)


quiet = False
"""Whether notes are left to another process, which has the same to tell."""


def note(text: str) -> None:
    """Print a note to stderr: one line about what does not stop the work."""
    if not quiet:
        print(f"note: {one_line(text)}", file=sys.stderr)
