"""Subtitles keep to what viewers are used to, and every form can be read back."""

import json
from pathlib import Path

import pysubs2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unglossed.corpora.captions import read_captions
from unglossed.corpora.elan import read_document
from unglossed.corpora.segments import read_segments
from unglossed.errors import InputError
from unglossed.inference.output import WordAttention
from unglossed.inference.sentences import Sentence
from unglossed.inference.subtitles import FORMS, SUFFIXES, Lines, make_cues, render, wrap

LONG = "am donnerstag regnet es im nordwesten und an den küsten weht ein frischer bis starker wind"


def sentence(start: float, end: float, text: str, number: int = 1, **more: object) -> Sentence:
    return Sentence(number, start, end, text, -0.25, **more)  # type: ignore[arg-type]


def cues(*rows: tuple[float, float, str], language: str = "de", **lines: int) -> list[tuple]:
    sentences = [sentence(*row) for row in rows]
    made = make_cues(sentences, language, Lines.of(language, **lines))
    return [(round(one.start_seconds, 3), round(one.end_seconds, 3), one.text) for one in made]


def test_a_text_of_two_lines_is_broken_near_its_middle() -> None:
    ((_, _, text),) = cues((0, 5, "heute regnet es im norden und im süden scheint die sonne"))

    assert text == "heute regnet es im norden und\nim süden scheint die sonne"


def test_a_text_of_more_lines_becomes_several_subtitles_that_share_its_time() -> None:
    made = cues((10, 16, LONG))

    assert len(made) == 2
    assert made[0][0] == 10
    assert made[-1][1] == 16
    assert made[0][1] == made[1][0]
    shown = [line for _, _, text in made for line in text.split("\n")]
    assert " ".join(shown) == LONG
    assert max(map(len, shown)) <= 42


def test_a_subtitle_stays_a_second_at_least_and_seven_at_most() -> None:
    assert cues((1, 1.5, "ja")) == [(1, 2, "ja")]
    assert [end - start for start, end, _ in cues((0, 20, "sonne"))] == [7]


def test_a_text_that_is_fast_to_read_stays_as_long_as_there_is_room() -> None:
    text = "a" * 40

    assert cues((0, 1, text)) == [(0, 2, text)]
    assert cues((0, 1, text), (1.5, 3, "b"))[0] == (0, 1.5, text)


def test_a_gap_of_less_than_two_frames_is_closed() -> None:
    assert cues((0, 2, "a"), (2.05, 4, "b"))[0][1] == 2.05
    assert cues((0, 2, "a"), (2.2, 4, "b"))[0][1] == 2


def test_chinese_has_lines_of_21_characters_which_no_comma_begins() -> None:
    text = "明天北方有雨，南方晴朗，东部沿海地区有大风，请注意安全，出门带伞"
    made = cues((0, 6, text), language="zh")

    shown = [line for _, _, one in made for line in one.split("\n")]
    assert "".join(shown) == text
    assert max(map(len, shown)) <= 22  # a comma may hang over
    assert not any(line.startswith("，") for line in shown)


def test_sentences_without_a_text_have_no_subtitle() -> None:
    assert cues((0, 2, ""), (3, 5, "regen")) == [(3, 5, "regen")]


def test_a_word_longer_than_a_line_is_cut() -> None:
    assert wrap("donaudampfschiff", 7, "de") == ["donauda", "mpfschi", "ff"]


@given(
    st.lists(st.text("abcdefgh ", min_size=1, max_size=200), max_size=6),
    st.integers(1, 60),
    st.integers(1, 3),
)
def test_no_letter_is_lost_and_no_line_too_long(texts: list[str], width: int, count: int) -> None:
    rows = [(5.0 * n, 5.0 * n + 4, text) for n, text in enumerate(texts)]
    made = cues(*rows, width=width, count=count)

    shown = [line for _, _, text in made for line in text.split("\n")]
    assert "".join("".join(shown).split()) == "".join("".join(texts).split())
    assert all(len(line) <= width for line in shown)
    assert all(len(text.split("\n")) <= count for _, _, text in made)
    times = [time for start, end, _ in made for time in (start, end)]
    assert times == sorted(times)


SENTENCES = [sentence(0.5, 2.5, "regen & <wind> --> {x}"), sentence(3, 4.25, "sonne", 2)]


@pytest.mark.parametrize("form", ["srt", "vtt", "eaf", "tsv", "json"])
def test_every_form_is_read_back(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"talk{SUFFIXES[form]}"
    media = tmp_path / "talk.mp4"
    path.write_text(render(SENTENCES, form, language="de", media=str(media)), encoding="utf-8")

    read = read_segments(path)

    assert [(one.start_seconds, one.end_seconds) for one in read] == [(0.5, 2.5), (3, 4.25)]
    # SubRip has no way to write an arrow of its own.
    arrow = "→" if form == "srt" else "-->"
    assert [one.text for one in read] == [f"regen & <wind> {arrow} {{x}}", "sonne"]


def test_srt_is_read_by_pysubs2() -> None:
    made = pysubs2.SSAFile.from_string(render(SENTENCES[1:], "srt", language="de", media="a.mp4"))

    assert [(one.start, one.end, one.text) for one in made] == [(3000, 4250, "sonne")]


def test_an_elan_file_is_linked_to_its_media_from_another_folder(tmp_path: Path) -> None:
    (tmp_path / "in my room").mkdir()
    media = tmp_path / "in my room" / "talk 1.mp4"
    out = tmp_path / "out"
    text = render(SENTENCES, "eaf", language="de", media=str(media), folder=out)

    assert 'RELATIVE_MEDIA_URL="./../in%20my%20room/talk%201.mp4"' in text
    assert media.as_uri() in text
    assert 'MIME_TYPE="video/mp4"' in text
    out.mkdir()
    path = out / "talk.eaf"
    path.write_text(text, encoding="utf-8")
    assert read_document(path).media[0].names[0] == "talk 1.mp4"
    assert [cue.text for cue in read_captions(path)] == [one.text for one in SENTENCES]


def test_json_has_whispers_shape_and_attention_where_there_is_some() -> None:
    words = (WordAttention("sonne", (0.25, 0.75)),)
    rows = [sentence(3, 4.25, "sonne", 2, words=words, frame_seconds=(3.0, 3.16))]

    content = json.loads(render(rows, "json", language="de", media="a.mp4"))

    assert content["task"] == "translate"
    assert content["language"] == "de"
    assert content["duration"] == 4.25
    assert content["text"] == "sonne"
    (row,) = content["segments"]
    assert (row["id"], row["start"], row["end"], row["text"]) == (1, 3, 4.25, "sonne")
    assert row["confidence"] == pytest.approx(0.7788)
    assert row["words"] == [{"word": "sonne", "weights": [0.25, 0.75]}]
    assert row["frame_seconds"] == [3.0, 3.16]


def test_an_unknown_form_and_lines_without_room_are_refused() -> None:
    with pytest.raises(InputError, match=r"form: found 'doc', expected one of text, srt"):
        render([], "doc", language="de", media="a.mp4")
    with pytest.raises(InputError, match="max_line_width: found 0, expected 1 to 1000"):
        Lines.of("de", width=0)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_a_file_of_every_form(tmp_path: Path, form: str) -> None:
    content = render([], form, language="de", media="a.mp4")
    if form in ("tsv", "json", "eaf"):
        path = tmp_path / f"none{SUFFIXES[form]}"
        path.write_text(content, encoding="utf-8")
        assert read_segments(path, tier="translation" if form == "eaf" else None) == []
    else:
        assert content == ("WEBVTT\n\n" if form == "vtt" else "")
