import json
import re

import cv2
import numpy as np
import pytest

from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.media.frames import open_frames, read_frames
from unglossed_synth.corpus import (
    read_meanings,
    write_clip,
    write_corpus,
)
from unglossed_synth.meaning import Meaning
from unglossed_synth.planning import SPLITS, plan_clips
from unglossed_synth.recording import draw_corpus_signer

NUM_SENTENCES = 12
SMALL = {"width": 42, "height": 52, "level": 1, "progress": False}


@pytest.fixture(scope="module")
def corpus_folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("corpora") / "generated"
    write_corpus(out, NUM_SENTENCES, 7, num_workers=1, **SMALL)
    return out


def rows_of(folder):
    lines = (folder / "generated.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_same_bytes_from_the_same_seed_whatever_the_number_of_processes(
    corpus_folder, tmp_path, digests
):
    write_corpus(tmp_path / "again", NUM_SENTENCES, 7, num_workers=2, **SMALL)
    assert digests(tmp_path / "again") == digests(corpus_folder)


def test_other_seed_draws_other_clips(corpus_folder, tmp_path, digests):
    write_corpus(tmp_path / "other", 4, 8, num_workers=1, **SMALL)
    pictures = {
        digest for name, digest in digests(tmp_path / "other").items() if name.endswith("png")
    }
    assert pictures
    assert not pictures & set(digests(corpus_folder).values())


def test_reader_finds_every_clip(corpus_folder):
    corpus = read_corpus(f"phoenix14t:{corpus_folder}")
    assert {name: len(rows) for name, rows in corpus.splits.items()} == {
        "train": 9,
        "dev": 1,
        "test": 1,
        "test_seen": 1,
    }
    rows = {row["id"]: row for row in rows_of(corpus_folder)}
    for split in SPLITS:
        for sample in corpus.split(split):
            row = rows[sample.id]
            assert (row["split"], row["signer"], row["gloss"]) == (
                split,
                sample.signer,
                sample.gloss,
            )
            assert row["text"]["de"] == sample.text
            assert open_frames(sample.media).num_frames == row["num_frames"]
            assert Meaning.from_dict(row["meaning"]).to_dict() == row["meaning"]
    frames = read_frames(corpus.split("test")[0].media)
    assert frames.shape[1:] == (52, 42, 3)
    assert np.abs(np.diff(frames.astype(int), axis=0)).max() > 40


def test_layout_has_the_quirks_of_the_release(corpus_folder):
    base = corpus_folder / "PHOENIX-2014-T"
    text = (base / "annotations/manual/PHOENIX-2014-T.train.corpus.csv").read_text(encoding="utf-8")
    header, *rows = text.splitlines()
    assert header == "name|video|start|end|speaker|orth|translation"
    row = re.compile(
        r"([^|]+)\|\1/1/\*\.png\|-1\|-1\|Signer(?:0[1-9]|1[0-6])\|[A-Z0-9 neg+-]+\|[^|A-Z0-9.]+"
    )
    assert [line for line in rows if not row.fullmatch(line)] == []
    train = base / "features/fullFrame-210x260px/train"
    assert len(list(train.rglob("*.lprof"))) == 1
    names = sorted(path.name for path in next(train.iterdir()).glob("*.png"))
    assert names[0] == "images0001.png"
    assert names[-1] == f"images{len(names):04d}.png"


def test_generated_json_says_how_the_corpus_was_made(corpus_folder):
    facts = json.loads((corpus_folder / "generated.json").read_text())
    assert (facts["seed"], facts["level"], facts["language"]) == (7, 1, "de")
    assert (facts["width"], facts["height"], facts["frame_rate"]) == (42, 52, 25)
    assert facts["num_frames"] == sum(row["num_frames"] for row in rows_of(corpus_folder))


def test_videos_in_another_language_show_the_same_signing(corpus_folder, tmp_path, digests):
    for name in ("a", "b"):
        write_corpus(
            tmp_path / name, NUM_SENTENCES, 7, num_workers=1, media="mp4", language="zh", **SMALL
        )
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    videos = read_corpus(f"phoenix14t:{tmp_path / 'a'}")
    pictures = read_corpus(f"phoenix14t:{corpus_folder}")
    assert videos.language == "zh"
    sample = videos.split("test")[0]
    assert sample.media.suffix == ".mp4"
    assert re.fullmatch(r"[一-鿿，]+", sample.text)
    clear, packed = read_frames(pictures.split("test")[0].media), read_frames(sample.media)
    assert clear.shape == packed.shape
    assert np.abs(clear.astype(int) - packed).mean() < 8


