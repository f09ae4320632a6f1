"""Files without a name: nothing is left of one once it is closed, however the process ends."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, BinaryIO

_COPIED_AT_ONCE = 1 << 20
_DESCRIPTORS = Path("/proc/self/fd")  # of Linux: what opens them starts at the begin


class NamelessFile:
    """An open file that lies in no folder, and a path by which it can be opened all the same.

    Systems other than Linux have no such path: there a copy has a name until it is closed.

    Args:
        file: As `tempfile.TemporaryFile` makes it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._named: Any = None

    @property
    def descriptor(self) -> int:
        """Of the open file, for a process that inherits it."""
        return self.file.fileno()

    @property
    def path(self) -> str:
        """A path for this process, and for one that inherits the descriptor."""
        if _DESCRIPTORS.is_dir():
            return str(_DESCRIPTORS / str(self.descriptor))
        if self._named is None:  # there a descriptor's path would share its place in the file
            self._named = tempfile.NamedTemporaryFile(prefix="unglossed-")  # noqa: SIM115
            self.file.seek(0)
            while piece := self.file.read(_COPIED_AT_ONCE):
                self._named.write(piece)
            self._named.flush()
        return str(self._named.name)

    def close(self) -> None:
        """Let go of the file, which is its end."""
        self.file.close()
        if self._named is not None:
            self._named.close()
