"""TensorBoard's files of a stage, and what becomes of them where they cannot be written."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from unglossed.files import naming


@contextmanager
def tensorboard(folder: Path) -> Iterator[SummaryWriter]:
    """A writer of TensorBoard's files.

    It writes in a thread of its own, which would print a traceback where the disk is full; what
    happened there is raised again by the next call.

    Args:
        folder: where the files lie.

    Raises:
        OSError: the disk is full; names the folder.
    """
    before = threading.excepthook

    def report(failed: threading.ExceptHookArgs) -> None:
        of_writer = type(failed.thread).__module__.startswith("tensorboard.")
        if not (of_writer and isinstance(failed.exc_value, OSError)):
            before(failed)

    threading.excepthook = report
    try:
        with naming(folder):
            yield SummaryWriter(str(folder))
    finally:
        threading.excepthook = before
