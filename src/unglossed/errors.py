"""What a user is told: the one exception for what can be wrong, notes.

The command line prints the exception's message as a single line and exits with code 2. A fault of
the program itself raises anything else and keeps its traceback.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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


class FieldError(InputError):
    """A field is wrong: `NAME: REASON`; blocks of `field` around it put theirs in front.

    Args:
        name: the field, perhaps with keys within it: `config.dropout`.
        reason: what was found and expected.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"{name}: {reason}")

    def __reduce__(self) -> tuple[type[InputError], tuple[str, ...]]:
        return FieldError, (self.name, self.reason)


@contextmanager
def field(name: str) -> Iterator[None]:
    """Put a field in front of the InputErrors of a block: `stages.x.encoder.source: no such ...`.

    Blocks within one another join their names by dots.
    """
    try:
        yield
    except FieldError as error:
        raise FieldError(f"{name}.{error.name}", error.reason) from error.__cause__
    except InputErrors:
        raise
    except InputError as error:
        raise FieldError(name, str(error)) from error.__cause__


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
    print(f"note: {one_line(text)}", file=sys.stderr)
