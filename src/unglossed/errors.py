"""What a user is told: the one exception for what can be wrong, notes.

The command line prints the exception's message as a single line and exits with code 2. A fault of
the program itself raises anything else and keeps its traceback.
"""

import sys

_FROM_WORKER = "Caught InputError in "
_MARK = "unglossed.errors.InputError: "


class InputError(ValueError):
    r"""A user's input is wrong: the message names file and field, what was found and expected.

    The message is one line: ends of lines in it, as a file's name can have, are written as `\\n`.
    """

    def __init__(self, message: str = "") -> None:
        if message.startswith(_FROM_WORKER):
            # torch wraps an error of a worker process in the traceback of that process.
            message = message.rpartition(_MARK)[2].strip()
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """A text with what would end its line, or steer a terminal, written as an escape."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or not _breaks(sign) else repr(sign)[1:-1] for sign in text
    )


def _breaks(sign: str) -> bool:
    return sign < " " or sign in "\x7f\x85\u2028\u2029"


def note(text: str) -> None:
    """Tell the user, in a line on standard error, what does not stop the work."""
    print(f"note: {one_line(text)}", file=sys.stderr)
