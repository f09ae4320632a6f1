"""The frames of a clip that a model sees: on the 25 fps grid, and thinned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unglossed.media.sampling import sample_indices
from unglossed.media.video import FRAME_RATE, frame_indices_at


def kept_indices(
    media: Path,
    sampling_rate: float,
    generator: np.random.Generator | None = None,
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> NDArray[np.int64]:
    """Which frames of a file or folder are kept.

    A source of another rate is first brought to 25 frames a second by time.

    Args:
        media: frame folder or video file.
        sampling_rate: share of the 25 fps frames that is kept.
        generator: training: a random frame of each group; None: the first.
        start_seconds: begin of the clip within `media`.
        end_seconds: its end.

    Returns:
        (kept,) indices into the media's frames.
    """
    grid = frame_indices_at(media, FRAME_RATE, start_seconds, end_seconds)
    return grid[sample_indices(len(grid), sampling_rate, generator)]
