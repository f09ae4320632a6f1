import errno
import json
import os
from itertools import pairwise
from pathlib import Path

import pytest
from pympi import Elan

from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError

SRT = """1
00:00:01,000 --> 00:00:02,000
Am Morgen
Nebel.

2
00:00:03,000 --> 00:00:04,500
Wind.
"""
VTT = "WEBVTT\n\n00:01.000 --> 00:02.000\nfog in the\nmorning\n"


@pytest.fixture
def write(tmp_path):
    """Gives a function that writes files; a name with a slash at its end is a frame folder."""

    def write_files(files):
        for name, text in files.items():
            path = tmp_path / name
            if name.endswith("/"):
                path.mkdir(parents=True)
                (path / "0001.png").touch()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        return tmp_path

    return write_files


def read(root, options="?language=de", faults=None):
    return read_corpus(f"folder:{root}{options}", faults)


def ids(corpus):
    return {name: [sample.id for sample in samples] for name, samples in corpus.splits.items()}


def count(faults):
    return {kind: faults.count(kind) for kind in faults}


def test_text_file_is_the_sentence_of_its_whole_clip(write):
    root = write(
        {"b.mp4": "", "b.txt": "\ufeff  Am Morgen\r\n Nebel. \n\n", "a/": "", "a.txt": "Wind"}
    )
    assert read(root).split("train") == (
        Sample("a", root / "a", "Wind", "train", "de"),
        Sample("b", root / "b.mp4", "Am Morgen Nebel.", "train", "de"),
    )


def test_each_cue_is_a_sample_with_its_times(write):
    root = write({"talk.mp4": "", "talk.srt": SRT, "walk.mov": "", "walk.vtt": VTT})
    eaf = Elan.Eaf()
    eaf.add_tier("Translation")
    eaf.add_annotation("Translation", 250, 1750, "Regen.")
    eaf.to_file(str(root / "long.eaf"))
    (root / "long.webm").touch()
    assert read(root).split("train") == (
        Sample(
            "long_1",
            root / "long.webm",
            "Regen.",
            "train",
            "de",
            start_seconds=0.25,
            end_seconds=1.75,
        ),
        Sample(
            "talk_1",
            root / "talk.mp4",
            "Am Morgen Nebel.",
            "train",
            "de",
            start_seconds=1.0,
            end_seconds=2.0,
        ),
        Sample(
            "talk_2", root / "talk.mp4", "Wind.", "train", "de", start_seconds=3.0, end_seconds=4.5
        ),
        Sample(
            "walk_1",
            root / "walk.mov",
            "fog in the morning",
            "train",
            "de",
            start_seconds=1.0,
            end_seconds=2.0,
        ),
    )


def test_subfolders_are_the_splits_and_validation_is_dev(write):
    root = write(
        {
            "train/a/": "",
            "train/a.txt": "Wind",
            "validation/b.mp4": "",
            "validation/b.txt": "Eis",
            "unseen/c.mp4": "",
            "unseen/c.srt": SRT,
            "drafts/d.mp4": "",
            "train.txt": "a list of clips",
            "README.txt": "about",
            "train/License.txt": "terms",
        }
    )
    faults = Faults()
    corpus = read(root, faults=faults)
    assert ids(corpus) == {"train": ["a"], "dev": ["b"], "unseen": ["c_1", "c_2"]}
    assert count(faults) == {FaultKind.MEDIA_WITHOUT_ROW: 1, FaultKind.LEFT_OUT: 1}
    (unused,), (left,) = map(faults.examples, faults)
    assert unused.where == str(root / "drafts/d.mp4")
    assert str(left) == (
        f"{root / 'train.txt'}: no clip has this name, and it is in none of the splits train, "
        "unseen, validation"
    )


def test_clips_beside_the_folders_of_splits_are_refused(write):
    root = write({"train/a.mp4": "", "train/a.txt": "Wind", "b.mp4": "", "b.txt": "Eis"})
    with pytest.raises(InputError) as error:
        read(root)
    assert str(error.value) == (
        f"{root / 'b.txt'}: lies with its clip beside the folders of splits (train), expected each "
        "clip in one of them"
    )


