"""A miniature of WMT-SLT's training data with its quirks; subtitles invented for the tests."""

import pytest

from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError

SRT = "1\n00:00:01,000 --> 00:00:03,500\n{}\n\n2\n00:00:04,000 --> 00:00:05,000\nund Wind\n"
NEWS, FOCUS = "srf.2020-03-13", "focusnews.043"


def write(part, name, text="Regen\nim Süden"):
    for folder in ("subtitles", "videos"):
        (part / folder).mkdir(parents=True, exist_ok=True)
    (part / "subtitles" / f"{name}.srt").write_text(SRT.format(text), encoding="utf-8-sig")
    (part / "videos" / f"{name}.mp4").touch()


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "slt"
    write(root / "srf/parallel", NEWS)
    write(root / "focusnews", FOCUS, "Sitzung")
    return root


def read(root, options="", faults=None):
    return read_corpus(f"wmt_slt:{root}{options}", faults)


def test_subtitles_of_both_parts_become_samples(root):
    corpus = read(root)
    assert [row.id for row in corpus.split("train")] == [
        f"{FOCUS}_1",
        f"{FOCUS}_2",
        f"{NEWS}_1",
        f"{NEWS}_2",
    ]
    media = root / "srf/parallel/videos" / f"{NEWS}.mp4"
    times = {"start_seconds": 1.0, "end_seconds": 3.5}
    text = "Regen im Süden"
    assert corpus.split("train")[2] == Sample(f"{NEWS}_1", media, text, "train", "de", **times)
    assert corpus.notes == ()


@pytest.mark.parametrize(
    ("part", "number"), [("srf", 2), ("srf/parallel", 2), ("focusnews", 2), (".", 4), ("..", 4)]
)
def test_a_part_or_all_of_the_archives(root, part, number):
    assert len(read((root / part).resolve()).split("train")) == number


@pytest.mark.parametrize(
    ("folder", "split"), [("dev", "dev"), ("val", "dev"), ("test/srf", "test")]
)
def test_folders_that_are_called_as_splits_are_splits(root, folder, split):
    write(root / folder, "slttest.001")
    corpus = read(root)
    assert [row.id for row in corpus.split(split)] == ["slttest.001_1", "slttest.001_2"]
    assert len(corpus.split("train")) == 4


@pytest.mark.parametrize("place", ["srf/parallel/videos", "srf/parallel", "videos", "."])
def test_videos_elsewhere(root, place, tmp_path_factory):
    disk = tmp_path_factory.mktemp("disk")
    (root / "focusnews/subtitles" / f"{FOCUS}.srt").unlink()
    (disk / place).mkdir(parents=True, exist_ok=True)
    (root / "srf/parallel/videos" / f"{NEWS}.mp4").rename(disk / place / f"{NEWS}.mp4")
    corpus = read(root, f"?media={disk}")
    assert corpus.split("train")[0].media == disk / place / f"{NEWS}.mp4"


def test_subtitles_without_their_video(root):
    (root / "focusnews/videos" / f"{FOCUS}.mp4").unlink()
    with pytest.raises(InputError) as error:
        read(root)
    assert str(error.value) == (
        f"{root}/focusnews/subtitles/{FOCUS}.srt, cue 1: no media for '{FOCUS}_1', expected"
        f" {root}/focusnews/videos/{FOCUS}.mp4"
    )
    corpus = read(root, "?missing=skip")
    assert len(corpus.split("train")) == 2
    assert "left out by the corpus's rules: 2" in corpus.notes[0]


def test_subtitles_that_go_with_no_video_are_texts(root):
    monolingual = root / "srf/monolingual"
    monolingual.mkdir()
    (monolingual / "srf.2014-01-01.de.srt").write_text(SRT.format("Schnee"))
    texts = read_corpus(f"folder:{monolingual}?media=none")
    assert [row.text for row in texts.split("train")] == ["Schnee", "und Wind"]
    assert len(read(root).split("train")) == 4


def test_a_video_without_subtitles_is_reported(root):
    (root / "focusnews/videos/focusnews.044.mp4").touch()
    read(root, faults=(faults := Faults()))
    (fault,) = faults.examples(FaultKind.MEDIA_WITHOUT_ROW)
    assert fault.where == str(root / "focusnews/videos/focusnews.044")


def test_a_wrong_file_of_subtitles_is_one_clear_line(root):
    path = root / "focusnews/subtitles" / f"{FOCUS}.srt"
    path.write_text("nothing")
    with pytest.raises(InputError, match=rf"^{path}: found no cue, expected lines such as"):
        read(root)
    assert len(read(root, "?faulty=skip").split("train")) == 2


def test_no_subtitles_at_all(tmp_path):
    with pytest.raises(InputError) as error:
        read(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: found no folder subtitles, expected {tmp_path}/srf/parallel/subtitles or"
        f" {tmp_path}/focusnews/subtitles"
    )
