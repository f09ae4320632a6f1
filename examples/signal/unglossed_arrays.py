"""A signal of one's own: each clip is a NumPy array of features, 25 rows a second.

A clip is a file such as `clip_1.npy` with an array (time, dim): key points of a pose, say, or the
features of a network. A table names the files: `id,media,text` and `train-1,clip_1.npy,Es regnet.`
Once this package is installed (`pip install ./examples/signal`), `signal: arrays` in a recipe reads
them; the recipe's encoder has to take rows of `dim` numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unglossed.errors import InputError
from unglossed.media.probe import MediaFacts
from unglossed.media.signal import Clip, Signal

ROWS_PER_SECOND = 25.0


class ArraySignal(Signal):
    """Clips as arrays of features (time, dim)."""

    kind = "arrays"
    suffixes = frozenset({".npy"})
    unit = "rows"

    @property
    def units_per_second(self) -> float:
        """Rows a second."""
        return ROWS_PER_SECOND

    def read(
        self,
        clip: Clip,
        generator: np.random.Generator | None = None,
        *,
        limit: int | None = None,
        cut: bool = False,
    ) -> NDArray[np.float32]:
        """Read a clip's rows: (time, dim) float32."""
        rows = open_rows(clip.media)
        start = round((clip.start_seconds or 0.0) * ROWS_PER_SECOND)
        end = None if clip.end_seconds is None else round(clip.end_seconds * ROWS_PER_SECOND)
        part = self.fit(clip, np.asarray(rows[start:end], np.float32), limit, cut)
        if not len(part):
            raise InputError(f"{clip.media}: found {len(rows)} rows, none of them in the clip")
        return part

    def facts_of(self, media: Path, *, deep: bool = False) -> MediaFacts:
        """Length of a file; if `deep`, its numbers are read as well."""
        rows = open_rows(media)
        if deep and not np.isfinite(rows).all():
            raise InputError(f"{media}: found NaN or infinite numbers")
        return MediaFacts(self.kind, len(rows) / ROWS_PER_SECOND)


def open_rows(media: Path) -> NDArray[Any]:
    """Map a file into memory, so that only the rows in use are read."""
    try:
        rows = np.load(media, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{media}: cannot be read: {error}") from error
    if rows.ndim != 2 or rows.dtype.kind not in "fiu":
        raise InputError(f"{media}: found {rows.dtype} {rows.shape}, expected numbers (time, dim)")
    found: NDArray[Any] = rows
    return found