def test_clip_of_no_corpus_is_signed_by_somebody_of_the_corpus(tmp_path):
    meaning = Meaning(day="tomorrow", place="north", phenomenon="rain")
    write_clip(tmp_path / "a.mp4", meaning, 7, 1, 42, 52, signer="Signer02")
    write_clip(tmp_path / "b.mp4", meaning, 7, 1, 42, 52, signer="Signer02")
    write_clip(tmp_path / "c.mp4", meaning, 7, 2, 42, 52, signer="Signer02")
    first, second, third = (tmp_path / f"{name}.mp4" for name in "abc")
    assert first.read_bytes() == second.read_bytes() != third.read_bytes()
    assert open_frames(first).num_frames > 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4", "c.mp4"]


def test_clip_of_an_odd_size_gets_one_more_pixel(tmp_path):
    meaning = Meaning(day="today", place="west", phenomenon="sun")
    write_clip(tmp_path / "a.mp4", meaning, 7, 1, 41, 53)
    assert read_frames(tmp_path / "a.mp4", [0]).shape == (1, 54, 42, 3)


def test_meanings_are_read_back(corpus_folder):
    clips = plan_clips(NUM_SENTENCES, 7, 1)
    assert read_meanings(corpus_folder) == {clip.id: clip.meaning for clip in clips}


@pytest.mark.parametrize("line", ['{"id": "a"}', "[]", "{", '{"id": "a", "meaning": {"x": 1}}'])
def test_foreign_rows_are_one_clear_line(tmp_path, line):
    with pytest.raises(InputError, match=r"generated\.jsonl: not found"):
        read_meanings(tmp_path)
    (tmp_path / "generated.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=r"generated\.jsonl, line 1: not a row of a generated"):
        read_meanings(tmp_path)


def test_signers_follow_from_seed_and_name():
    assert draw_corpus_signer(1, "Signer01") == draw_corpus_signer(1, "Signer01")
    assert draw_corpus_signer(1, "Signer01") != draw_corpus_signer(2, "Signer01")
    assert draw_corpus_signer(1, "Signer01").looks != draw_corpus_signer(1, "Signer02").looks


def test_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(InputError, match="exists already, expected a new or an empty folder"):
        write_corpus(tmp_path, 4, 0, num_workers=1, **SMALL)
    with pytest.raises(InputError, match="mine: exists already"):
        write_corpus(tmp_path / "mine", 4, 0, num_workers=1, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_failure_half_way_leaves_nothing(tmp_path, monkeypatch):
    write, written = cv2.imwrite, []

    def write_until_the_disk_is_full(path, *arguments):
        written.append(path)
        return len(written) < 20 and write(path, *arguments)

    monkeypatch.setattr(cv2, "imwrite", write_until_the_disk_is_full)
    with pytest.raises(OSError, match=r"images\d{4}\.png: the picture could not be written"):
        write_corpus(tmp_path / "out", 4, 0, num_workers=1, **SMALL)
    assert len(written) == 20
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_sentences": 3}, "--sentences: found 3, expected 4 or more"),
        ({"level": 4}, "--level: found 4, expected 1, 2 or 3"),
        ({"language": "fr"}, "--language: found 'fr', expected de, en or zh for --layout phoenix"),
        (
            {"layout": "zip"},
            "--layout: found 'zip', expected phoenix14t, csl_daily, .* or hub",
        ),
        ({"media": "gif"}, "--media: found 'gif', expected png or mp4 for --layout phoenix14t"),
        ({"width": 8}, "--size: found 8x52, expected at least 16x16 pixels"),
        ({"media": "mp4", "height": 53}, "--size: found 42x53, expected even numbers"),
    ],
)
def test_wrong_argument_is_one_clear_line(tmp_path, arguments, message):
    values = {"num_sentences": 4, "seed": 0, "num_workers": 1, **SMALL, **arguments}
    with pytest.raises(InputError, match=message):
        write_corpus(tmp_path / "out", **values)
    assert list(tmp_path.iterdir()) == []
