"""A miniature of the How2Sign layout with its quirks; sentences invented for the tests."""

import json
import shutil

import cv2
import numpy as np
import pytest

from tiny import edit
from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.how2sign import label_path, video_folder
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.media.frames import open_frames

HEADER = (
    "VIDEO_ID\tVIDEO_NAME\tSENTENCE_ID\tSENTENCE_NAME\tSTART_REALIGNED\tEND_REALIGNED\tSENTENCE"
)
QUOTED = '"Slowly," he says, "and never twice'
# By split: video id, signer, number of the sentence, times, sentence.
ROWS = {
    "train": [
        ("--kettleXY1", "5", 0, "0.5", "2.75", "First we warm the tea pot."),
        ("--kettleXY1", "5", 1, "2.75", "4", QUOTED),
        ("-boat_knots", "1", 0, "12.0", "15.5", "Hold the rope, like this."),
    ],
    "val": [("10carpets-z", "8", 2, "1.25", "3.0", "Now roll the carpet up.")],
    "test": [("paperplanes", "10", 0, "0.0", "9999.9", "Fold it in the middle.")],
}


def name_video(row):
    return f"{row[0]}-{row[1]}-rgb_front"


def name_clip(row):
    return f"{row[0]}_{row[2]}-{row[1]}-rgb_front"


def format_labels(rows, header=HEADER):
    lines = [header]
    for row in rows:
        fields = [row[0], name_video(row), f"{row[0]}_{row[2]}", name_clip(row), *row[3:]]
        lines.append("\t".join(fields))
    return "\n".join(lines) + "\n"


def write_labels(path, rows, header=HEADER):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(format_labels(rows, header), encoding="utf-8")


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.fixture
def base(tmp_path):
    """The folders that the release's script makes, with whole videos."""
    base = tmp_path / "How2Sign"
    for split, rows in ROWS.items():
        write_labels(label_path(base, split), rows)
        for row in rows:
            touch(video_folder(base, split) / f"{name_video(row)}.mp4")
    return base


@pytest.fixture
def flat(tmp_path):
    """The same files of sentences in one folder, without any video."""
    base = tmp_path / "flat"
    for split, rows in ROWS.items():
        write_labels(base / f"how2sign_realigned_{split}.csv", rows)
    return base


def write_media(base, folders, name):
    for split, rows in ROWS.items():
        for row in rows:
            touch(base / folders.format(split=split) / f"{name(row)}.mp4")


def read(base):
    return read_corpus(f"how2sign:{base}")


def test_rows_become_samples(base):
    corpus = read(base)
    assert [len(rows) for rows in corpus.splits.values()] == [3, 1, 1]
    sample = corpus.split("train")[2]
    assert sample.id == "-boat_knots_0-1-rgb_front"
    assert (
        sample.media == base / "video_level/train/rgb_front/raw_videos/-boat_knots-1-rgb_front.mp4"
    )
    assert sample.text == "Hold the rope, like this."
    assert (sample.split, sample.language, sample.gloss) == ("train", "en", None)
    assert corpus.notes == ()


def test_file_is_separated_by_tabs_in_spite_of_its_name(base):
    path = label_path(base, "train")
    path.write_text(path.read_text(encoding="utf-8").replace("\t", ","), encoding="utf-8")
    with pytest.raises(InputError, match=r"train.csv, line 1: .* separated by tabs"):
        read(base)


def test_quotes_and_commas_are_plain_text(base):
    assert read(base).split("train")[1].text == QUOTED


def test_ids_that_begin_with_hyphens(base):
    train = read(base).split("train")
    assert [sample.id for sample in train] == [
        "--kettleXY1_0-5-rgb_front",
        "--kettleXY1_1-5-rgb_front",
        "-boat_knots_0-1-rgb_front",
    ]
    assert train[0].media.name == "--kettleXY1-5-rgb_front.mp4"


def test_val_is_dev(base):
    corpus = read(base)
    assert list(corpus.splits) == ["train", "dev", "test"]
    assert [sample.split for sample in corpus.split("dev")] == ["dev"]


def test_signer_is_the_number_after_the_video_id(base):
    corpus = read(base)
    signers = [[sample.signer for sample in rows] for rows in corpus.splits.values()]
    assert signers == [["5", "5", "1"], ["8"], ["10"]]


def test_whole_videos_are_cut_by_the_realigned_times(base):
    times = [(row.start_seconds, row.end_seconds) for row in read(base).split("train")]
    assert times == [(0.5, 2.75), (2.75, 4.0), (12.0, 15.5)]


