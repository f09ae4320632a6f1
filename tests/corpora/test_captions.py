import pysubs2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pympi import Elan

from unglossed.corpora.captions import Cue, on_one_line, parse_clock, read_captions
from unglossed.errors import InputError

SRT = """1
00:00:01,000 --> 00:00:02,500
Am Morgen liegt
dichter <i>Nebel</i>.

2
00:01:00,250 --> 00:01:03,000
{\\an8}Danach wird es heiter.
"""
VTT = """WEBVTT - forecast
Kind: captions
Language: de

STYLE
::cue { color: papayawhip }

NOTE a remark
on two lines

first cue
00:01.000 --> 00:02.500 align:start position:0%
<v Anna>Am Morgen liegt
dichter <c.yellow.loud>Nebel</c>.

NOTE another remark

00:01:00.250 --> 00:01:03.000
Danach &amp; dann<00:01:01.000><c> heiter</c><00:01:02.000><c> &lt;3</c>
"""


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def read_telling(path, starts):
    """The cues of a file with wrong ones; what is told of these begins so."""
    told = []
    cues = read_captions(path, None, lambda where, text: told.append(f"{where}: {text}"))
    assert len(told) == len(starts)
    for line, start in zip(told, starts, strict=True):
        assert line.startswith(start)
    return cues


def texts(path):
    return [cue.text for cue in read_captions(path)]


def test_subrip_cues_become_plain_text_with_times(tmp_path):
    assert read_captions(write(tmp_path, "a.srt", SRT)) == [
        Cue(1, 1.0, 2.5, "Am Morgen liegt dichter Nebel."),
        Cue(2, 60.25, 63.0, "Danach wird es heiter."),
    ]


def test_webvtt_names_notes_styles_settings_tags_and_entities_are_no_text(tmp_path):
    assert read_captions(write(tmp_path, "a.vtt", VTT)) == [
        Cue(1, 1.0, 2.5, "Am Morgen liegt dichter Nebel.", speaker="Anna"),
        Cue(2, 60.25, 63.0, "Danach & dann heiter <3"),
    ]


@pytest.mark.parametrize(("name", "text"), [("a.srt", SRT), ("a.vtt", VTT)])
def test_byte_order_mark_and_windows_lines_change_nothing(tmp_path, name, text):
    plain = read_captions(write(tmp_path, name, text))
    windows = "\ufeff" + text.replace("\n", "\r\n")
    assert read_captions(write(tmp_path, f"b{name}", windows)) == plain


def test_lines_of_digits_are_text_where_they_are_no_number(tmp_path):
    srt = (
        "1\n00:00:01,000 --> 00:00:02,000\nThe year\n2019\n\n2\n00:00:03,000 --> 00:00:04,000\n7\n"
    )
    vtt = "WEBVTT\n\n00:01.000 --> 00:02.000\nThe year\n2019\n\n00:03.000 --> 00:04.000\n7\n"
    bare = "00:00:01,000 --> 00:00:02,000\nThe year\n2019\n00:00:03,000 --> 00:00:04,000\n7\n"
    for name, text in {"a.srt": srt, "a.vtt": vtt, "b.srt": bare}.items():
        assert texts(write(tmp_path, name, text)) == ["The year 2019", "7"]


def test_what_only_looks_like_markup_stays(tmp_path):
    text = "1\n00:00:01,000 --> 00:00:02,000\nif a < b and c > d {then} AT&amp;T go --> there <3\n"
    assert texts(write(tmp_path, "a.srt", text)) == [
        "if a < b and c > d {then} AT&amp;T go --> there <3"
    ]


def test_line_in_a_subrip_cue_may_be_empty(tmp_path):
    text = SRT.replace("liegt\n", "liegt\n\n")
    assert texts(write(tmp_path, "a.srt", text))[0] == "Am Morgen liegt dichter Nebel."


