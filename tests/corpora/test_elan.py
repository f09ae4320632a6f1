"""Times of ELAN files as ELAN itself shows them: parts, slots without a value, origins of media."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unglossed.corpora.captions import read_captions
from unglossed.corpora.elan import Medium, read_document
from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError

TYPES = """
 <LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="top" TIME_ALIGNABLE="true"/>
 <LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="time" CONSTRAINTS="Time_Subdivision"/>
 <LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="in" CONSTRAINTS="Included_In"/>
 <LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="parts" CONSTRAINTS="Symbolic_Subdivision"/>
 <LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="same" CONSTRAINTS="Symbolic_Association"/>
"""


def aligned(id, begin, end, text=""):
    return (
        f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="{id}" TIME_SLOT_REF1="{begin}"'
        f' TIME_SLOT_REF2="{end}"><ANNOTATION_VALUE>{text}</ANNOTATION_VALUE>'
        "</ALIGNABLE_ANNOTATION></ANNOTATION>"
    )


def part(id, of, text, after=None):
    previous = f' PREVIOUS_ANNOTATION="{after}"' if after else ""
    return (
        f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="{id}" ANNOTATION_REF="{of}"{previous}>'
        f"<ANNOTATION_VALUE>{text}</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>"
    )


def tier(name, kind, *annotations, parent=None, participant=None):
    more = f' PARENT_REF="{parent}"' if parent else ""
    more += f' PARTICIPANT="{participant}"' if participant else ""
    body = "".join(annotations)
    return f'<TIER TIER_ID="{name}" LINGUISTIC_TYPE_REF="{kind}"{more}>{body}</TIER>'


def medium(*urls, origin=None):
    names = ("MEDIA_URL", "RELATIVE_MEDIA_URL")
    more = "".join(f' {name}="{url}"' for name, url in zip(names, urls, strict=False))
    more += "" if origin is None else f' TIME_ORIGIN="{origin}"'
    return f"<MEDIA_DESCRIPTOR{more}/>"


@pytest.fixture
def write(tmp_path):
    """Gives a function that writes an ELAN file; slots are milliseconds by name, None for none."""

    def write_file(slots, *tiers, media="", name="talk.eaf", head='TIME_UNITS="milliseconds"'):
        order = "".join(
            f'<TIME_SLOT TIME_SLOT_ID="{slot}"'
            + ("" if value is None else f' TIME_VALUE="{value}"')
            + "/>"
            for slot, value in slots.items()
        )
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<ANNOTATION_DOCUMENT FORMAT="3.0">\n'
            f"<HEADER {head}>{media}</HEADER>\n<TIME_ORDER>{order}</TIME_ORDER>\n"
            + "\n".join(tiers)
            + f"{TYPES}</ANNOTATION_DOCUMENT>\n"
        )
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def cues(path, tier=None, clip=None):
    found = read_captions(path, tier, clip=clip)
    return [(cue.start_seconds, cue.end_seconds, cue.text) for cue in found]


def told(path, tier):
    found = []
    left = read_captions(path, tier, lambda where, text: found.append(text))
    return [text.partition(": ")[2] for text in found], [cue.text for cue in left]


WHOLE = tier("Whole", "top", aligned("a1", "t1", "t2", "all"))
TIMES = {"t1": 1000, "t2": 4000}


def test_parts_share_the_time_in_the_order_that_they_name(write):
    parts = (
        part("b2", "a1", "a second", after="b1"),
        part("b3", "a1", "third", after="b2"),
        part("b1", "a1", "zeroth"),
    )
    path = write(TIMES, WHOLE, tier("Text", "parts", *parts, parent="Whole"))
    assert cues(path) == [(1, 2, "zeroth"), (2, 3, "a second"), (3, 4, "third")]


def test_parts_that_name_no_order_have_that_of_the_file(write):
    parts = [part(f"b{number}", "a1", text) for number, text in enumerate("zyx")]
    path = write(TIMES, WHOLE, tier("Text", "parts", *parts, parent="Whole"))
    assert cues(path) == [(1, 2, "z"), (2, 3, "y"), (3, 4, "x")]


def test_parts_of_parts_and_what_says_the_same_in_other_words(write):
    halves = (part("b1", "a1", "x"), part("b2", "a1", "y", after="b1"))
    quarters = (part("c1", "b2", "left"), part("c2", "b2", "right", after="c1"))
    path = write(
        TIMES,
        WHOLE,
        tier("Halves", "parts", *halves, parent="Whole"),
        tier("Quarters", "parts", *quarters, parent="Halves"),
        tier(
            "Text", "same", part("d1", "c1", "links"), part("d2", "b1", "erst"), parent="Quarters"
        ),
    )
    assert cues(path, "Quarters") == [(2.5, 3.25, "left"), (3.25, 4, "right")]
    assert cues(path) == [(1, 2.5, "erst"), (2.5, 3.25, "links")]


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([("b1", "b2"), ("b2", "b1")], "parts of 'a1' follow each other in a circle"),
        ([("b1", None), ("b2", "b2")], "parts of 'a1' follow each other in a circle"),
        ([("b1", None), ("b2", "c9")], "PREVIOUS_ANNOTATION 'c9' is no part of 'a1' in its tier"),
        ([("b1", None), ("b2", "b1"), ("b3", "b1")], "two parts of 'a1' follow 'b1'"),
    ],
)
def test_parts_in_no_row_are_told_and_others_are_read(write, parts, reason):
    annotations = [part(id, "a1", id, after) for id, after in parts]
    path = write(
        {**TIMES, "t3": 5000},
        tier("Whole", "top", aligned("a1", "t1", "t2"), aligned("a2", "t2", "t3")),
        tier("Text", "parts", *annotations, part("b9", "a2", "sound"), parent="Whole"),
    )
    assert told(path, "Text") == ([reason] * len(parts), ["sound"])


@pytest.mark.parametrize(
    ("of", "reason"),
    [
        ("b1", "it refers to annotations that refer to each other"),
        ("a7", "it refers to 'a7', which is not there"),
        ("a2", "it refers to 'a2', which is there several times"),
    ],
)
def test_references_that_lead_nowhere(write, of, reason):
    whole = [aligned(id, "t1", "t2") for id in ("a1", "a2", "a2")]
    own = (part("b1", of, "lost"), part("b2", "a1", "sound"))
    path = write(TIMES, tier("Whole", "top", *whole), tier("Text", "same", *own, parent="Whole"))
    assert told(path, "Text") == ([reason], ["sound"])


def test_slots_without_a_value_lie_evenly_in_the_chain_of_their_own_tier(write):
    # In the file's list the slots of two tiers are mixed.
    slots = {"t1": 1000, "u1": None, "v1": None, "u2": None, "t2": 4000}
    thirds = [
        aligned(f"b{n}", *pair, "xyz"[n]) for n, pair in enumerate(pairwise("t1 u1 u2 t2".split()))
    ]
    halves = [aligned("c1", "t1", "v1", "l"), aligned("c2", "v1", "t2", "r")]
    path = write(
        slots,
        tier("Halves", "time", *halves, parent="Whole"),
        tier("Thirds", "time", *thirds, parent="Whole"),
        WHOLE,
    )
    assert cues(path, "Thirds") == [(1, 2, "x"), (2, 3, "y"), (3, 4, "z")]
    assert cues(path, "Halves") == [(1, 2.5, "l"), (2.5, 4, "r")]


def test_slots_without_a_value_of_a_tier_of_its_own_lie_evenly_in_the_list(write):
    slots = {"t1": 1000, "t2": None, "t3": None, "t4": 2500, "t5": None}
    path = write(
        slots,
        tier("Text", "top", aligned("a1", "t1", "t2", "x"), aligned("a2", "t3", "t4", "y")),
        tier("More", "top", aligned("a3", "t4", "t5", "z")),
    )
    assert cues(path, "Text") == [(1, 1.5, "x"), (2, 2.5, "y")]
    reason = "its time slot 't5' has no time, and none before it or behind it has"
    assert told(path, "More") == ([reason], [])


@given(
    times=st.lists(st.integers(0, 10**6), min_size=2, max_size=6, unique=True), n=st.integers(1, 9)
)
def test_parts_of_a_row_meet_and_fill_their_parent(tmp_path_factory, times, n):
    start, end = sorted(times)[:2]
    parts = [part(f"b{k}", "a1", f"{k}", f"b{k - 1}" if k else None) for k in range(n)]
    path = tmp_path_factory.mktemp("elan") / "a.eaf"
    path.write_text(
        f'<ANNOTATION_DOCUMENT><TIME_ORDER><TIME_SLOT TIME_SLOT_ID="t1" TIME_VALUE="{start}"/>'
        f'<TIME_SLOT TIME_SLOT_ID="t2" TIME_VALUE="{end}"/></TIME_ORDER>{WHOLE}'
        f"{tier('Text', 'parts', *reversed(parts), parent='Whole')}{TYPES}</ANNOTATION_DOCUMENT>"
    )
    found = cues(path)
    assert [text for *_, text in found] == [str(k) for k in range(n)]
    assert (found[0][0], found[-1][1]) == (start / 1000, end / 1000)
    assert all(one[1] == other[0] for one, other in pairwise(found))


@pytest.mark.parametrize(
    "media",
    [
        medium("file:///C:/Users/anna/talk.mp4", "./talk.mp4", origin=8000),
        medium("file:///D:/video/other.mp4", origin=8000),  # renamed, and the only one
        medium("file:///x/side.mp4", origin=250) + medium("file:///x/Talk.MP4", origin=8000),
        medium("file:///x/talk.wav", origin=0) + medium("file://y:\\talks\\talk.mp4", origin=8000),
        medium("", "../video/talk.mov", origin=8000) + medium("file:///x/side.mp4"),
    ],
)
def test_times_count_from_the_origin_of_the_clip(write, tmp_path, media):
    write(TIMES, tier("Text", "top", aligned("a1", "t1", "t2", "Nebel")), media=media)
    (tmp_path / "talk.mp4").touch()
    (sample,) = read_corpus(f"folder:{tmp_path}?language=de").split("train")
    assert (sample.start_seconds, sample.end_seconds) == (9, 12)


def test_origin_of_parts_and_of_names_in_other_letters(write):
    url = "file:///Users/anna/gr%C3%BC%C3%9Fe%20am%20morgen.mp4"
    parts = (part("b1", "a1", "x"), part("b2", "a1", "y", after="b1"))
    media = medium(url, origin=-500) + medium("file:///side.mp4", origin=0)
    path = write(TIMES, WHOLE, tier("Text", "parts", *parts, parent="Whole"), media=media)
    clip = "gru\u0308ße am morgen.mp4"
    assert cues(path, clip=clip) == [(0.5, 2, "x"), (2, 3.5, "y")]
    assert read_document(path).media[0] == Medium(("grüße am morgen.mp4",), -0.5)


def test_clip_that_may_be_either_of_two_media_of_different_origins(write, tmp_path):
    media = medium("file:///a.mp4", origin=0) + medium("file:///b.mp4", "./b.mp4", origin=40)
    path = write(TIMES, tier("Text", "top", aligned("a1", "t1", "t2", "Nebel")), media=media)
    (tmp_path / "talk.mp4").touch()
    with pytest.raises(InputError) as error:
        read_corpus(f"folder:{tmp_path}?language=de")
    assert str(error.value) == (
        f"{path}: linked to media of different TIME_ORIGIN: 'a.mp4' (0), 'b.mp4' (40), expected one"
        " of these names for the clip 'talk.mp4'"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"media": medium("file:///a.mp4", origin="8 s")},
            "line 3: TIME_ORIGIN is '8 s', expected",
        ),
        (
            {"head": 'TIME_UNITS="PAL-frames"'},
            "line 3: TIME_UNITS is 'PAL-frames', expected 'milli",
        ),
    ],
)
def test_other_units_are_refused(write, change, message):
    path = write(TIMES, WHOLE, **change)
    with pytest.raises(InputError, match=message):
        read_captions(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'TIER_ID="More"',
            'TIER_ID="Whole"',
            "line 6: found the tier 'Whole' twice, expected each",
        ),
        ('SLOT_ID="t2"', 'SLOT_ID="t1"', "line 4: found the time slot 't1' twice, with two times"),
    ],
)
def test_names_that_stand_for_two_things_are_refused(write, old, new, message):
    path = write(TIMES, WHOLE, tier("More", "top", aligned("a2", "t1", "t2", "x")))
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=message):
        read_captions(path, "Whole")


def test_tier_is_chosen_in_any_letters_and_its_participant_is_the_signer(write, tmp_path):
    own = tier("Satz Anna", "top", aligned("a2", "t1", "t2", "Nebel"), participant="Anna")
    write(TIMES, WHOLE, own)
    (tmp_path / "talk.mp4").touch()
    (sample,) = read_corpus(f"folder:{tmp_path}?language=de&tier=satz anna").split("train")
    assert (sample.text, sample.signer) == ("Nebel", "Anna")


def test_texts_from_tiers_of_several_names_are_told(write, tmp_path):
    for name, tier_name in (("a", "Deutsch"), ("b", "Gloss")):
        write(TIMES, tier(tier_name, "top", aligned("a1", "t1", "t2", "Nebel")), name=f"{name}.eaf")
        (tmp_path / f"{name}.mp4").touch()
    faults = Faults()
    corpus = read_corpus(f"folder:{tmp_path}?language=de", faults)
    (fault,) = faults.examples(FaultKind.ODD_CAPTIONS)
    assert fault.where == f"'Deutsch' in {tmp_path / 'a.eaf'}, 'Gloss' in {tmp_path / 'b.eaf'}"
    assert "ELAN tiers of several names, expected one (?tier=NAME" in corpus.notes[0]