def test_whole_videos_come_before_the_misaligned_clips(base):
    clips = "sentence_level/{split}/rgb_front/raw_videos"
    write_media(base, clips, name_clip)
    faults = Faults()
    corpus = read_corpus(f"how2sign:{base}", faults)
    assert {sample.media.parent.parent.parent.parent.name for sample in corpus.split("dev")} == {
        "video_level"
    }
    assert list(faults) == []  # nor are the clips called media without a row


def test_misaligned_clips_are_used_where_there_is_nothing_else_and_reported(base):
    shutil.rmtree(base / "video_level/train")
    clips = base / "sentence_level/train/rgb_front/raw_videos"
    for row in ROWS["train"]:
        touch(clips / f"{name_clip(row)}.mp4")
    faults = Faults()
    corpus = read_corpus(f"how2sign:{base}", faults)
    sample = corpus.split("train")[0]
    assert sample.media == clips / "--kettleXY1_0-5-rgb_front.mp4"
    assert (sample.start_seconds, sample.end_seconds) == (None, None)
    assert [faults.count(kind) for kind in faults] == [1]
    assert [str(fault) for fault in faults.examples(FaultKind.MISALIGNED)] == [
        f"{label_path(base, 'train')}: 3 of 3 sentences have only the ready-made clip, expected"
        f" whole videos in {video_folder(base, 'train')}"
    ]
    assert "clips that are known to be misaligned: 1" in read(base).notes[0]


def test_end_past_the_end_of_the_video_is_kept_and_cut_when_read(base):
    sample = read(base).split("test")[0]
    writer = cv2.VideoWriter(str(sample.media), cv2.VideoWriter_fourcc(*"mp4v"), 25.0, (32, 32))
    for _ in range(10):
        writer.write(np.zeros((32, 32, 3), np.uint8))
    writer.release()
    assert sample.end_seconds == 9999.9
    indices = open_frames(sample.media).indices_at(
        start_seconds=sample.start_seconds, end_seconds=sample.end_seconds
    )
    assert indices.tolist() == list(range(10))


@pytest.mark.parametrize("below", [".", "..", "sentence_level", "video_level"])
def test_every_level_of_the_release_is_accepted(base, below):
    assert read((base / below).resolve()).splits == read(base).splits


@pytest.mark.parametrize(
    "folders",
    ["{split}", "{split}_raw_videos/raw_videos", "raw_videos", "videos/{split}", "videos", "."],
)
def test_files_put_together_by_hand(flat, folders):
    write_media(flat, folders, name_video)
    corpus = read(flat)
    name = "10carpets-z-8-rgb_front.mp4"
    assert corpus.split("dev")[0].media == flat / folders.format(split="val") / name
    assert [len(rows) for rows in corpus.splits.values()] == [3, 1, 1]


@pytest.mark.parametrize("folders", ["{split}_rgb_front_clips/raw_videos", "{split}", "videos"])
def test_clips_put_together_by_hand(flat, folders):
    write_media(flat, folders, name_clip)
    clip = "10carpets-z_2-8-rgb_front.mp4"
    assert read(flat).split("dev")[0].media == flat / folders.format(split="val") / clip


def test_file_of_sentences_beside_its_clips(flat):
    write_media(flat, "{split}_rgb_front_clips/raw_videos", name_clip)
    expected = read(flat).splits
    path = flat / "how2sign_realigned_val.csv"
    path.rename(flat / "val_rgb_front_clips" / path.name)
    assert read(flat).splits == expected


@pytest.mark.parametrize("folders", [".", "{split}"])
def test_media_option_says_where_the_videos_lie(flat, tmp_path, folders):
    write_media(tmp_path / "disk", folders, name_video)
    corpus = read_corpus(f"how2sign:{flat}?media={tmp_path / 'disk'}")
    assert corpus.split("dev")[0].media.is_relative_to(tmp_path / "disk")


def test_split_of_its_own_name_is_found(base):
    write_labels(label_path(base, "test_seen"), [("teaspoons_1", "2", 0, "0", "1", "Stir it.")])
    touch(video_folder(base, "test_seen") / "teaspoons_1-2-rgb_front.mp4")
    assert list(read(base).splits) == ["train", "dev", "test", "test_seen"]


