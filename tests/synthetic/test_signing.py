"""The order of signs, and that nothing of a meaning is lost on the way into them."""

import numpy as np
import pytest

from unglossed_synth.grammar import LEVELS, draw_meaning
from unglossed_synth.lexicon import SIGNS
from unglossed_synth.meaning import ALLOWED, Meaning
from unglossed_synth.signing import SignToken, glosses, sign_sentence


def sign(meaning: Meaning, seed: int = 0) -> list[SignToken]:
    return sign_sentence(meaning, np.random.default_rng(seed))


@pytest.mark.parametrize("level", LEVELS)
def test_two_meanings_never_share_a_signing(level: int):
    meant: dict[tuple[SignToken, ...], Meaning] = {}
    rng = np.random.default_rng(level)
    meanings = {draw_meaning(rng, level) for _ in range(1500)}
    for meaning in sorted(meanings, key=repr):
        for seed in range(3):
            assert meant.setdefault(tuple(sign(meaning, seed)), meaning) == meaning
    assert len(meanings) > 300


def test_each_value_of_each_slot_changes_the_signs():
    base = {"phenomenon": "rain", "temperature": 5, "later": "noon", "phenomenon_later": "sun"}
    base |= {"comparison": "warmer", "compared_to": "yesterday"}
    seen = {}
    for slot, values in ALLOWED.items():
        for value in values:
            meaning = Meaning(**{**base, slot: value})
            seen[meaning] = tuple(sign(meaning))
    assert len(set(seen.values())) == len(seen)


def test_all_temperatures_are_told_apart():
    signs = {tuple(sign(Meaning(temperature=degrees))) for degrees in range(-25, 40)}
    assert len(signs) == 65


def test_time_and_place_come_before_the_phenomenon():
    meaning = Meaning(day="today", daypart="night", place="coast", phenomenon="snow")
    assert glosses(sign(meaning)) == ["TODAY", "NIGHT", "COAST", "POINT-NORTH", "SNOW"]


def test_units_come_before_tens_and_minus_last():
    names = [token.sign for token in sign(Meaning(temperature=-17))]
    assert [name for name in names if name != "DEGREE"] == ["SEVEN", "TENS-1", "MINUS"]


def test_compass_places_are_pointed_at_and_have_no_sign_of_their_own():
    names = {place: sign(Meaning(place=place, phenomenon="sun"))[0] for place in ("north", "west")}
    assert {token.sign for token in names.values()} == {"POINT"}
    assert names["north"].point != names["west"].point


def test_intensity_and_negation_lie_over_the_sign_of_the_phenomenon():
    plain = sign(Meaning(phenomenon="rain"))
    heavy = sign(Meaning(phenomenon="rain", intensity="heavy"))
    negated = sign(Meaning(phenomenon="rain", negated=True), seed=1)
    assert [t.sign for t in plain] == [t.sign for t in heavy] == ["RAIN"]
    assert heavy[0].mouth != plain[0].mouth
    assert glosses(heavy) == ["RAIN++"]
    assert negated[0].sign == "RAIN"
    assert negated[0].negated
    assert negated[0].brows < 0


def test_every_sign_is_used_by_some_sentence():
    rng = np.random.default_rng(0)
    used = {t.sign for _ in range(4000) for t in sign_sentence(draw_meaning(rng, 3), rng)}
    assert set(SIGNS) - used == set()


def test_the_same_generator_state_gives_the_same_signs():
    meaning = draw_meaning(np.random.default_rng(5), 3)
    assert sign(meaning, 7) == sign(meaning, 7)
    assert len({tuple(sign(meaning, seed)) for seed in range(20)}) > 1
