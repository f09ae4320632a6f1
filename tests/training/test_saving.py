"""When checkpoints are written, what they note, and losses that stop a training."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
import torch

from unglossed.errors import InputError
from unglossed.training.loss_watch import LossWatch
from unglossed.training.saving import Progress, SaveEvery


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30min", SaveEvery(seconds=1800)),
        ("2h", SaveEvery(seconds=7200)),
        ("90 s", SaveEvery(seconds=90)),
        ("0.5min", SaveEvery(seconds=30)),
        ("500", SaveEvery(seconds=None, steps=500)),
    ],
)
def test_times_and_steps_are_read(text: str, expected: SaveEvery) -> None:
    assert SaveEvery.parse(text) == expected


@pytest.mark.parametrize("text", ["", "0", "0min", "-5", "2.5", "5 days", "min", "1e3"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^save_every: found .*, expected a time, such as 30min"):
        SaveEvery.parse(text)


def test_a_save_is_due_after_its_steps_or_its_time() -> None:
    now = time.monotonic()
    assert [SaveEvery(None, 3).is_due(steps, now - 9999) for steps in (2, 3)] == [False, True]
    assert [SaveEvery(10.0).is_due(999, now - passed) for passed in (5, 11)] == [False, True]


def test_a_checkpoint_says_where_in_the_epoch_it_is(tmp_path: Path) -> None:
    progress = Progress(float(torch.tensor(1 / 3)), 12, True, (2.5, 1.25))
    progress.write(tmp_path)
    assert Progress.read(tmp_path) == progress
    assert Progress.read(tmp_path / "none") == Progress()
    (tmp_path / "progress.json").write_text("{}")
    with pytest.raises(InputError, match=r"progress\.json: is damaged, expected where in an epoch"):
        Progress.read(tmp_path)


def watch() -> LossWatch:
    return LossWatch("stage", lambda rows: [f"clip {row}" for row in rows], 10)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_names_its_clips(value: float) -> None:
    losses = watch()
    losses.add(1, torch.tensor(3.0), [7])
    told = r"^stages\.stage: the loss became NaN or infinite in step 12 \(epoch 2\), on clip 3, "
    with pytest.raises(InputError, match=told + "clip 4: lower"):
        losses.add(12, torch.tensor(value), [3, 4])


def test_a_loss_that_explodes_is_told_with_what_it_was() -> None:
    losses = watch()
    for step in range(1, 31):
        losses.add(step, torch.tensor(2.0 + step % 3), [0])
    losses.add(31, torch.tensor(2500.0), [1])  # large, but no explosion
    with pytest.raises(InputError, match=r"the loss became 5e\+04 in step 32 .*3 in the middle"):
        losses.add(32, torch.tensor(5e4), list(range(40)))


def test_a_large_loss_at_the_begin_is_none_of_an_explosion() -> None:
    losses = watch()
    for step, value in enumerate([1e6, 1e5, 1e4, 10, 5], start=1):
        losses.add(step, torch.tensor(float(value)), [0])
    assert losses.losses == [1e6, 1e5, 1e4, 10, 5]
