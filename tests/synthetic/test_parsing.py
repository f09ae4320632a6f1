import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unglossed.errors import InputError
from unglossed_synth.grammar import LEVELS, draw_meaning
from unglossed_synth.meaning import ALLOWED, Meaning
from unglossed_synth.parsing import parse, slot_f1, slot_f1_meanings
from unglossed_synth.saying import LANGUAGES, say

LANGUAGE = st.sampled_from(LANGUAGES)
LEVEL = st.sampled_from(LEVELS)
SEED = st.integers(0, 2**32 - 1)


def drawn(seed, level, language):
    rng = np.random.default_rng(seed)
    meaning = draw_meaning(rng, level)
    return meaning, say(meaning, language, rng)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("level", LEVELS)
def test_every_saying_is_read_back_exactly(language, level):
    rng = np.random.default_rng(100 + level)
    for _ in range(1500):
        meaning = draw_meaning(rng, level)
        text = say(meaning, language, rng)
        assert parse(text, language) == meaning.slots(), text


@given(SEED, LEVEL, LANGUAGE)
@settings(max_examples=300, deadline=None)
def test_read_back_exactly_from_any_seed(seed, level, language):
    meaning, text = drawn(seed, level, language)
    assert parse(text, language) == meaning.slots()


@given(st.text(), LANGUAGE)
@settings(deadline=None)
def test_any_text_is_survived(text, language):
    assert set(parse(text, language)) <= set(Meaning.__dataclass_fields__)


@given(SEED, LEVEL, LANGUAGE, st.data())
@settings(max_examples=200, deadline=None)
def test_broken_hypotheses_give_allowed_values(seed, level, language, data):
    _, text = drawn(seed, level, language)
    tokens = list(text) if language == "zh" else text.split()
    kept = data.draw(st.lists(st.sampled_from(tokens), max_size=30))
    for slot, value in parse(" ".join(kept), language).items():
        assert value in ALLOWED.get(slot, (value,))
        if slot.startswith("temperature"):
            assert -25 <= int(value) <= 39


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("norden norden norden regen regen", "de", {"place": "north", "phenomenon": "rain"}),
        ("Morgen, im Norden!", "de", {"day": "tomorrow", "place": "north"}),
        ("in der regnet heute regen schnee", "de", {"day": "today", "phenomenon": "rain"}),
        ("zwölf bis bis achtzehn", "de", {"temperature": "12", "temperature_high": "18"}),
        ("achtzehn bis zwölf grad", "de", {"temperature": "18"}),
        ("kälter als als süden", "de", {"comparison": "colder", "compared_to": "south"}),
        ("als als", "de", {}),
        ("towards evening snow", "en", {"later": "evening", "phenomenon_later": "snow"}),
        ("colder than yesterday", "en", {"comparison": "colder", "compared_to": "yesterday"}),
        ("five degrees below zero", "en", {"temperature": "-5"}),
        ("明 天 北 部 大", "zh", {"day": "tomorrow", "place": "north", "intensity": "heavy"}),
        ("比昨天风更大", "zh", {"comparison": "windier", "compared_to": "yesterday"}),
        ("", "de", {}),
    ],
)
def test_what_is_left_of_a_sentence_is_found(text, language, expected):
    assert parse(text, language) == expected


def test_f1_of_a_half_right_hypothesis():
    references = ["morgen im norden regen", "heute im süden sonne"]
    # Three of three pairs, then one of two found and three expected: 2 * 4 / (5 + 6).
    hypotheses = ["im norden regnet es morgen", "heute schnee"]
    assert slot_f1(hypotheses, references, "de") == pytest.approx(8 / 11)
    meanings = [
        Meaning(day="tomorrow", place="north", phenomenon="rain"),
        Meaning(day="today", place="south", phenomenon="sun"),
    ]
    assert slot_f1_meanings(hypotheses, meanings, "de") == pytest.approx(8 / 11)
    assert slot_f1_meanings(references, meanings, "de") == 1.0


def test_f1_of_nothing_is_zero():
    assert slot_f1(["", "und"], ["morgen regen", "heute sonne"], "de") == 0.0
    assert slot_f1([], [], "de") == 0.0


def test_an_unknown_language_is_the_users_mistake():
    with pytest.raises(InputError, match="language: found 'nl', expected one of en, de, zh"):
        parse("regen", "nl")