def test_cue_without_text_keeps_its_number(tmp_path):
    text = "WEBVTT\n\n00:01.000 --> 00:02.000\n&nbsp;\n\n00:03.000 --> 00:04.000\n<i>so</i>\n"
    found = read_captions(write(tmp_path, "a.vtt", text))
    assert [(cue.number, cue.text) for cue in found] == [(1, ""), (2, "so")]


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("00:00:01,5", 1.5),
        ("1:02:03.004", 3723.004),
        ("02:03", 123.0),
        ("120:00:00", 432000.0),
        ("00:61:00", None),
        ("00:00:60", None),
        ("1.5", None),
        ("-00:00:01", None),
        ("", None),
    ],
)
def test_clock_times(stamp, seconds):
    assert parse_clock(stamp) == seconds


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.srt", "", ": found no cue, expected lines such as 00:00:01,000 --> 00:00:02,500"),
        ("a.srt", "<html>\n", ": found no cue"),
        ("a.srt", VTT, ", line 1: found 'WEBVTT - forecast', expected a number or 00:00:01"),
        ("a.srt", SRT.replace("02,500", "02;500"), ", line 2: times '00:00:01,000 --> 00:00:02;"),
        ("a.srt", SRT.replace("00:01:03", "00:99:03"), ", line 7: times '00:01:00,250 -->"),
        ("a.srt", SRT.replace("\n2\n", "\ntwo\n"), ", line 6: found 'two', expected the cue's nu"),
        ("a.vtt", "", ", line 1: found '', expected WEBVTT"),
        ("a.vtt", SRT, ", line 1: found '1', expected WEBVTT"),
        ("a.vtt", VTT.replace("00:01.000 -->", "1s -->"), ", line 12: times '1s --> 00:02.500"),
        ("a.vtt", VTT.replace("liegt", "--> liegt"), ", line 13: times '<v Anna>Am Morgen -->"),
        (
            "a.smi",
            "<SAMI>",
            ": unknown kind of captions, expected .vtt, .srt, .eaf, .ass, .ssa or .sbv",
        ),
    ],
)
def test_malformed_file_is_one_clear_line(tmp_path, name, text, message):
    path = write(tmp_path, name, text)
    with pytest.raises(InputError) as error:
        read_captions(path)
    assert str(error.value).startswith(f"{path}{message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("latin-1", ", line 8: not UTF-8 .byte 0x..., expected the"),
        ("utf-16", ": found UTF-16, expected UTF-8"),
    ],
)
def test_other_encoding_is_one_clear_line(tmp_path, encoding, message):
    path = tmp_path / "a.srt"
    path.write_bytes(SRT.replace("heiter", "schön").encode(encoding))
    with pytest.raises(InputError, match=f"a.srt{message}"):
        read_captions(path)


@pytest.mark.parametrize(("name", "text"), [("a.srt", SRT), ("a.vtt", VTT)])
def test_carriage_returns_alone_end_lines_too(tmp_path, name, text):
    plain = read_captions(write(tmp_path, name, text))
    assert read_captions(write(tmp_path, f"b{name}", text.replace("\n", "\r"))) == plain


THREE = """WEBVTT

00:01.000 --> 00:02.000
one

00:03.000 --> 00:04.000
two

00:05.000 --> 00:06.000
three
"""
THREE_SRT = """1
00:00:01,000 --> 00:00:02,000
one

2
00:00:03,000 --> 00:00:04,000
two

3
00:00:05,000 --> 00:00:06,000
three
"""


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.vtt", THREE.replace("00:04.", "4 s"), [", line 6: times '00:03.000 --> 4 s"]),
        ("a.vtt", THREE.replace("--> 00:04", "-> 00:04"), [", line 6: times '00:03.000 -> "]),
        ("a.srt", THREE_SRT.replace("04,000", "4;0"), [", line 6: times '00:00:03,000 --> "]),
        ("a.srt", THREE_SRT.replace("--> 00:00:04", "=> 00:00:04"), [", line 6: times '00:00:03,"]),
        ("a.srt", THREE_SRT.replace("00:00:03", "o0:00:03"), [", line 6: times 'o0:00:03,000 --"]),
        (
            "a.srt",
            THREE_SRT.replace("\n2\n", "\ntwo\n"),
            [", line 5: found 'two', expected the cue"],
        ),
    ],
)
def test_wrong_cue_is_told_and_the_others_keep_their_numbers(tmp_path, name, text, told):
    path = write(tmp_path, name, text)
    found = read_telling(path, [f"{path}{line}" for line in told])
    assert [(cue.number, cue.text) for cue in found] == [(1, "one"), (3, "three")]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.vtt", THREE.replace("one\n", "one\nand --> more\n"), 5),
        ("a.srt", THREE_SRT.replace("one\n\n2\n", "one\nmore\n"), 4),
    ],
)
def test_cue_whose_text_may_go_on_in_a_wrong_line_is_not_used(tmp_path, name, text, line):
    path = write(tmp_path, name, text)
    told = [f"{path}, line {line}: ", f"{path}, cue 1: no empty line parts it from line {line}"]
    assert "one" not in [cue.text for cue in read_telling(path, told)]


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"none.vtt: cannot be read: No such file"):
        read_captions(tmp_path / "none.vtt")


