"""A miniature of YouTube-SL-25 with its quirks; captions invented for the tests."""

import re

import pytest

from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.languages import tokenisation
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.youtube_sl_25 import WRITTEN
from unglossed.errors import InputError

CUE = "WEBVTT\nKind: captions\n\n00:00:01.000 --> 00:00:03.500\n{}\n"


def write(folder, listed, *captions, videos=True):
    """A list of `id,code`, and a caption file of one cue by each name, as `id.en`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{line}\n" for line in listed)
    (folder / "youtube-sl-25-metadata.csv").write_text(lines)
    for name in captions:
        (folder / f"{name}.vtt").write_text(CUE.format(f"text of {name}"))
        if videos:
            (folder / f"{name.partition('.')[0]}.mp4").touch()
    return folder


def read(root, options="", faults=None):
    return read_corpus(f"youtube_sl_25:{root}{options}", faults)


def texts(corpus):
    return [sample.text for rows in corpus.splits.values() for sample in rows]


def test_cues_become_samples_in_the_language_that_is_written_there(tmp_path):
    write(tmp_path, ["-abc,gsg", "xyz,asq"], "-abc.de", "xyz.de-AT")
    sample, other = read(tmp_path).split("train")
    assert (sample.id, sample.text, sample.language) == ("-abc_1", "text of -abc.de", "de")
    assert (sample.start_seconds, sample.end_seconds) == (1.0, 3.5)
    assert sample.media == tmp_path / "-abc.mp4"
    assert other.id == "xyz_1"


def test_every_sign_language_of_the_release_has_a_language_that_can_be_scored():
    assert len(WRITTEN) == 55
    for written in WRITTEN.values():
        for language in written:
            tokenisation(language)


@pytest.mark.parametrize(
    ("sign", "names", "taken"),
    [
        ("ase", ["a.ase", "a.en"], "a.ase"),
        ("ase", ["a.en-US", "a.en", "a.fr"], "a.en"),
        ("ase", ["a.en-GB", "a.en-US"], "a.en-GB"),
        ("aed", ["a.en", "a.es-419"], "a.es-419"),
        ("ins", ["a.en", "a.hi"], "a.en"),
        ("fss", ["a.fi", "a.sv"], "a.sv"),
        ("isr", ["a.iw"], "a.iw"),
        ("psp", ["a.en", "a.fil"], "a.fil"),
        ("hks", ["a.zh-Hant", "a.en"], "a.zh-Hant"),
        ("nsl", ["a.nb", "a.en"], "a.nb"),
        ("gsg", ["a", "a.en"], "a"),
    ],
)
def test_of_several_captions_those_of_its_own_community_are_read(tmp_path, sign, names, taken):
    write(tmp_path, [f"a,{sign}"], *names)
    corpus = read(tmp_path)
    assert texts(corpus) == [f"text of {taken}"]
    assert corpus.language == WRITTEN[sign][0]
    left_out = len(names) - 1
    assert len(corpus.notes) == bool(left_out)
    if left_out:
        assert f"left out by the corpus's rules: {left_out} (" in corpus.notes[0]


def test_translations_alone_are_left_out_and_counted(tmp_path):
    write(tmp_path, ["a,dsl", "b,dsl"], "a.sv", "b.da")
    corpus = read(tmp_path)
    assert texts(corpus) == ["text of b.da"]
    assert corpus.notes == (
        f"left out by the corpus's rules: 1 ({tmp_path / 'a.sv.vtt'}: signed in 'dsl', found"
        " captions in sv, none in da)",
    )


def test_a_language_has_to_be_chosen_where_there_are_several(tmp_path):
    write(tmp_path, ["a,ase", "b,gsg", "c,bfi"], "a.en", "b.de", "c.en")
    with pytest.raises(InputError, match=r"language 'de' beside 'en', expected a choice"):
        read(tmp_path)
    assert texts(read(tmp_path, "?language=en")) == ["text of a.en", "text of c.en"]
    every = read(tmp_path, "?language=*")
    assert [sample.language for sample in every.split("train")] == ["en", "de", "en"]
    assert every.languages == ("en", "de")


def test_the_second_language_of_a_country_is_read_where_it_was_chosen(tmp_path):
    write(tmp_path, ["a,ins"], "a.en", "a.hi")
    assert texts(read(tmp_path, "?language=hi")) == ["text of a.hi"]


def test_one_sign_language_is_chosen_among_those_with_the_same_written_one(tmp_path):
    write(tmp_path, ["a,ase", "b,gsg", "c,bfi"], "a.en", "b.de", "c.en")
    corpus = read(tmp_path, "?sign=bfi")
    assert texts(corpus) == ["text of c.en"]
    assert "left out by the corpus's rules: 2" in corpus.notes[0]
    with pytest.raises(InputError) as error:
        read(tmp_path, "?sign=bsl")
    assert str(error.value) == (
        f"{tmp_path}/youtube-sl-25-metadata.csv: found no video in sign 'bsl', expected one of ase,"
        " bfi, gsg"
    )


def test_what_vanished_is_counted(tmp_path):
    listed = ["a,ase", "gone1,ase", "gone2,bfi", "gone3,???"]
    write(tmp_path, listed, "a.en")
    faults = Faults()
    corpus = read(tmp_path, faults=faults)
    assert faults.count(FaultKind.NOT_HERE) == 3
    assert corpus.notes == (
        f"listed by the release, not in this copy: 3 ({tmp_path}/youtube-sl-25-metadata.csv: no"
        " captions of 'gone1' (signed in ase), expected gone1.CODE.vtt, ...)",
    )
    read(tmp_path, "?sign=ase", of_ase := Faults())
    assert of_ase.count(FaultKind.NOT_HERE) == 1


def test_captions_without_their_video_are_missing_media(tmp_path):
    write(tmp_path, ["a,ase", "b,ase"], "a.en", "b.en")
    (tmp_path / "b.mp4").unlink()
    with pytest.raises(InputError, match=r"b.en.vtt: no media for 'b', expected .*b.mp4"):
        read(tmp_path)
    assert texts(read(tmp_path, "?missing=skip")) == ["text of a.en"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [("a,???", r"the sign language of 'a' is '\?\?\?'"), ("b,ase", "'a' is not in youtube-sl-25")],
)
def test_videos_of_unknown_sign_languages_are_left_out(tmp_path, line, reason):
    write(tmp_path, [line, "c,ase"], "a.en", "c.en")
    corpus = read(tmp_path)
    assert texts(corpus) == ["text of c.en"]
    faults = Faults()
    read(tmp_path, faults=faults)
    (fault,) = faults.examples(FaultKind.LEFT_OUT)
    assert re.search(reason, str(fault))


@pytest.mark.parametrize("text", ["[Music]", "♪", "♪ la la ♪", "[ applause ]"])
def test_cues_that_only_name_a_sound_are_left_out(tmp_path, text):
    write(tmp_path, ["a,ase", "b,ase"], "a.en", "b.en")
    (tmp_path / "a.en.vtt").write_text(CUE.format(text))
    corpus = read(tmp_path)
    assert texts(corpus) == ["text of b.en"]
    assert "it names a sound" in corpus.notes[0]


def test_an_id_that_is_listed_twice_counts_as_it_is_listed_first(tmp_path):
    write(tmp_path, ["a,ase", "a,ase", "a,gsg"], "a.en")
    corpus = read(tmp_path)
    assert texts(corpus) == ["text of a.en"]
    assert "'a' is listed as 'ase' before: that counts, not 'gsg'" in corpus.notes[0]


def test_lines_end_as_on_windows_and_countries_stand_for_their_languages(tmp_path):
    write(tmp_path, ["a,vietnam\r", "b,slovenia\r"], "a.vi", "b.sl")
    assert {sample.language for sample in read(tmp_path, "?language=*").split("train")} == {
        "vi",
        "sl",
    }


@pytest.mark.parametrize("line", ["a", ",ase", "a;ase", "a,ASE", "a,ase,1"])
def test_a_line_of_another_form_is_one_clear_line(tmp_path, line):
    write(tmp_path, ["b,ase", line], "b.en")
    with pytest.raises(InputError) as error:
        read(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}/youtube-sl-25-metadata.csv, line 2: found {line!r}, expected a video's id, a"
        " comma and its sign language, as ase"
    )


def test_the_list_is_needed_and_may_have_the_name_that_a_browser_gives_it(tmp_path):
    root = write(tmp_path / "sl", ["a,ase"], "a.en")
    listed = root / "youtube-sl-25-metadata.csv"
    listed.rename(root / "youtube-sl-25_youtube-sl-25-metadata.csv")
    assert texts(read(root)) == ["text of a.en"]
    (root / "youtube-sl-25_youtube-sl-25-metadata.csv").unlink()
    with pytest.raises(InputError, match=r"found no youtube-sl-25-metadata.csv, expected the rel"):
        read(root)


@pytest.mark.parametrize("captions", ["subtitles", "captions", "videos"])
def test_captions_and_videos_in_folders_of_their_own(tmp_path, captions):
    write(tmp_path, ["a,ase"])
    write(tmp_path / captions, [], "a.en", videos=False)
    (tmp_path / captions / "youtube-sl-25-metadata.csv").unlink()
    (tmp_path / "videos").mkdir(exist_ok=True)
    (tmp_path / "videos/a.webm").touch()
    (sample,) = read(tmp_path).split("train")
    assert sample.media == tmp_path / "videos/a.webm"


def test_folders_that_are_splits(tmp_path):
    write(tmp_path, ["a,ase", "b,ase"])
    for split, name in (("train", "a"), ("val", "b")):
        (tmp_path / split).mkdir()
        (tmp_path / split / f"{name}.en.vtt").write_text(CUE.format(name))
        (tmp_path / split / f"{name}.mp4").touch()
    corpus = read(tmp_path)
    assert {name: len(rows) for name, rows in corpus.splits.items()} == {"train": 1, "dev": 1}