def test_sentences_as_first_released_are_read_and_reported(base):
    old = HEADER.replace("_REALIGNED", "")
    realigned = label_path(base, "train")
    first = realigned.parent.parent / "how2sign_train.csv"
    write_labels(first, [(*ROWS["train"][0][:3], "7.0", "8.0", "Warm it.")], old)
    assert read(base).split("train")[0].text == "First we warm the tea pot."
    realigned.unlink()
    corpus = read(base)
    sample = corpus.split("train")[0]
    assert (sample.text, sample.start_seconds, sample.end_seconds) == ("Warm it.", 7.0, 8.0)
    assert "times as first released, expected how2sign_realigned_train.csv" in corpus.notes[0]


def test_generated_corpus_says_its_language_and_the_user_has_the_last_word(base):
    (base.parent / "generated.json").write_text(json.dumps({"language": "de"}))
    assert read(base).language == "de"
    assert read_corpus(f"how2sign:{base.parent}?language=zh").language == "zh"


def test_missing_files_are_one_clear_line(base, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match=r"empty: found no file of sentences, expected how2sign_re"
    ):
        read(tmp_path / "empty")
    video = video_folder(base, "val") / "10carpets-z-8-rgb_front.mp4"
    video.unlink()
    with pytest.raises(InputError) as error:
        read(base)
    assert str(error.value) == (
        f"{label_path(base, 'val')}, line 2: no media for '10carpets-z_2-8-rgb_front', expected"
        f" {video}, or the clip 10carpets-z_2-8-rgb_front.mp4"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\t0.5\t", "\thalf\t", "line 2: START_REALIGNED is 'half', expected seconds"),
        ("\t15.5\t", "\t15,5\t", "line 4: END_REALIGNED is '15,5', expected seconds"),
        ("\t15.5\t", "\t11.5\t", "line 4: end 11.5, expected more than the start 12.0"),
        ("\t0.5\t", "\tnan\t", "line 2: start nan, expected seconds from 0"),
        ("Hold the rope, like this.", " ", "line 4: the field SENTENCE is empty"),
        ("\t2.75\t4\t", "\t2.75\t", "line 3: found 6 fields, expected 7"),
        ("--kettleXY1_1-5", "--kettleXY1_0-5", "line 3: SENTENCE_NAME .* was seen before"),
        ("END_REALIGNED", "END", "line 1: header .* has no END_REALIGNED, expected VIDEO_NAME"),
    ],
)
def test_malformed_file_is_one_clear_line(base, old, new, message):
    path = edit(label_path(base, "train"), old, new)
    with pytest.raises(InputError, match=message) as error:
        read(base)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_all_faults_are_collected_in_one_reading(base):
    edit(label_path(base, "train"), "\t0.5\t", "\thalf\t")
    edit(label_path(base, "train"), "\t15.5\t", "\t11.5\t")
    edit(label_path(base, "test"), "Fold it in the middle.", "")
    (video_folder(base, "val") / "10carpets-z-8-rgb_front.mp4").unlink()
    touch(video_folder(base, "val") / "unknownvide-8-rgb_front.mp4")
    faults = Faults()
    corpus = read_corpus(f"how2sign:{base}", faults)
    assert {kind: faults.count(kind) for kind in faults} == {
        FaultKind.MALFORMED_ROW: 1,
        FaultKind.EMPTY_TEXT: 1,
        FaultKind.EMPTY_SPLIT: 2,
        FaultKind.BAD_TIMES: 1,
        FaultKind.MISSING_MEDIA: 1,
        FaultKind.MEDIA_WITHOUT_ROW: 1,
    }
    assert [sample.text for sample in corpus.split("train")] == [QUOTED]


def test_rows_without_a_video_are_left_out_where_the_user_says_so(base):
    (video_folder(base, "train") / "-boat_knots-1-rgb_front.mp4").unlink()
    corpus = read_corpus(f"how2sign:{base}?missing=skip")
    assert len(corpus.split("train")) == 2
    assert "left out by the corpus's rules: 1" in corpus.notes[0]


def test_dangling_link_is_missing_media(base):
    video = video_folder(base, "train") / "-boat_knots-1-rgb_front.mp4"
    video.unlink()
    video.symlink_to("gone.mp4")
    with pytest.raises(InputError) as error:
        read_corpus(f"how2sign:{base}")
    assert str(error.value).endswith(
        f"no media for '-boat_knots_0-1-rgb_front': {video} is a dangling link, expected {video},"
        " or the clip -boat_knots_0-1-rgb_front.mp4"
    )
    assert len(read_corpus(f"how2sign:{base}?missing=skip").split("train")) == 2
