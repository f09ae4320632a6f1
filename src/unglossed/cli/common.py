"""What the verbs of the command line share."""

from __future__ import annotations

import sys
from typing import Any

from unglossed.errors import one_line

INPUT_WRONG = 2


def fail(message: str) -> None:
    """Print one `error:` line to standard error."""
    print(f"error: {one_line(message)}", file=sys.stderr)


def given(**options: Any) -> dict[str, Any]:
    """The options that the user gave."""
    return {name: value for name, value in options.items() if value is not None}


def silence_loading() -> None:
    """Keep transformers' progress bars and reports out of the output: we say what is wrong."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
