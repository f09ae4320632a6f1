import re
from statistics import mean

import numpy as np
import pytest

from unglossed.errors import InputError
from unglossed_synth import phrases_de, phrases_en, phrases_zh
from unglossed_synth.grammar import LEVELS, draw_meaning
from unglossed_synth.meaning import Meaning
from unglossed_synth.phrases_de import Noun
from unglossed_synth.saying import LANGUAGES, draw_texts, say


def sayings(language, num_draws=300, **slots):
    rng = np.random.default_rng(3)
    return {say(Meaning(**slots), language, rng) for _ in range(num_draws)}


@pytest.mark.parametrize("level", LEVELS)
def test_german_looks_like_phoenix(level):
    texts = draw_texts("de", level, 500, 0, set())
    assert not [t for t in texts if not re.fullmatch(r"[a-zäöüß]+( [a-zäöüß]+)*", t)]


@pytest.mark.parametrize("level", LEVELS)
def test_english_is_lower_case_words(level):
    texts = draw_texts("en", level, 500, 0, set())
    assert not [t for t in texts if not re.fullmatch(r"[a-z]+([ -][a-z]+)*", t)]


@pytest.mark.parametrize("level", LEVELS)
def test_chinese_has_neither_spaces_nor_digits_nor_a_stop(level):
    texts = draw_texts("zh", level, 500, 0, set())
    assert not [t for t in texts if not re.fullmatch(r"[\u4e00-\u9fff]+(，[\u4e00-\u9fff]+)*", t)]


def test_level_1_is_short_and_rich():
    texts = draw_texts("de", 1, 6000, 1, set())
    assert len(set(texts)) == 6000
    assert 6.5 < mean(len(text.split()) for text in texts) < 10


@pytest.mark.parametrize("language", LANGUAGES)
def test_there_is_more_than_one_way_to_say_it(language):
    ways = sayings(language, day="tomorrow", place="north", phenomenon="rain", intensity="heavy")
    assert len(ways) > 8


def test_german_puts_the_verb_second():
    ways = sayings("de", day="tomorrow", place="north", phenomenon="snow", num_draws=2000)
    assert "morgen schneit es im norden" in ways
    assert "im norden schneit es morgen" in ways
    assert "es schneit morgen im norden" in ways
    assert not [way for way in ways if way.startswith("morgen im norden schneit")]


def test_german_declines():
    rain, sun, showers = Noun("regen", "m", "regen"), Noun("sonne", "f", "sonne"), "schauer"
    plural = Noun(showers, "p", "schauern")
    assert phrases_de.inflect("stark", rain, "nom") == "starker regen"
    assert phrases_de.inflect("stark", rain, "acc") == "starken regen"
    assert phrases_de.inflect("stark", rain, "dat") == "starkem regen"
    assert phrases_de.inflect("viel", sun, "dat") == "viel sonne"
    assert phrases_de.inflect("kräftig", plural, "dat") == "kräftigen schauern"
    assert phrases_de.definite("kräftig", plural) == "die kräftigen schauer"
    assert phrases_de.without(rain, "acc") == "keinen regen"
    assert phrases_de.without(sun, "nom") == "keine sonne"


def test_german_plurals_agree_with_their_verb():
    ways = sayings("de", day="today", phenomenon="showers", change="easing", place="west")
    assert any("lassen" in way for way in ways)
    assert not [way for way in ways if re.search(r"\b(lässt|schwächt)\b", way)]


def test_the_night_of_a_weekday_leads_to_it():
    slots = {"day": "monday", "daypart": "night", "phenomenon": "fog"}
    assert all("in der nacht zum montag" in w or "auf montag" in w for w in sayings("de", **slots))
    assert all("monday" in way and "night" in way for way in sayings("en", **slots))
    assert all("凌晨" in way for way in sayings("zh", **slots))


@pytest.mark.parametrize(
    ("degrees", "german", "english", "chinese"),
    [
        (0, "null", "zero", "零"),
        (1, "ein", "one", "一"),
        (-5, "minus fünf", "minus five", "零下五"),
        (10, "zehn", "ten", "十"),
        (16, "sechzehn", "sixteen", "十六"),
        (20, "zwanzig", "twenty", "二十"),
        (21, "einundzwanzig", "twenty-one", "二十一"),
        (-12, "minus zwölf", "minus twelve", "零下十二"),
        (37, "siebenunddreißig", "thirty-seven", "三十七"),
    ],
)
def test_numbers(degrees, german, english, chinese):
    assert phrases_de.number(degrees) == german
    assert phrases_en.number(degrees) == english
    assert phrases_zh.number(degrees) == chinese


def test_the_seed_decides_and_excluded_sentences_stay_away():
    texts = draw_texts("de", 2, 300, 5, set())
    assert draw_texts("de", 2, 300, 5, set()) == texts
    assert draw_texts("de", 2, 300, 6, set()) != texts
    assert not set(draw_texts("de", 2, 300, 5, set(texts))) & set(texts)


def test_frequent_sayings_stay_frequent():
    rng = np.random.default_rng(8)
    meanings = [draw_meaning(rng, 1) for _ in range(2000)]
    same = mean(say(m, "de", rng) == say(m, "de", rng) for m in meanings)
    assert 0.1 < same < 0.35


class Everything(set):
    def __contains__(self, text):
        return True


def test_more_sentences_than_there_are_is_the_users_mistake():
    with pytest.raises(InputError, match="num_sentences: found 9, expected at most about 0"):
        draw_texts("de", 1, 9, 0, Everything())


def test_an_unknown_language_is_the_users_mistake():
    with pytest.raises(InputError, match="language: found 'fr', expected one of en, de, zh"):
        say(Meaning(day="today", phenomenon="rain"), "fr", np.random.default_rng(0))
