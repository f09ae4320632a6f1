import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pympi import Eaf

from unglossed.corpora.segments import LONGEST_SECONDS, Segment, read_segments
from unglossed.errors import InputError

EXPECTED = [Segment(1.0, 2.5, "Am Morgen Nebel."), Segment(60.25, 63.0, "Danach heiter.")]
FILES = {
    "talk.srt": "1\n00:00:01,000 --> 00:00:02,500\nAm Morgen\nNebel.\n\n"
    "2\n00:01:00,250 --> 00:01:03,000\nDanach heiter.\n",
    "talk.vtt": "WEBVTT\n\n00:01.000 --> 00:02.500\nAm Morgen Nebel.\n\n"
    "01:00.250 --> 01:03.000\nDanach heiter.\n",
    "talk.sbv": "0:00:01.000,0:00:02.500\nAm Morgen Nebel.\n\n"
    "0:01:00.250,0:01:03.000\nDanach heiter.\n",
    "talk.csv": "text,start,end\nAm Morgen Nebel.,1,2.5\nDanach heiter.,00:01:00.250,1:03\n",
    "talk.tsv": "start\tend\ttext\tscore\n60.25\t63\tDanach heiter.\t1\n"
    "1\t2.5\tAm Morgen Nebel.\t2\n",
    "talk.jsonl": '{"start": 1, "end": "2.5", "text": "Am Morgen Nebel."}\n'
    '{"start": 60.25, "end": 63.0, "text": "Danach heiter."}\n',
    "whisper.json": '{"text": "", "language": "de", "segments": ['
    '{"id": 0, "start": 1.0, "end": 2.5, "text": " Am Morgen Nebel.", "tokens": [1]},'
    '{"id": 1, "start": 60.25, "end": 63.0, "text": " Danach heiter."}]}',
    "list.json": '[{"start": "0:01", "end": 2.5, "text": "Am Morgen\\nNebel."},'
    '{"start": 60.25, "end": "01:03.000", "text": "Danach heiter."}]',
}


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(tmp_path, name, text, **options):
    path = write(tmp_path, name, text)
    with pytest.raises(InputError) as error:
        read_segments(path, **options)
    message = str(error.value)
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_gives_the_same_segments(tmp_path, name):
    assert read_segments(write(tmp_path, name, FILES[name])) == EXPECTED


@pytest.fixture
def elan(tmp_path):
    eaf = Eaf(author="test")
    eaf.remove_tier("default")
    for tier, start in (("sentence", 1000), ("fragments", 2000)):
        eaf.add_tier(tier)
        eaf.add_annotation(tier, start, start + 500, "")
    path = tmp_path / "talk.eaf"
    eaf.to_file(str(path))
    return path


def test_a_tier_may_have_times_alone_and_is_chosen_by_its_name(elan):
    assert read_segments(elan) == [Segment(1.0, 1.5)]
    assert read_segments(elan, tier="fragments") == [Segment(2.0, 2.5)]
    with pytest.raises(InputError, match="found the tiers 'sentence', 'fragments', expected 'x'"):
        read_segments(elan, tier="x")


def test_only_elan_files_have_tiers(tmp_path):
    found = refusal(tmp_path, "talk.srt", FILES["talk.srt"], tier="x")
    assert found == ": a tier ('x') was asked for, expected an ELAN file (.eaf)"


@pytest.mark.parametrize(
    ("name", "text"), [("a.csv", "start,end\n"), ("a.json", "[]"), ("b.json", '{"segments": []}')]
)
def test_a_file_may_say_that_nothing_is_signed(tmp_path, name, text):
    assert read_segments(write(tmp_path, name, text)) == []


def test_overlapping_segments_are_kept(tmp_path):
    path = write(tmp_path, "a.csv", "start,end\n2,9\n1,3\n1,2\n")
    assert read_segments(path) == [Segment(1, 2), Segment(1, 3), Segment(2, 9)]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.txt", "1 2", ": unknown kind of segments, expected one of .vtt, .srt"),
        ("a.csv", "begin,end\n1,2\n", ", line 1: no column start, found 'begin', 'end'"),
        ("a.csv", "start,end,start\n1,2,3\n", ", line 1: found the column 'start' twice"),
        ("a.csv", "start;end\n1;2\n", ", line 1: no column start, end, found 'start;end'; the fi"),
        ("a.csv", "start,end\n1,2\n1\n", ", line 3: found 1 fields, expected 2"),
        ("a.csv", "start,end\n1,\n", ", line 2: the field end holds nothing, expected seconds or"),
        ("a.csv", "start,end\nx,2\n", ", line 2: the field start holds 'x', expected seconds or"),
        ("a.csv", "start,end\n2,2\n", ", line 2: found 2 to 2 seconds, expected a start of 0 or"),
        ("a.csv", "start,end\n-1,2\n", ", line 2: found -1 to 2 seconds, expected a start of 0"),
        ("a.csv", "start,end\nnan,2\n", ", line 2: found nan to 2 seconds, expected a start of 0"),
        ("a.csv", "start,end\n1,inf\n", ", line 2: found 1 to inf seconds, expected at most 36"),
        ("a.tsv", "start\tend\n0\t600000\n", ", line 2: found 0 to 600000 seconds, expected at "),
        ("a.srt", "1\n00:00:02,000 --> 00:00:01,000\nA\n", ", cue 1: found 2 to 1 seconds"),
        ("a.json", "{", ": not JSON ("),
        ("a.json", "[" * 100_000, ": not JSON ("),
        ("a.json", "3", ": found no list of segments, expected {"),
        ("a.json", '{"segments": {}}', ": found no list of segments, expected {"),
        ("a.json", "[3]", ", segment 1: found '3.0', expected an object as in {"),
        ("a.json", '[{"start": 1}]', ", segment 1: the field end holds nothing, expected sec"),
        ("a.json", '[{"start": true, "end": 2}]', ", segment 1: the field start holds True, exp"),
        ("a.json", '[{"start": 1, "end": [2]}]', ", segment 1: the field end holds [2.0], e"),
        ("a.json", '[{"start": 1, "start": 2, "end": 3}]', ": found the field 'start' twice"),
        ("a.json", '[{"start": 1, "end": 2, "text": 3}]', ", segment 1: the field text holds 3"),
        ("a.json", '[{"start": 1, "end": 2, "text": "\\ud800"}]', ", segment 1: the field text h"),
        ("a.json", f'[{{"start": 1, "end": 1{"0" * 5000}}}]', ", segment 1: found 1 to inf"),
        ("a.json", '[{"start": 1, "end": NaN}]', ", segment 1: found 1 to nan seconds"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path, name, text, expected):
    assert refusal(tmp_path, name, text).startswith(expected)


def test_a_file_that_is_not_there(tmp_path):
    for name in ("a.srt", "a.csv", "a.json", "a.eaf"):
        with pytest.raises(InputError, match=f"{name}: .*No such file"):
            read_segments(tmp_path / name)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["segments", "start", "end", "text"]), inner)
        ),
        max_leaves=12,
    )
)
def test_any_json_gives_segments_or_one_line(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    try:
        segments = read_segments(path)
    except InputError as error:
        assert str(error).startswith(str(path))  # noqa: PT017
    else:
        assert all(0 <= one.start_seconds < one.end_seconds <= LONGEST_SECONDS for one in segments)