def test_split_folder_without_captions_is_an_error(write):
    root = write({"train/a.mp4": "", "train/a.txt": "Wind", "test/b.mp4": ""})
    with pytest.raises(InputError, match=r"test: found no row of the split 'test' to use"):
        read(root)


def test_same_name_in_two_splits(write):
    root = write({f"{split}/a{end}": "x" for split in ("dev", "test") for end in (".mp4", ".txt")})
    with pytest.raises(
        InputError, match=r"test/a.txt, line 1: id 'a' was seen before .dev/a.txt, "
    ):
        read(root)


def test_clips_may_lie_elsewhere_in_the_same_folders_or_in_none(write):
    root = write(
        {
            "texts/train/a.txt": "Wind",
            "texts/test/b.txt": "Eis",
            "clips/train/a.mp4": "",
            "clips/b.mp4": "",
            "clips/c.mp4": "",
        }
    )
    faults = Faults()
    corpus = read(root / "texts", f"?language=de&media={root / 'clips'}", faults)
    assert corpus.split("train")[0].media == root / "clips/train/a.mp4"
    assert corpus.split("test")[0].media == root / "clips/b.mp4"
    assert count(faults) == {FaultKind.MEDIA_WITHOUT_ROW: 1}


def test_language_is_that_of_the_spec_the_names_or_the_generated_corpus(write):
    root = write({"a.mp4": "", "a.txt": "Wind"})
    with pytest.raises(InputError) as error:
        read(root, "")
    assert str(error.value) == (
        f"{root / 'a.txt'}: no language, expected ?language=CODE in the spec, or a name as a.en.txt"
    )
    write({"generated.json": json.dumps({"language": "zh"})})
    assert read(root, "").language == "zh"
    (root / "a.txt").rename(root / "a.nl-BE.txt")
    corpus = read(root, "")
    assert (corpus.language, ids(corpus)) == ("nl", {"train": ["a"]})
    assert corpus.split("train")[0].language == "nl"


def test_one_of_several_languages_is_chosen(write):
    root = write({"a.mp4": "", "a.de.srt": SRT, "b.mp4": "", "b.en.vtt": VTT})
    with pytest.raises(InputError) as error:
        read(root, "")
    assert str(error.value) == (
        f"{root / 'b.en.vtt'}: language 'en' beside 'de', expected a choice: ?language=de or "
        "?language=en in the spec"
    )
    corpus = read(root, "?language=en")
    assert ids(corpus) == {"train": ["b_1"]}
    assert "'en' was chosen, found 'de'" in corpus.notes[0]


def test_two_caption_files_of_one_clip(write):
    root = write({"a.mp4": "", "a.de.srt": SRT, "a.en.vtt": VTT})
    with pytest.raises(InputError) as error:
        read(root, "")
    assert str(error.value) == (
        f"{root / 'a.de.srt'}: found a.en.vtt for the same clip, expected one (?language=CODE "
        "chooses one)"
    )
    assert ids(read(root, "?language=de")) == {"train": ["a_1", "a_2"]}
    assert ids(read(root, "?language=en")) == {"train": ["a_1"]}
    write({"a.en.txt": "fog"})
    with pytest.raises(InputError, match=r"a.en.txt: found a.en.vtt for the same clip"):
        read(root, "?language=en")


def test_caption_that_names_the_language_best_is_taken(write):
    root = write({"a.mp4": "", "a.srt": SRT, "a.en-GB.vtt": VTT})
    assert [len(read(root, f"?language={code}").split("train")) for code in ("en", "de")] == [1, 2]
    write({"a.en.txt": "fog"})
    assert ids(read(root, "?language=en")) == {"train": ["a"]}


def test_clip_whose_name_ends_as_a_language(write):
    root = write({"part.one.mp4": "", "part.one.txt": "Wind"})
    assert ids(read(root)) == {"train": ["part.one"]}


def test_sound_file_is_a_clip_where_there_is_no_video(write):
    root = write({"a.mp4": "", "a.wav": "", "a.txt": "Wind", "b.wav": "", "b.txt": "Eis"})
    assert [sample.media.name for sample in read(root).split("train")] == ["a.mp4", "b.wav"]


