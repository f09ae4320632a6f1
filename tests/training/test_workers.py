"""Processes that read clips: as asked, else as the machine and the corpus have use for them."""

import os

import pytest

from unglossed.training.data import choose_workers


@pytest.mark.parametrize("asked", [0, 1, 12])
def test_what_a_recipe_says_holds(asked: int) -> None:
    assert choose_workers(asked, 10) == choose_workers(asked, 10_000) == asked


def test_a_few_clips_are_read_by_the_trainer_itself() -> None:
    assert choose_workers(None, 20) == 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be taken away")
def test_a_core_is_left_to_the_trainer() -> None:
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        assert choose_workers(None, 10_000) == 0
    finally:
        os.sched_setaffinity(0, cores)
    assert choose_workers(None, 10_000) <= max(len(cores) - 1, 0)
    assert (choose_workers(None, 10_000) > 0) == (len(cores) > 1)