# What the two formats can hold: no markup, and white space only between words.
WORDS = st.text(st.characters(categories=("L", "N", "P"), exclude_characters="<>{}&\\"), min_size=1)
LINES = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)
TIMES = st.integers(0, 3_000_000)


@pytest.mark.parametrize("suffix", ["srt", "vtt"])
@given(cues=st.lists(st.tuples(TIMES, TIMES, st.lists(LINES, min_size=1, max_size=3)), min_size=1))
def test_files_of_another_program_are_read_as_they_were_meant(tmp_path_factory, suffix, cues):
    written = pysubs2.SSAFile()
    cues.sort()  # as pysubs2 does for WebVTT
    for start, end, lines in cues:
        written.append(pysubs2.SSAEvent(start=start, end=end, text="\\N".join(lines)))
    path = tmp_path_factory.mktemp("captions") / f"a.{suffix}"
    written.save(str(path))
    assert read_captions(path) == [
        Cue(number, start / 1000, end / 1000, " ".join(lines))
        for number, (start, end, lines) in enumerate(cues, start=1)
    ]


@given(st.text())
def test_one_line_changes_nothing_but_line_ends(text):
    line = on_one_line(text)
    assert "\n" not in line
    assert "\r" not in line
    assert line.split() == text.split()


def write_eaf(path, tiers):
    """Write an ELAN file with another program; a tier is a list of (start, end, text)."""
    eaf = Elan.Eaf()
    eaf.remove_tier("default")
    for name, annotations in tiers.items():
        eaf.add_tier(name)
        for start, end, text in annotations:
            eaf.add_annotation(name, start, end, text)
    eaf.to_file(str(path))
    return path


def test_elan_annotations_come_in_the_order_of_time(tmp_path):
    path = write_eaf(
        tmp_path / "a.eaf",
        {"default": [(4000, 6500, "dann\nheiter"), (500, 2250, "erst „Nebel“ < 5 & <i>")]},
    )
    assert read_captions(path) == [
        Cue(1, 0.5, 2.25, "erst „Nebel“ < 5 & <i>", "default"),
        Cue(2, 4.0, 6.5, "dann heiter", "default"),
    ]


@pytest.mark.parametrize("name", ["text", "Translation", "SENTENCE"])
def test_elan_tier_of_the_sentences_is_found_by_its_name(tmp_path, name):
    tiers = {"GLOSS-R": [(0, 900, "NEBEL")], name: [(0, 900, "Nebel.")], "GLOSS-L": []}
    assert texts(write_eaf(tmp_path / "a.eaf", tiers)) == ["Nebel."]


def test_elan_tier_that_was_asked_for(tmp_path):
    tiers = {"Deutsch": [(0, 900, "Nebel.")], "English": [(0, 900, "Fog.")]}
    path = write_eaf(tmp_path / "a.eaf", tiers)
    assert [cue.text for cue in read_captions(path, "English")] == ["Fog."]
    with pytest.raises(InputError, match=r"found the tiers 'Deutsch', 'English', expected 'Text'"):
        read_captions(path, "Text")


def test_elan_tiers_without_text_are_no_choice(tmp_path):
    tiers = {"notes": [(0, 900, " ")], "Deutsch": [(0, 900, "Nebel.")], "empty": []}
    assert texts(write_eaf(tmp_path / "a.eaf", tiers)) == ["Nebel."]


def test_elan_tiers_of_which_none_can_be_chosen_are_listed(tmp_path):
    path = write_eaf(tmp_path / "a.eaf", {"A": [(0, 9, "Nebel")], "B": [(0, 9, "fog")]})
    with pytest.raises(InputError) as error:
        read_captions(path)
    assert str(error.value) == (
        f"{path}: found the tiers 'A', 'B', expected one of the name text or translation or "
        "sentence, or a single one with text; ?tier=NAME in a spec, or --tier NAME, chooses one"
    )
    path = write_eaf(tmp_path / "b.eaf", {"text": [(0, 9, "Nebel")], "sentence": [(0, 9, "fog")]})
    with pytest.raises(InputError, match="found the tiers 'text', 'sentence', expected"):
        read_captions(path)


EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-01-01T00:00:00+00:00" FORMAT="3.0" VERSION="3.0"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">
 <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/>
 <TIME_ORDER>
  <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="2000"/>
  <TIME_SLOT TIME_SLOT_ID="ts3"/>
 </TIME_ORDER>
 <TIER LINGUISTIC_TYPE_REF="a" TIER_ID="utterance"><ANNOTATION>
  <ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
   <ANNOTATION_VALUE>x</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
 <TIER LINGUISTIC_TYPE_REF="a" PARENT_REF="utterance" TIER_ID="part"><ANNOTATION>
  <ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
   <ANNOTATION_VALUE>y</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
 <TIER LINGUISTIC_TYPE_REF="s" PARENT_REF="part" TIER_ID="translation"><ANNOTATION>
  <REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a2">
   <ANNOTATION_VALUE>Nebel.</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION></TIER>
 <LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="a"/><LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="s"/>
</ANNOTATION_DOCUMENT>
"""


def test_elan_annotation_without_times_has_those_it_refers_to(tmp_path):
    path = write(tmp_path, "a.eaf", EAF)
    assert read_captions(path) == [Cue(1, 1.0, 2.0, "Nebel.", "translation")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '"a2" TIME_SLOT_REF1="ts1"',
            '"a2" TIME_SLOT_REF1="ts3"',
            "its time slot 'ts3' has no ti",
        ),
        ('"a2" TIME_SLOT_REF1="ts1"', '"a2"', "it names no time slot for its begin or end"),
        ('ANNOTATION_REF="a2"', 'ANNOTATION_REF="a3"', "it refers to annotations that refer to ea"),
        ('ANNOTATION_REF="a2"', 'ANNOTATION_REF="a9"', "it refers to 'a9', which is not there"),
        ('ANNOTATION_REF="a2"', "", "it refers to None, which is not there"),
        (
            'TIME_VALUE="1000"',
            'TIME_VALUE="1 s"',
            "its time slot 'ts1' is '1 s', expected mil",
        ),
    ],
)
def test_elan_annotation_that_leads_to_no_time_is_told_and_the_others_are_read(
    tmp_path, old, new, message
):
    assert old in EAF
    sound = """<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a4" TIME_SLOT_REF1="ts4"
     TIME_SLOT_REF2="ts2"><ANNOTATION_VALUE>Wind.</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION>
     </ANNOTATION></TIER>
     <LINGUISTIC"""
    text = EAF.replace("</TIER>\n <LINGUISTIC", sound).replace(
        "</TIME_ORDER>", '<TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="1500"/></TIME_ORDER>'
    )
    path = write(tmp_path, "a.eaf", text.replace(old, new))
    told = f"{path}, line 17: annotation 'Nebel.' of the tier 'translation': {message}"
    with pytest.raises(InputError) as error:
        read_captions(path)
    assert str(error.value).startswith(told)
    assert read_telling(path, [told]) == [Cue(1, 1.5, 2.0, "Wind.", "translation")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (EAF[:600], "line 11: not XML: unclosed token"),
        ("no xml", "line 1: not XML: syntax error"),
        (
            "<html/>",
            "line 1: not a document of ELAN: found <html>, expected <ANNOTATION_DOCUMENT>",
        ),
        (
            EAF.replace(' TIER_ID="part"', ""),
            "line 13: not a document of ELAN: <TIER> has no TIE",
        ),
        (
            EAF.replace('TIME_SLOT_ID="ts1"', ""),
            "line 7: not a document of ELAN: <TIME_SLOT> has ",
        ),
        ("<!DOCTYPE x SYSTEM 'file:///etc/passwd'><x/>", "line 1: found a document type"),
        (
            "<!DOCTYPE x [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;'>]>\n<x>&b;</x>",
            "line 1: found a document type, which ELAN does not write",
        ),
    ],
)
def test_elan_file_that_is_malformed_or_harmful_is_one_clear_line(tmp_path, text, message):
    path = write(tmp_path, "a.eaf", text)
    with pytest.raises(InputError) as error:
        read_captions(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["a.srt", "a.vtt"])
@pytest.mark.parametrize("arrow", ["->", "=>", "→", ">"])
def test_times_with_another_arrow_are_no_text_of_the_cue_before(tmp_path, name, arrow):
    head = "WEBVTT\n\n" if name.endswith("vtt") else ""
    path = tmp_path / name
    path.write_text(
        f"{head}00:00:01.000 --> 00:00:02.000\none\n\n00:03.0 {arrow} 00:04.0\ntwo\n",
        encoding="utf-8",
    )
    with pytest.raises(InputError, match=r"line \d: times '00:03\.0") as error:
        read_captions(path)
    assert str(error.value).startswith(str(path))


def test_a_time_of_day_in_a_sentence_is_text(tmp_path):
    path = tmp_path / "a.vtt"
    path.write_text("WEBVTT\n\n00:01.000 --> 00:02.000\n10:30 - 11:00 fog\n", encoding="utf-8")
    assert [cue.text for cue in read_captions(path)] == ["10:30 - 11:00 fog"]


def test_subrip_keeps_nothing_of_substation(tmp_path):
    text = SRT.replace("Am Morgen liegt\n", "{\\an8}<font color=red>Am\\hMorgen</font> liegt\\N")
    assert texts(write(tmp_path, "a.srt", text))[0] == "Am Morgen liegt dichter Nebel."


def test_names_of_speakers_are_kept(tmp_path):
    text = (
        "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:0\n\nREGION\nid:1\n\n"
        "00:01.000 --> 00:02.000 region:1\n<v.loud Dr.&nbsp;Anna>Nebel</v>\n<v Ben>und Wind</v>\n\n"
        "00:03.000 --> 00:04.000\n<v.loud>heiter</v>\n"
    )
    found = read_captions(write(tmp_path, "a.vtt", text))
    assert [(cue.text, cue.speaker) for cue in found] == [
        ("Nebel und Wind", "Dr.\u00a0Anna, Ben"),
        ("heiter", None),
    ]


def test_a_shift_for_streams_is_told(tmp_path):
    told = []
    text = VTT.replace("Kind: captions", "X-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000")
    read_captions(write(tmp_path, "a.vtt", text), note=lambda *odd: told.append(odd))
    assert [found for _, found in told] == [
        "found 'X-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000', which is for streams: times are"
        " read as they stand"
    ]


SBV = "0:00:01.000,0:00:02.500\nAm Morgen liegt\ndichter Nebel.\n\n0:01:00.250,0:01:03.000\nWind.\n"


def test_captions_of_youtube(tmp_path):
    path = write(tmp_path, "a.sbv", SBV)
    assert read_captions(path) == [
        Cue(1, 1.0, 2.5, "Am Morgen liegt dichter Nebel."),
        Cue(2, 60.25, 63.0, "Wind."),
    ]
    wrong = write(tmp_path, "b.sbv", SBV.replace("02.500", "99.500"))
    told = f"{wrong}, line 1: times '0:00:01.000,0:00:99.500', expected 0:00:01.000,0:00:02.500"
    assert [cue.text for cue in read_telling(wrong, [told])] == ["Wind."]
    with pytest.raises(
        InputError, match=r"c.sbv: found no cue, expected lines such as 0:00:01.000"
    ):
        read_captions(write(tmp_path, "c.sbv", SRT))


ASS = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,20

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:01:00.25,0:01:03.00,Default,Ben,0,0,0,,Wind, {\\i1}dann\\hSonne{\\i0}.
Comment: 0,0:00:00.00,0:00:01.00,Default,,0,0,0,,to do
Dialogue: 0,0:00:00.00,0:00:01.00,Default,,0,0,0,,{\\p1}m 0 0 l 9 9{\\p0}
Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,{\\an8}Am Morgen\\NNebel.
"""


def test_dialogue_of_substation_files(tmp_path):
    for suffix in ("ass", "ssa"):
        assert read_captions(write(tmp_path, f"a.{suffix}", ASS)) == [
            Cue(1, 1.0, 2.5, "Am Morgen Nebel."),
            Cue(2, 60.25, 63.0, "Wind, dann Sonne.", speaker="Ben"),
        ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[Script Info]\n", ": found no section [Events], expected one"),
        (
            ASS.replace("Start, End", "End, Start"),
            ", line 9: found 'Format: Layer, End, Start, Sty",
        ),
        (
            ASS.replace("0:01:00.25", "one minute"),
            ", line 10: found 'Dialogue: 0,one minute,0:01:0",
        ),
    ],
)
def test_malformed_substation_file_is_one_clear_line(tmp_path, text, message):
    path = write(tmp_path, "a.ass", text)
    with pytest.raises(InputError) as error:
        read_captions(path)
    assert str(error.value).startswith(f"{path}{message}")