def test_two_videos_of_one_name(write):
    root = write({"a.mp4": "", "a.webm": "", "a.txt": "Wind"})
    with pytest.raises(InputError) as error:
        read(root)
    assert str(error.value) == (
        f"{root / 'a.txt'}: found a.mp4 and a.webm in {root}, expected one clip of this name"
    )


def test_captions_without_a_clip(write):
    root = write({"a.mp4": "", "a.txt": "Wind", "b.srt": SRT})
    with pytest.raises(InputError) as error:
        read(root)
    assert str(error.value) == (f"{root / 'b.srt'}: no media for 'b', expected {root / 'b'}.mp4")
    corpus = read(root, "?language=de&missing=skip")
    assert ids(corpus) == {"train": ["a"]}
    assert "left out by the corpus's rules: 1" in corpus.notes[0]


def test_cues_without_text_and_files_without_cues_are_left_out_and_counted(write):
    root = write({"a.mp4": "", "a.srt": SRT.replace("Wind.", " "), "b.mp4": "", "b.vtt": "WEBVTT"})
    faults = Faults()
    assert ids(read(root, faults=faults)) == {"train": ["a_1"]}
    assert [str(fault) for fault in faults.examples(FaultKind.LEFT_OUT)] == [
        f"{root / 'a.srt'}, cue 2: it has no text",
        f"{root / 'b.vtt'}: found no cue",
    ]


def test_all_faults_are_collected_in_one_reading(write):
    root = write(
        {
            "dev/a.mp4": "",
            "dev/a.txt": " ",
            "dev/b.mp4": "",
            "dev/b.srt": SRT.replace("04,500", "02,500"),
            "dev/c.mp4": "",
            "dev/c.srt": SRT.replace("04,500", "04;500"),
            "dev/d.txt": "Eis",
            "dev/e.mp4": "",
            "dev/f.mp4": "",
            "dev/f.vtt": "",
            "dev/unused/": "",
            "dev/.hidden.txt": "",
        }
    )
    (root / "dev/f.vtt").write_bytes(VTT.replace("fog", "\xe4h").encode("latin-1"))
    faults = Faults()
    assert ids(read(root, faults=faults)) == {"dev": ["b_1", "c_1"]}
    assert count(faults) == {
        FaultKind.USELESS_ROW: 2,
        FaultKind.MALFORMED_ROW: 1,
        FaultKind.MISSING_MEDIA: 1,
        FaultKind.NOT_UTF8: 1,
        FaultKind.MEDIA_WITHOUT_ROW: 2,
    }
    (malformed,) = faults.examples(FaultKind.MALFORMED_ROW)
    assert str(malformed) == (
        f"{root / 'dev/c.srt'}, line 7: times '00:00:03,000 --> 00:00:04;500', expected "
        "00:00:01,000 --> 00:00:02,500 (cue 2)"
    )


def test_folder_without_captions_and_a_file(write):
    root = write({"a.mp4": ""})
    with pytest.raises(InputError, match="found no row of the split 'train' to use"):
        read(root)
    with pytest.raises(InputError, match=r"a.mp4: found a file, expected a folder of clips"):
        read(root / "a.mp4")


def test_tier_of_elan_files_is_chosen_in_the_spec(write, tmp_path):
    write({"a.mp4": ""})
    eaf = Elan.Eaf()
    eaf.remove_tier("default")
    for tier, text in (("Deutsch", "Nebel."), ("English", "Fog.")):
        eaf.add_tier(tier)
        eaf.add_annotation(tier, 0, 900, text)
    eaf.to_file(str(tmp_path / "a.eaf"))
    corpus = read_corpus(f"folder:{tmp_path}?language=en&tier=English")
    assert [sample.text for sample in corpus.split("train")] == ["Fog."]


