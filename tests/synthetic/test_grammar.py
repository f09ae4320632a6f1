from collections import Counter
from functools import cache
from statistics import mean

import numpy as np
import pytest

from unglossed.errors import InputError
from unglossed_synth.grammar import LEVELS, draw_meaning, pick
from unglossed_synth.meaning import COMPASS

NUM_DRAWS = 3000


@cache
def drawn(level, seed=11):
    rng = np.random.default_rng(seed)
    return [draw_meaning(rng, level) for _ in range(NUM_DRAWS)]


@pytest.fixture(scope="module", params=LEVELS)
def level(request):
    return request.param


@pytest.fixture(scope="module")
def meanings(level):
    return drawn(level)


def test_the_seed_decides(level, meanings):
    rng = np.random.default_rng(11)
    assert [draw_meaning(rng, level) for _ in range(200)] == meanings[:200]
    assert drawn(level, seed=12) != meanings


def test_sentences_grow_with_the_level():
    means = [mean(len(m.slots()) for m in drawn(level)) for level in LEVELS]
    assert 3 < means[0] < 4.5 < means[1] < 5.5 < means[2] < 8


def test_no_meaning_is_a_scrap(meanings):
    assert min(len(m.slots()) for m in meanings) == 3


def test_level_1_opens_only_its_part():
    slots = {slot for m in drawn(1) for slot in m.slots()}
    assert slots == {"day", "daypart", "place", "phenomenon", "intensity", "negated"}
    assert {m.place for m in drawn(1)} == {*COMPASS, None}
    assert len({m.phenomenon for m in drawn(1)}) == 8


def test_level_2_adds_what_it_should():
    added = {"certainty", "temperature", "later", "phenomenon_later", "change"}
    slots = {slot for m in drawn(2) for slot in m.slots()}
    assert added <= slots
    assert not {"temperature_high", "comparison"} & slots
    assert {"rising", "falling", "spreading", "easing"} <= {m.change for m in drawn(2)}


def test_level_3_adds_ranges_and_comparisons():
    slots = {slot for m in drawn(3) for slot in m.slots()}
    assert {"temperature_high", "comparison", "compared_to"} <= slots
    assert {"hail", "ice", "drizzle"} <= {m.phenomenon for m in drawn(3)}


@pytest.mark.parametrize("slot", ["day", "place", "phenomenon"])
def test_frequencies_are_skewed(meanings, slot):
    counts = Counter(getattr(m, slot) for m in meanings if getattr(m, slot)).most_common()
    assert counts[0][1] > 2 * counts[len(counts) // 2][1]
    assert counts[-1][1] > 0


def test_snow_is_cold_and_thunder_is_warm():
    degrees = {"snow": [], "thunderstorm": [], "frost": []}
    for m in drawn(2) + drawn(3):
        if m.phenomenon in degrees and m.temperature is not None and not m.negated:
            degrees[m.phenomenon].append(m.temperature)
    assert max(degrees["snow"]) <= 1
    assert max(degrees["frost"]) < 0
    assert min(degrees["thunderstorm"]) >= 15


def test_temperatures_have_tens_units_and_minus():
    degrees = {m.temperature for m in drawn(3) if m.temperature is not None}
    assert len([d for d in degrees if d < 0]) > 8
    assert len([d for d in degrees if d > 12]) > 15
    assert {d % 10 for d in degrees if d > 20} == set(range(10))


def test_no_sun_at_night(meanings):
    assert not [m for m in meanings if m.daypart == "night" and m.phenomenon == "sun"]
    assert not [m for m in meanings if m.later == "night" and m.phenomenon_later == "sun"]


def test_the_weather_turns_to_something_else(meanings):
    assert not [m for m in meanings if m.later and m.phenomenon == m.phenomenon_later]


def test_only_what_can_spread_spreads(meanings):
    spreading = {m.phenomenon for m in meanings if m.change == "spreading"}
    assert not spreading & {"sun", "clear", "wind", "frost"}


def test_pick_follows_the_weights():
    rng = np.random.default_rng(0)
    counts = Counter(pick(rng, {"never": 0, "often": 3, "seldom": 1, "no": 0}) for _ in range(4000))
    assert set(counts) == {"often", "seldom"}
    assert counts["often"] / 4000 == pytest.approx(0.75, abs=0.03)


def test_an_unknown_level_is_the_users_mistake():
    with pytest.raises(InputError, match="level: found 4, expected one of 1, 2, 3"):
        draw_meaning(np.random.default_rng(0), 4)
