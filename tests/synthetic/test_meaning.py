import json

import pytest

from unglossed_synth.meaning import Meaning

FULL = Meaning(
    day="monday",
    daypart="night",
    place="coast",
    phenomenon="rain",
    negated=True,
    certainty="likely",
    temperature=-3,
    temperature_high=0,
    change="rising",
    later="morning",
    phenomenon_later="sun",
    comparison="colder",
    compared_to="south",
)


def test_slots_leave_out_what_is_not_said():
    assert Meaning(day="today", phenomenon="fog").slots() == {"day": "today", "phenomenon": "fog"}


def test_zero_degrees_are_said():
    assert Meaning(temperature=0).slots() == {"temperature": "0"}
    assert Meaning(temperature=0).to_dict() == {"temperature": 0}


def test_slots_are_text():
    slots = FULL.slots()
    assert slots["negated"] == "yes"
    assert (slots["temperature"], slots["temperature_high"]) == ("-3", "0")
    assert "intensity" not in slots


def test_round_trip_through_json():
    assert Meaning.from_dict(json.loads(json.dumps(FULL.to_dict()))) == FULL


@pytest.mark.parametrize(
    "slots",
    [
        {"temperature": 5, "temperature_high": 5},
        {"temperature_high": 5},
        {"temperature": 40},
        {"day": "someday"},
        {"intensity": "heavy"},
        {"negated": True},
        {"certainty": "likely"},
        {"phenomenon": "rain", "change": "falling"},
        {"temperature": 5, "change": "easing"},
        {"phenomenon": "rain", "later": "evening"},
        {"comparison": "colder"},
    ],
)
def test_nonsense_is_refused(slots):
    with pytest.raises(AssertionError):
        Meaning(**slots)


def test_an_unknown_slot_is_refused():
    with pytest.raises(TypeError, match="colour"):
        Meaning.from_dict({"colour": "red"})