def test_clips_in_folders_of_a_split_are_read_with_the_folder_in_their_ids(write):
    root = write(
        {
            "train/anna/day 1/x.mp4": "",
            "train/anna/day 1/x.txt": "Wind",
            "train/ben/x.mp4": "",
            "train/ben/x.srt": SRT,
            "train/ben/y/": "",
            "train/ben/y.txt": "Eis",
            "train/z.mp4": "",
            "train/z.txt": "Nebel",
            "held out/ben/w.mp4": "",
            "held out/ben/w.txt": "Regen",
        }
    )
    corpus = read(root)
    assert ids(corpus) == {
        "train": ["z", "anna/day 1/x", "ben/x_1", "ben/x_2", "ben/y"],
        "held out": ["ben/w"],
    }
    media = {sample.id: sample.media for sample in corpus.split("train")}
    assert media["anna/day 1/x"] == root / "train/anna/day 1/x.mp4"
    assert media["ben/y"] == root / "train/ben/y"


def test_same_name_in_two_folders_of_splits_is_told_with_the_folder(write):
    names = ("train/anna/a.txt", "dev/anna/a.txt")
    root = write({path: "x" for name in names for path in (name, name.replace("txt", "mp4"))})
    with pytest.raises(InputError, match=r"id 'anna/a' was seen before \(dev/anna/a.txt, line 1\)"):
        read(root)


def test_clips_that_nothing_names_are_reported_however_deep_they_lie(write):
    root = write(
        {
            "train/a.mp4": "",
            "train/a.txt": "Wind",
            "train/anna/b.mp4": "",
            "train/anna/more/c/": "",
            "extra/old/d.wav": "",
        }
    )
    faults = Faults()
    assert ids(read(root, faults=faults)) == {"train": ["a"]}
    assert [fault.where for fault in faults.examples(FaultKind.MEDIA_WITHOUT_ROW)] == [
        str(root / path) for path in ("extra/old/d.wav", "train/anna/b.mp4", "train/anna/more/c")
    ]
    assert len(list(faults)) == 1


def test_picture_beside_clips_makes_no_clip_of_their_folder(write):
    root = write(
        {"train/": "", "train/anna/a.mp4": "", "train/anna/a.txt": "Wind", "train/anna/._1.png": ""}
    )
    (root / "train/anna/cover.jpg").touch()
    assert ids(read(root)) == {"train": ["anna/a"]}


def test_clips_elsewhere_lie_in_the_same_folders_without_the_split_or_in_none(write):
    root = write(
        {
            "texts/train/anna/a.txt": "Wind",
            "texts/train/ben/b.txt": "Eis",
            "texts/test/cem/c.txt": "Nebel",
            "clips/train/anna/a.mp4": "",
            "clips/ben/b/": "",
            "clips/ben/b/notes.txt": "no caption",
            "clips/c.mp4": "",
            "clips/unused/d.mp4": "",
        }
    )
    faults = Faults()
    corpus = read(root / "texts", f"?language=de&media={root / 'clips'}", faults)
    found = [sample.media for samples in corpus.splits.values() for sample in samples]
    clips = root / "clips"
    assert found == [clips / "train/anna/a.mp4", clips / "ben/b", clips / "c.mp4"]
    assert [str(fault) for kind in faults for fault in faults.examples(kind)] == [
        f"{clips / 'unused/d.mp4'}: no row names it"
    ]


def test_link_to_a_folder_above_is_not_followed_and_that_is_told(write):
    root = write({"train/anna/a.mp4": "", "train/anna/a.txt": "Wind"})
    (root / "train/anna/all").symlink_to(root)
    faults = Faults()
    assert ids(read(root, faults=faults)) == {"train": ["anna/a"]}
    assert [str(fault) for kind in faults for fault in faults.examples(kind)] == [
        f"{root / 'train/anna/all'}: it is a link to a folder that it lies in"
    ]


def test_folder_in_a_split_that_cannot_be_listed_is_told(write, monkeypatch):
    root = write({"train/a.mp4": "", "train/a.txt": "Wind", "train/anna/b.mp4": ""})
    listed = os.scandir

    def scandir(path):
        if Path(path) == root / "train/anna":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    told = f"{root / 'train/anna'}: cannot be listed: Permission denied"
    with pytest.raises(InputError) as error:
        read(root)
    assert str(error.value) == told
    faults = Faults()
    assert ids(read(root, faults=faults)) == {"train": ["a"]}
    assert [str(fault) for fault in faults.examples(FaultKind.UNREADABLE_MEDIA)] == [told]


