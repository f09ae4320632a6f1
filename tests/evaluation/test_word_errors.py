"""Word error rate against edits counted by hand, and as a distance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unglossed.evaluation.metrics import word_error_rate

TEXTS = st.lists(st.sampled_from("ABC"), min_size=1, max_size=6).map(" ".join)


@pytest.mark.parametrize(
    ("hypothesis", "reference", "edits"),
    [
        ("REGEN NORD", "REGEN NORD", 0),
        ("REGEN SUED", "REGEN NORD", 1),
        ("REGEN", "REGEN NORD", 1),
        ("", "REGEN NORD", 2),
        ("MORGEN REGEN NORD", "REGEN NORD", 1),
        ("NORD REGEN", "REGEN NORD", 2),
        ("A B C D", "B C D A", 2),
    ],
)
def test_edits_are_the_fewest(hypothesis: str, reference: str, edits: int) -> None:
    expected = 100 * edits / len(reference.split())

    assert word_error_rate([hypothesis], [reference]) == pytest.approx(expected)


def test_the_rate_is_of_the_whole_split_not_a_mean_of_clips() -> None:
    rate = word_error_rate(["A", "A B C D E F G H X"], ["B", "A B C D E F G H I"])

    assert rate == pytest.approx(100 * 2 / 10)


@given(TEXTS, TEXTS)
def test_the_number_of_edits_is_the_same_both_ways(first: str, second: str) -> None:
    edits = word_error_rate([first], [second]) * len(second.split())

    assert edits == pytest.approx(word_error_rate([second], [first]) * len(first.split()))
    assert (edits == 0) == (first == second)
