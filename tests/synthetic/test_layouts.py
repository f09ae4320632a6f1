import csv
import json
import re
import wave
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from unglossed.cli import app, tools
from unglossed.corpora.faults import Faults, Severity
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.media.frames import read_frames
from unglossed.media.signal import AudioSignal, VideoSignal
from unglossed_synth.corpus import read_meanings, write_corpus
from unglossed_synth.layouts import LAYOUTS
from unglossed_synth.layouts.csl_daily import split_words
from unglossed_synth.layouts.layout import join_sentences, video_ids
from unglossed_synth.planning import TRAIN_SIGNERS, UNSEEN_SIGNERS, plan_clips
from unglossed_synth.recording import PAUSE_FRAMES, PAUSE_SAMPLES, sign_corpus_clip

SEED, NUM_SENTENCES = 7, 20  # two sentences in each of dev, test and test_seen
SMALL = {"width": 42, "height": 52, "level": 1, "progress": False}
PLAN = plan_clips(NUM_SENTENCES, SEED, SMALL["level"])
SHORT = [name for name in LAYOUTS if name != "broadcast"]  # which has tests of its own
JOINED = ("how2sign", "openasl", "folder", "youtube_sl_25", "bobsl", "wmt_slt", "dgs")
SIGNER_NAMES = {
    "phoenix14t": lambda signer: signer,
    "csl_daily": lambda signer: f"P00{signer[-2:]}",
    "how2sign": lambda signer: str(int(signer[-2:])),
    "openasl": lambda signer: None,
    "folder": lambda signer: None,
    "must_c": lambda signer: f"spk.{int(signer[-2:])}",
    "youtube_sl_25": lambda signer: None,
    "csl_news": lambda signer: None,
    "bobsl": lambda signer: None,
    "wmt_slt": lambda signer: None,
    "dgs": lambda signer: None,
    "hub": lambda signer: signer,
}
NOTES = {
    "youtube_sl_25": ["listed by the release, not in this copy: 2", "left out by the"],
    "bobsl": ["listed by the release, not in this copy: 1"],
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Gives a function that returns the corpus in a layout, written once."""
    folders = {}

    def write(layout):
        if layout not in folders:
            folders[layout] = tmp_path_factory.mktemp("corpora") / layout
            write_corpus(
                folders[layout], NUM_SENTENCES, SEED, layout=layout, num_workers=1, **SMALL
            )
        return folders[layout]

    return write


def split_of(clip, layout):
    """The split in which a clip is read: a hub's folders that begin with test are one."""
    return "test" if layout == "hub" and clip.split == "test_seen" else clip.split


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def rows_of(folder):
    lines = (folder / "generated.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def table_of(path, delimiter):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE))


@pytest.mark.parametrize("layout", SHORT[1:])
def test_same_bytes_whatever_the_number_of_processes(layout, tmp_path, digests):
    """Of a few clips as small as they can be: five of train, so that joined ones are several."""
    sizes = {**SMALL, "width": 16, "height": 16}
    for workers in (1, 2):
        write_corpus(tmp_path / str(workers), 8, SEED, layout=layout, num_workers=workers, **sizes)
    assert digests(tmp_path / "1") == digests(tmp_path / "2")
    media = LAYOUTS[layout].media[0]
    assert sum(name.endswith(media) for name in digests(tmp_path / "1")) >= 5


@pytest.mark.parametrize("layout", SHORT)
def test_reader_gives_back_what_was_planned(layout, written):
    faults = Faults()
    corpus = read_corpus(f"{layout}:{written(layout)}", faults)
    assert (faults.total(Severity.ERROR), faults.total(Severity.WARNING)) == (0, 0)
    notes = [note.partition(" (")[0] for note in corpus.notes]
    assert all(map(str.startswith, notes, NOTES.get(layout, ())))
    assert len(notes) == len(NOTES.get(layout, ()))
    language = LAYOUTS[layout].languages[0]
    assert corpus.language == language
    assert {name: len(samples) for name, samples in corpus.splits.items()} == Counter(
        split_of(clip, layout) for clip in PLAN
    )
    samples = {sample.id: sample for split in corpus.splits for sample in corpus.split(split)}
    rows = rows_of(written(layout))
    assert samples.keys() == {row["id"] for row in rows}
    for clip, row in zip(PLAN, rows, strict=True):
        sample = samples[row["id"]]
        assert (sample.split, sample.text) == (split_of(clip, layout), clip.text[language])
        assert sample.signer == SIGNER_NAMES[layout](row["signer"])
        assert (row["signer"] in UNSEEN_SIGNERS) == (clip.split == "test")
        if layout in ("phoenix14t", "csl_daily"):
            assert (sample.gloss, row["signer"]) == (row["gloss"], clip.signer)
        if layout == "dgs":
            assert sample.gloss == row["gloss"]
    assert read_meanings(written(layout)) == {
        row["id"]: clip.meaning for clip, row in zip(PLAN, rows, strict=True)
    }


@pytest.mark.parametrize("layout", SHORT)
def test_clips_have_the_length_that_is_noted(layout, written):
    corpus = read_corpus(f"{layout}:{written(layout)}")
    signal, unit = VideoSignal(1.0), "num_frames"
    if layout == "must_c":
        signal, unit = AudioSignal(16000), "num_samples"
    lengths = {
        sample.id: len(signal.read(sample))
        for split in corpus.splits
        for sample in corpus.split(split)
    }
    assert lengths == {row["id"]: row[unit] for row in rows_of(written(layout))}
    facts = read_json(written(layout) / "generated.json")
    assert facts[unit] == sum(lengths.values())
    assert (facts["layout"], facts["media"]) == (layout, LAYOUTS[layout].media[0])


@pytest.mark.parametrize("layout", JOINED)
def test_segment_shows_the_sentence_as_if_drawn_alone(layout, written):
    corpus = read_corpus(f"{layout}:{written(layout)}")
    rows = {
        row["id"]: (clip, row) for clip, row in zip(PLAN, rows_of(written(layout)), strict=True)
    }
    samples = [sample for split in ("dev", "test") for sample in corpus.split(split)]
    assert [bool(sample.start_seconds) for sample in samples] == [False, True, False, True]
    for sample in samples:
        clip, row = rows[sample.id]
        shown = VideoSignal(1.0).read(sample).astype(int)
        height, width = shown.shape[1:3]
        take = sign_corpus_clip(replace(clip, signer=row["signer"]), SEED)
        alone = np.stack(list(take.frames(width, height))).astype(int)
        assert len(shown) == len(alone)
        # One frame too early or too late would fit less well.
        distances = {
            shift: np.abs(shown[3:-3] - np.roll(alone, shift, axis=0)[3:-3]).mean()
            for shift in range(-3, 4)
        }
        assert min(distances, key=distances.get) == 0
        assert distances[0] < 6


@pytest.mark.parametrize("layout", [*JOINED, "must_c"])
def test_sentences_of_one_signer_share_a_recording_with_pauses(layout, written):
    corpus = read_corpus(f"{layout}:{written(layout)}")
    groups = {}
    for split in corpus.splits:
        for sample in corpus.split(split):
            groups.setdefault(sample.media, []).append(sample)
    sizes = Counter(len(group) for group in groups.values())
    alone = len(corpus.split("train")) if layout == "folder" else 0
    assert sizes.pop(1, 0) == alone
    assert sizes.keys() <= {2, 3, 4}
    signers = {row["id"]: row["signer"] for row in rows_of(written(layout))}
    pause = PAUSE_SAMPLES / 16000 if layout == "must_c" else PAUSE_FRAMES / 25
    for group in groups.values():
        assert len({signers[sample.id] for sample in group}) == 1
        times = [(sample.start_seconds, sample.end_seconds) for sample in group]
        for (_, end), (start, _) in pairwise(times):
            assert start - end == pytest.approx(pause)
    seen = {signers[sample.id] for sample in corpus.split("train")}
    for split in ("dev", "test_seen"):
        assert {signers[sample.id] for sample in corpus.split(split)} <= seen


@pytest.mark.parametrize("num_sentences", [4, 5, 9, 40])
def test_joining_keeps_every_clip_in_its_place(num_sentences):
    clips = plan_clips(num_sentences, 1, 1)
    groups = join_sentences(clips, 1)
    joined = [clip for group in groups for clip in group]
    assert [replace(clip, signer="") for clip in joined] == [
        replace(clip, signer="") for clip in clips
    ]
    counts = Counter(clip.split for clip in clips)
    for group in groups:
        assert len({(clip.split, clip.signer) for clip in group}) == 1
        assert 2 <= len(group) <= 4 or counts[group[0].split] == 1
        allowed = UNSEEN_SIGNERS if group[0].split == "test" else TRAIN_SIGNERS
        assert group[0].signer in allowed


def test_video_ids_are_those_of_video_platforms():
    ids = video_ids(200, 3)
    assert len(set(ids)) == 200
    assert [name for name in ids if not re.fullmatch(r"[\w-]{11}", name)] == []
    assert ids[0].startswith("--")
    assert re.match(r"-\w", ids[6])
    assert video_ids(5, 3) == ids[:5]
    assert video_ids(5, 4) != ids[:5]


def test_csl_daily_has_labels_and_frames_of_the_release(written):
    base = written("csl_daily")
    header, *lines = (base / "sentence_label/video_map.txt").read_text(encoding="utf-8").split("\n")
    assert header == "index|name|length|gloss|char|word|postag"
    rows = table_of(base / "sentence_label/video_map.txt", "|")
    assert [row["index"] for row in rows] == [str(index) for index in range(NUM_SENTENCES)]
    assert lines.pop() == ""
    sentences = {}
    for row in rows:
        assert re.fullmatch(r"S\d{6}_P00(0[1-9]|1[0-8])_T\d{2}", row["name"])
        text = row["char"].replace(" ", "")
        assert row["char"] == " ".join(text)
        assert row["word"].replace(" ", "") == text
        assert len(row["word"].split()) == len(row["postag"].split()) < len(text)
        assert sentences.setdefault(row["name"][:7], text) == text
        frames = base / "sentence/frames_512x512" / row["name"]
        names = sorted(path.name for path in frames.iterdir())
        assert names == [f"{number:06d}.jpg" for number in range(int(row["length"]))]
    assert len(set(sentences.values())) == len(sentences)
    splits = table_of(base / "sentence_label/split_1.txt", "|")
    assert [row["name"] for row in splits] == [row["name"] for row in rows]
    assert [row["split"] for row in splits] == [clip.split for clip in PLAN]
    clear = next(sign_corpus_clip(PLAN[0], SEED).frames(42, 52)).astype(int)
    assert (
        np.abs(clear - read_frames(base / "sentence/frames_512x512" / rows[0]["name"])[0]).mean()
        < 6
    )


def test_csl_daily_numbers_sentences_signers_and_takes():
    first, second = PLAN[:2]
    clips = [first, second, replace(first, id="again"), replace(first, signer="Signer17")]
    recordings = LAYOUTS["csl_daily"].arrange(clips, SEED, "zh", "mp4")
    assert [recording.path.as_posix() for recording in recordings] == [
        f"sentence-crop/{name}.mp4"
        for name in (
            *("S000000_P0001_T00", "S000001_P0002_T00"),
            *("S000000_P0001_T01", "S000000_P0017_T00"),
        )
    ]
    assert [recording.clips for recording in recordings] == [(clip,) for clip in clips]


def test_chinese_is_parted_into_phrases():
    assert split_words("明天夜间北部大雪，气温零下十二度") == [
        *("明天", "夜间", "北部", "大", "雪"),
        *("，", "气", "温", "零下十二", "度"),
    ]
    assert split_words("") == []


def test_how2sign_has_the_files_and_the_odd_names_of_the_release(written):
    names = []
    for split in ("train", "val", "test", "test_seen"):
        folder = written("how2sign") / "sentence_level" / split / "text/en/raw_text/re_aligned"
        rows = table_of(folder / f"how2sign_realigned_{split}.csv", "\t")
        assert list(rows[0]) == [
            *("VIDEO_ID", "VIDEO_NAME", "SENTENCE_ID", "SENTENCE_NAME"),
            *("START_REALIGNED", "END_REALIGNED", "SENTENCE"),
        ]
        for row in rows:
            video, signer = re.fullmatch(r"(.{11})-(\d+)-rgb_front", row["VIDEO_NAME"]).groups()
            assert video == row["VIDEO_ID"]
            assert row["SENTENCE_ID"].startswith(f"{video}_")
            assert row["SENTENCE_NAME"] == f"{row['SENTENCE_ID']}-{signer}-rgb_front"
        videos = written("how2sign") / "video_level" / split / "rgb_front/raw_videos"
        assert {path.stem for path in videos.iterdir()} == {row["VIDEO_NAME"] for row in rows}
        names += [row["VIDEO_NAME"] for row in rows]
    assert any(name.startswith("--") for name in names)
    assert any(re.match(r"-\w", name) for name in names)


def test_openasl_has_the_columns_of_the_release_and_boxes_that_hold_the_signer(written):
    base = written("openasl")
    rows = table_of(base / "data/openasl-v1.0.tsv", "\t")
    assert list(rows[0]) == [
        *("vid", "yid", "start", "end", "raw-text", "tokenized-text", "gloss", "split")
    ]
    assert {row["split"] for row in rows} == {"train", "valid", "test", "test_seen"}
    clock = r"00:00:\d\d\.\d{3}"
    for row in rows:
        assert row["vid"] == f"{row['yid']}-{row['start']}-{row['end']}"
        assert re.fullmatch(rf".{{11}}-{clock}-{clock}", row["vid"])
    boxes = read_json(base / "data/bbox-v1.0.json")
    assert boxes.keys() == {row["vid"] for row in rows}
    assert len({tuple(box) for box in boxes.values()}) > 3
    sample = read_corpus(f"openasl:{base}").split("test")[0]
    assert sample.box == tuple(boxes[sample.id])
    whole = read_frames(sample.media).astype(int)
    assert whole.shape[1:] == (52, 42, 3)
    left, top, right, bottom = (np.array(sample.box) * (42, 52, 42, 52)).round().astype(int)
    assert (right - left, bottom - top) == (32, 40)
    wall = np.ones((52, 42), bool)
    wall[top:bottom, left:right] = False
    assert np.abs(whole[:, wall] - (104, 112, 128)).mean() < 4
    assert np.abs(whole[:, ~wall] - (104, 112, 128)).mean() > 30


def test_folder_has_another_kind_of_captions_in_each_split(written):
    suffixes = {
        folder.name: {path.suffix for path in folder.iterdir()}
        for folder in written("folder").iterdir()
        if folder.is_dir()
    }
    assert suffixes == {
        "train": {".mp4", ".txt"},
        "dev": {".mp4", ".vtt"},
        "test": {".mp4", ".srt"},
        "test_seen": {".mp4", ".eaf"},
    }


def test_must_c_has_talks_with_silence_between_the_sentences(written):
    data = written("must_c") / "de-en/data"
    assert {path.name for path in data.iterdir()} == {"train", "dev", "tst-COMMON", "test_seen"}
    split = data / "tst-COMMON"
    segments = yaml.safe_load((split / "txt/tst-COMMON.yaml").read_text())
    clips = [clip for clip in PLAN if clip.split == "test"]
    for language in ("de", "en"):
        lines = (split / f"txt/tst-COMMON.{language}").read_text(encoding="utf-8").splitlines()
        assert lines == [clip.text[language] for clip in clips]
    (path,) = (split / "wav").iterdir()
    with wave.open(str(path)) as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, 16000)
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").astype(int)
    is_speech = np.zeros(len(samples), bool)
    for segment in segments:
        assert set(segment) == {"duration", "offset", "speaker_id", "wav"}
        assert (segment["wav"], segment["speaker_id"]) == (path.name, "spk.17")
        begin = round(16000 * segment["offset"])
        is_speech[begin : begin + round(16000 * segment["duration"])] = True
    assert not samples[~is_speech].any()
    assert np.abs(samples[is_speech]).mean() > 500
    assert is_speech.mean() > 0.5


@pytest.mark.parametrize("layout", ["how2sign", "openasl", "folder"])
def test_reader_knows_the_language_of_the_texts(layout, tmp_path):
    sizes = {**SMALL, "width": 16, "height": 16}
    write_corpus(tmp_path, 4, 1, layout=layout, language="zh", num_workers=1, **sizes)
    corpus = read_corpus(f"{layout}:{tmp_path}")
    assert corpus.language == "zh"
    assert {sample.text for split in corpus.splits for sample in corpus.split(split)} == {
        clip.text["zh"] for clip in plan_clips(4, 1, 1)
    }


def test_target_language_of_speech_names_the_pair(tmp_path):
    write_corpus(tmp_path, 4, 1, layout="must_c", language="zh", num_workers=1, **SMALL)
    corpus = read_corpus(f"must_c:{tmp_path}")
    assert corpus.language == "zh"
    (sample,) = corpus.split("dev")
    assert sample.media.parents[3] == tmp_path / "de-zh"
    assert sample.text == plan_clips(4, 1, 1)[1].text["zh"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layout": "csl_daily", "language": "de"}, "--language: found 'de', expected zh for"),
        ({"layout": "csl_daily", "media": "png"}, "--media: found 'png', expected jpg or mp4 for"),
        ({"layout": "phoenix14t", "media": "jpg"}, "--media: found 'jpg', expected png or mp4 for"),
        ({"layout": "how2sign", "media": "png"}, "--media: found 'png', expected mp4 for --layout"),
        ({"layout": "openasl", "height": 53}, "--size: found 42x53, expected even numbers"),
        ({"layout": "folder", "media": "wav"}, "--media: found 'wav', expected mp4 for --layout"),
        ({"layout": "must_c", "language": "de"}, "--language: found 'de', expected en or zh for"),
        ({"layout": "must_c", "media": "mp4"}, "--media: found 'mp4', expected wav for --layout"),
        ({"layout": "broadcast", "media": "jpg"}, "--media: found 'jpg', expected mp4 for --lay"),
        (
            {"layout": "how2sign", "recording_sentences": 9},
            "--recording-sentences: found --layout how2sign, expected broadcast$",
        ),
        (
            {"layout": "broadcast", "recording_sentences": 0},
            "--recording-sentences: found 0, expected 1 or more",
        ),
    ],
)
def test_impossible_combination_is_one_clear_line(tmp_path, arguments, message):
    values = {"num_sentences": 4, "seed": 0, "num_workers": 1, **SMALL, **arguments}
    with pytest.raises(InputError, match=message) as error:
        write_corpus(tmp_path / "out", **values)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_command_offers_every_layout_and_prints_the_spec(tmp_path):
    assert [layout.value for layout in tools.Layout] == list(LAYOUTS)
    kinds = {kind for layout in LAYOUTS.values() for kind in layout.media}
    assert {kind.value for kind in tools.MediaKind} == kinds
    languages = {language for layout in LAYOUTS.values() for language in layout.languages}
    assert {language.value for language in tools.Language} == languages
    out = tmp_path / "out"
    arguments = ["--layout", "csl_daily", "--sentences", "4", "--size", "16x16", "--level", "1"]
    result = CliRunner().invoke(app, ["synth", str(out), *arguments, "--workers", "1"])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"csl_daily:{out}\n"
    facts = read_json(out / "generated.json")
    assert (facts["language"], facts["media"]) == ("zh", "jpg")


def test_command_prints_the_spec_of_the_reader_and_asks_for_long_recordings(tmp_path):
    out = tmp_path / "out"
    arguments = ["--layout", "broadcast", "--sentences", "7", "--size", "16x16", "--level", "1"]
    more = ["--recording-sentences", "3", "--workers", "1"]
    result = CliRunner().invoke(app, ["synth", str(out), *arguments, *more])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"folder:{out}\n"
    found = {
        recording["media"]: recording["num_sentences"]
        for recording in read_json(out / "generated.json")["recordings"]
    }
    assert found == {
        "train/recording0001.mp4": 2,
        "train/recording0002.mp4": 2,
        "dev/recording0003.mp4": 1,
        "test/recording0004.mp4": 1,
        "test_seen/recording0005.mp4": 1,
    }
