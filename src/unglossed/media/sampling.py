"""Which frames of a clip are kept. Works on counts only and never touches a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unglossed.errors import InputError


def group_size(rate: float) -> int:
    """Turn a sampling rate into the number of frames of which one is kept.

    Args:
        rate: Share of the frames that is kept: 1, 0.5, 0.25, 0.125 or any other 1 / whole number.

    Returns:
        The whole number 1 / rate.

    Raises:
        InputError: The rate is not one over a whole number.
    """
    size = round(1 / rate) if 0 < rate <= 1 else 0
    if size < 1 or abs(1 / rate - size) > 1e-6:
        raise InputError(
            f"sampling_rate: found {rate}, expected one over a whole number: 1, 0.5, 0.25, 0.125"
        )
    return size


def sample_indices(
    num_frames: int, rate: float, generator: np.random.Generator | None = None
) -> NDArray[np.int64]:
    """Choose one frame of every group of 1 / rate neighbours (FLa-LLM keeps one of four).

    Args:
        num_frames: Frames that the clip has.
        rate: Share of the frames to keep, see `group_size`.
        generator: Training: a random frame of each group. None, for evaluation: the first.

    Returns:
        Indices in rising order, ceil(num_frames * rate) of them: (kept,). A last group that is not
        full still gives one frame.

    Raises:
        InputError: The rate is not one over a whole number.
    """
    size = group_size(rate)
    starts = np.arange(0, num_frames, size, dtype=np.int64)
    if generator is None or size == 1:
        return starts
    ends = np.minimum(starts + size, num_frames)
    return generator.integers(starts, ends, dtype=np.int64)