def test_dangling_link_in_the_place_of_a_clip(write):
    root = write({"a.mp4": "", "a.txt": "Wind", "b.txt": "Eis"})
    (root / "b.mp4").symlink_to("gone.mp4")
    with pytest.raises(InputError) as error:
        read(root)
    assert str(error.value) == (
        f"{root / 'b.txt'}: no media for 'b': {root / 'b.mp4'} is a dangling link, expected"
        f" {root / 'b'}.mp4"
    )
    assert ids(read(root, "?language=de&missing=skip")) == {"train": ["a"]}


def test_other_faults_are_found_beside_captions_in_two_languages(write):
    root = write({"a.mp4": "", "a.de.srt": SRT, "b.mp4": "", "b.en.vtt": VTT, "c.txt": "Eis"})
    faults = Faults()
    read(root, "", faults)
    assert count(faults) == {FaultKind.MISSING_MEDIA: 1, FaultKind.MIXED_LANGUAGES: 1}


def test_cue_without_length_costs_itself_and_is_counted(write):
    root = write({"a.mp4": "", "a.srt": SRT.replace("00:00:02,000", "00:00:01,000")})
    corpus = read(root)
    assert ids(corpus) == {"train": ["a_2"]}
    assert corpus.notes == (
        "row without a text or a length, left out: 1"
        f" ({root / 'a.srt'}, cue 1: end 1.0, expected more than the start 1.0 (id 'a_1'))",
    )


def test_captions_of_kinds_that_are_not_read_are_named(write):
    files = {"a.mp4": "", "a.de.ttml": "<tt/>", "b.mp4": "", "b.smi": "", "b.srt": SRT}
    root = write(files)
    faults = Faults()
    assert ids(read(root, faults=faults)) == {"train": ["b_1", "b_2"]}
    (fault,) = faults.examples(FaultKind.UNREAD_CAPTIONS)
    assert str(fault) == (
        f"{root / 'a.de.ttml'}: captions of a kind that is not read, expected .txt, .vtt, .srt,"
        " .eaf, .ass, .ssa, .sbv"
    )
    (root / "b.srt").unlink()
    with pytest.raises(InputError, match=r"found no row .* to use; captions of a"):
        read(root)


def test_captions_of_players_are_read_where_there_are_no_others(write):
    sbv = "0:00:01.000,0:00:02.000\nWind\n"
    root = write({"a.mp4": "", "a.sbv": sbv, "b.mp4": "", "b.sbv": sbv, "b.srt": SRT})
    assert ids(read(root)) == {"train": ["a_1", "b_1", "b_2"]}
    write({"a.ass": "[Events]"})
    with pytest.raises(InputError, match=r"a.ass: found a.sbv for the same clip, expected one"):
        read(root)


def test_captions_that_roll_up_are_told(write):
    lines = ["", "so it begins", "and it goes on", "until it ends", "at last"]
    cues = []
    for number, (before, line) in enumerate(pairwise(lines)):
        cues.append((number * 2, number * 2 + 1.9, f"{before}\n{line}".strip()))
        cues.append((number * 2 + 1.9, number * 2 + 2, line))
    text = "".join(
        f"\n00:0{start:06.3f} --> 00:0{end:06.3f}\n{words}\n" for start, end, words in cues
    )
    root = write({"a.mp4": "", "a.vtt": "WEBVTT\n" + text.replace("00:0", "00:"), "b.mp4": ""})
    write({"b.srt": SRT + "\n3\n00:00:04,500 --> 00:00:05,000\nWind.\n"})
    faults = Faults()
    read(root, faults=faults)
    (fault,) = faults.examples(FaultKind.ODD_CAPTIONS)
    assert str(fault).startswith(f"{root / 'a.vtt'}: 7 of 8 cues repeat words of the one before")
