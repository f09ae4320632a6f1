"""Subtitles that come late are laid onto the signing that they belong to."""

import time
from itertools import pairwise

import numpy as np
import pytest

from unglossed.corpora.segments import Segment
from unglossed.inference.aligning import align

SIGNING = [(2.0, 5.0), (6.5, 9.0), (10.0, 14.0), (20.0, 23.0), (24.0, 26.0)]


def cues(lag: float, *, noise: float = 0.0) -> list[Segment]:
    rng = np.random.default_rng(0)
    rows = []
    for number, (start, end) in enumerate(SIGNING):
        moved = lag + noise * rng.standard_normal()
        rows.append(Segment(start + moved, end + moved + 0.5, f"text {number}"))
    return rows


def placed_times(rows: list[Segment], similarity: np.ndarray | None = None) -> list[tuple]:
    placed = align(rows, SIGNING, similarity)
    return [(one.segment.start_seconds, one.segment.end_seconds) for one in placed]


@pytest.mark.parametrize("lag", [0.0, 0.8, 2.5, -1.5])
def test_a_lag_of_all_subtitles_is_found(lag: float) -> None:
    assert placed_times(cues(lag)) == SIGNING


def test_each_has_its_own_lag_beside() -> None:
    assert placed_times(cues(1.5, noise=0.4)) == SIGNING


def test_a_subtitle_takes_all_parts_of_its_sentence() -> None:
    rows = [Segment(2.0, 9.0, "two parts"), Segment(10.0, 14.0, "one")]

    assert placed_times(rows) == [(2.0, 9.0), (10.0, 14.0)]


def test_a_subtitle_without_signing_keeps_its_time_and_says_so() -> None:
    rows = [*cues(0.0)[:3], Segment(15.5, 18.5, "spoken by nobody"), *cues(0.0)[3:]]

    placed = align(rows, SIGNING)

    assert [one.is_placed for one in placed] == [True, True, True, False, True, True]
    assert placed[3].segment == Segment(15.5, 18.5, "spoken by nobody")
    assert [one.segment.text for one in placed] == [row.text for row in rows]


def test_what_is_alike_decides_where_times_do_not() -> None:
    rows = [Segment(6.0, 8.5, "of the second")]
    likely = np.array([[0.9, 0.05, 0.0, 0.0, 0.0]])

    assert placed_times(rows) == [(6.5, 9.0)]
    assert placed_times(rows, likely) == [(2.0, 5.0)]


def test_order_is_kept_and_no_part_is_given_twice() -> None:
    rng = np.random.default_rng(1)
    rows = sorted(
        (Segment(float(s), float(s + 2), "x") for s in rng.uniform(0, 25, 12)),
        key=lambda one: one.start_seconds,
    )
    placed = [one.segment for one in align(rows, SIGNING) if one.is_placed]

    for earlier, later in pairwise(placed):
        assert earlier.end_seconds <= later.start_seconds


def test_a_long_recording_takes_seconds() -> None:
    parts = [(3.0 * n, 3.0 * n + 2) for n in range(600)]
    rows = [Segment(start + 1.7, end + 2.2, "x") for start, end in parts]
    begin = time.perf_counter()

    placed = align(rows, parts)

    assert [(one.segment.start_seconds, one.segment.end_seconds) for one in placed] == parts
    assert time.perf_counter() - begin < 120


def test_nothing_to_lay_and_nothing_to_lay_it_on() -> None:
    assert align([], SIGNING) == []
    (alone,) = align([Segment(1, 2, "a")], [])
    assert (alone.segment, alone.is_placed) == (Segment(1, 2, "a"), False)
