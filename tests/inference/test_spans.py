"""From shares to spans: pauses are bridged, twitches left out, long stretches cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unglossed.inference.spans import SpanFinder, find_spans


def spans_of(shares: list[float], **settings: float) -> list[tuple[int, int]]:
    finder = SpanFinder(0.1, **settings)
    found = [span for share in shares for span in finder.push(share)]
    return found + finder.finish()


def test_a_sentence_ends_where_the_share_stays_low() -> None:
    assert spans_of([0.1] * 5 + [0.9] * 10 + [0.1] * 5) == [(5, 15)]


def test_a_short_pause_is_bridged_and_a_longer_one_is_not() -> None:
    def paused(count: int) -> list[float]:
        return [0.9] * 8 + [0.1] * count + [0.9] * 8

    assert spans_of(paused(2)) == [(0, 18)]
    assert spans_of(paused(3)) == [(0, 8), (11, 19)]


def test_a_twitch_is_no_sentence() -> None:
    assert spans_of([0.1] * 5 + [0.9] * 4 + [0.1] * 5) == []
    assert spans_of([0.1] * 5 + [0.9] * 5 + [0.1] * 5) == [(5, 10)]


def test_what_is_too_long_is_cut_where_the_share_is_least() -> None:
    shares = [0.9] * 20
    shares[13] = 0.6

    assert spans_of(shares, longest=2.0) == [(0, 13), (13, 20)]


def test_a_begin_within_a_sentence_begins_another() -> None:
    begin, inside, outside = (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)
    row = [outside, begin, begin, *[inside] * 6, begin, *[inside] * 7, outside]

    assert find_spans(row, 0.1) == [(1, 9), (9, 17)]


@given(st.lists(st.floats(0, 1), max_size=80), st.sampled_from([None, 1.0, 2.5]))
def test_spans_are_in_order_and_apart(shares: list[float], longest: float | None) -> None:
    found = spans_of(shares, longest=longest)

    ends = [place for span in found for place in span]
    assert ends == sorted(ends)
    assert all(0 <= start < end <= len(shares) for start, end in found)
    assert longest is None or all(end - start <= 10 * longest for start, end in found)


def test_what_comes_later_changes_no_span_that_was_told() -> None:
    shares = [0.9] * 8 + [0.1] * 6
    finder = SpanFinder(0.1)
    told = [span for share in shares for span in finder.push(share)]

    assert told == [(0, 8)]
    assert finder.opened is None
    assert finder.finish() == []


def test_where_the_open_sentence_began_is_known() -> None:
    finder = SpanFinder(0.1)
    for share in [0.1, 0.1, 0.9]:
        finder.push(share)

    assert finder.opened == 2


@pytest.mark.parametrize("count", [0, 1])
def test_hardly_anything_is_no_sentence(count: int) -> None:
    assert spans_of([0.9] * count) == []
