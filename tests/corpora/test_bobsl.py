"""A miniature of BOBSL with its quirks; subtitles invented for the tests."""

import json

import pytest

from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError

BY_HAND, CORRECTED, AUDIO = (
    "manually-aligned",
    "audio-aligned-heuristic-correction",
    "audio-aligned",
)
TRAIN, OTHER, DEV, TEST, CHALLENGE = "5085344787448740525", "52", "53", "54", "99"
SUBSETS = {"train": [TRAIN, OTHER], "val": [DEV], "test": [TEST], "challenge": [CHALLENGE]}


def vtt(*texts):
    cues = (
        f"{number}\n00:00:{number:02d}.000 --> 00:00:{number + 1:02d}.500\n{text}\n"
        for number, text in enumerate(texts, start=1)
    )
    return "\n".join(["WEBVTT\n", *cues])


def write(base, alignment, episode, *texts):
    folder = base / "subtitles" / alignment
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{episode}.vtt").write_text(vtt(*texts), encoding="utf-8")


@pytest.fixture
def base(tmp_path):
    base = tmp_path / "bobsl"
    (base / "videos").mkdir(parents=True)
    (base / "subset2episode.json").write_text(json.dumps(SUBSETS))
    for episode in (TRAIN, OTHER, DEV, TEST):
        (base / "videos" / f"{episode}.mp4").touch()
    write(base, AUDIO, TRAIN, "said on the news", "and later")
    write(base, CORRECTED, TRAIN, "said on the news", "and later")
    write(base, BY_HAND, TRAIN, "signed on the news")
    for episode in (OTHER, DEV):
        write(base, CORRECTED, episode, f"of {episode}")
        write(base, AUDIO, episode, f"of {episode}")
    write(base, BY_HAND, TEST, "a <c.yellow>garden</c>\nin spring")
    return base


def read(base, options="", faults=None):
    return read_corpus(f"bobsl:{base}{options}", faults)


def texts(corpus):
    return {name: [row.text for row in rows] for name, rows in corpus.splits.items()}


def test_the_subtitles_that_fit_the_signing_best_become_samples(base):
    corpus = read(base)
    assert corpus.split("train")[0] == Sample(
        f"{TRAIN}_1",
        base / "videos" / f"{TRAIN}.mp4",
        "signed on the news",
        "train",
        "en",
        start_seconds=1.0,
        end_seconds=2.5,
    )
    assert texts(corpus) == {
        "train": ["signed on the news", "of 52"],
        "dev": ["of 53"],
        "test": ["a garden in spring"],
    }


def test_subtitles_that_are_not_aligned_by_hand_are_counted(base):
    assert f"{base}/subtitles/{CORRECTED}: 2 of 4 subtitles are not aligned" in read(base).notes[0]
    assert not any("aligned" in note for note in read(base, f"?subtitles={BY_HAND}").notes)


def test_one_alignment_is_chosen(base):
    by_hand = read(base, f"?subtitles={BY_HAND}")
    assert texts(by_hand) == {"train": ["signed on the news"], "test": ["a garden in spring"]}
    by_audio = read(base, f"?subtitles={AUDIO}")
    assert texts(by_audio)["train"] == ["said on the news", "and later", "of 52"]
    with pytest.raises(InputError) as error:
        read(base, "?subtitles=best")
    assert str(error.value) == (
        f"{base}/subtitles: no folder 'best' (?subtitles=), found {AUDIO}, {CORRECTED}, {BY_HAND}"
    )


def test_folders_of_other_subtitles_are_chosen_by_their_name(base):
    write(base, "aligned_by_sat", TRAIN, "aligned by a model")
    corpus = read(base, "?subtitles=aligned_by_sat")
    assert texts(corpus) == {"train": ["aligned by a model"]}
    assert "1 of 1 subtitles are not aligned to the signing by hand" in corpus.notes[0]


def test_episodes_without_subtitles_are_counted(base):
    faults = Faults()
    corpus = read(base, faults=faults)
    assert faults.count(FaultKind.NOT_HERE) == 1
    assert any(f"no subtitles of {CHALLENGE!r} (challenge)" in note for note in corpus.notes)


def test_videos_that_are_gone(base):
    (base / "videos" / f"{DEV}.mp4").unlink()
    with pytest.raises(InputError, match=rf"{DEV}.vtt, cue 1: no media for '{DEV}_1', expected"):
        read(base)
    assert list(read(base, "?missing=skip").splits) == ["train", "test"]


def test_subtitles_of_an_episode_in_no_subset_are_left_out(base):
    write(base, BY_HAND, "77", "lost")
    assert "77.vtt: '77' is in no subset of subset2episode.json" in "".join(read(base).notes)


@pytest.mark.parametrize("folder", ["metadata", "splits"])
def test_the_list_of_subsets_in_other_folders(base, folder):
    expected = read(base).splits
    (base / folder).mkdir()
    (base / "subset2episode.json").rename(base / folder / "subset2episode.json")
    assert read(base).splits == expected


@pytest.mark.parametrize("level", [".", "..", "subtitles", "videos"])
def test_every_level_of_the_release_is_accepted(base, level):
    assert read((base / level).resolve()).splits == read(base).splits


def test_videos_elsewhere(base, tmp_path):
    (base / "videos").rename(tmp_path / "disk")
    corpus = read(base, f"?media={tmp_path / 'disk'}")
    assert corpus.split("test")[0].media == tmp_path / "disk" / f"{TEST}.mp4"


def test_cues_without_text_or_length_cost_themselves(base):
    path = base / "subtitles" / BY_HAND / f"{TEST}.vtt"
    path.write_text(f"{vtt('spring', '')}\n00:00:09.000 --> 00:00:09.000\nnothing\n")
    corpus = read(base)
    assert [row.id for row in corpus.split("test")] == [f"{TEST}_1"]
    assert any(
        note.startswith("row without a text or a length, left out: 2 (") for note in corpus.notes
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[]", "found no subsets, expected"),
        ('{"train": "a"}', "'train' is no list of names of episodes"),
        ('{"train": ["../a"]}', "'train' is no list of names of episodes"),
        ('{"train": [1]}', "'train' is no list of names of episodes"),
        ('{"": ["1"]}', "found the subset '', expected a name as train"),
        ('{"train": ["1"], "val": ["1"]}', "found the episode '1' in 'train' and 'val', expected"),
        ('{"train": ["1"], "train": ["2"]}', "found the field 'train' twice"),
    ],
)
def test_malformed_subsets_are_one_clear_line(base, content, message):
    (base / "subset2episode.json").write_text(content)
    with pytest.raises(InputError, match=message) as error:
        read(base)
    assert str(error.value).startswith(f"{base}/subset2episode.json: ")


def test_subtitles_or_subsets_that_are_missing(base, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"found no subset2episode.json, expected .*/empty/subset"):
        read(tmp_path / "empty")
    (base / "subtitles").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"found no subtitles, expected .vtt files in manually-al"):
        read(base)


def test_a_wrong_cue_is_told_and_the_others_are_read(base):
    path = base / "subtitles" / BY_HAND / f"{TEST}.vtt"
    path.write_text(path.read_text() + "\n00:00:0x --> 00:00:09.000\nwrong\n")
    with pytest.raises(InputError, match=r"54.vtt, line \d+: times '00:00:0x --> 00:00:09.000'"):
        read(base)
    assert texts(read(base, "?faulty=skip"))["test"] == ["a garden in spring"]
    path.write_bytes(b"\xff\xfe\xfd")
    read(base, faults=(faults := Faults()))
    assert faults.count(FaultKind.NOT_UTF8) == 1
