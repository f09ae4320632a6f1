"""How many processes read clips beside the training, where the recipe does not say."""

from __future__ import annotations

import torch

from unglossed.corpora.parallel import num_cores

# Fewer clips are read before another process has started.
_FEW_CLIPS = 64
_MOST_WORKERS = 8


def choose_workers(asked: int | None, num_clips: int) -> int:
    """Processes that read clips.

    On a processor a step of the model takes tens of times as long as reading its clips, so that one
    process is enough; a GPU is fed by as many as there are cores, but for the trainer's own.

    Args:
        asked: What the recipe says; None leaves it to the machine.
        num_clips: Clips of an epoch.
    """
    if asked is not None:
        return asked
    if num_clips < _FEW_CLIPS:
        return 0
    return min(num_cores() - 1, _MOST_WORKERS if torch.cuda.is_available() else 1)
