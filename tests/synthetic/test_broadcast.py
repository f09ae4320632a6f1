import json
from collections import Counter
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from unglossed.corpora.faults import Faults, Severity
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.segments import read_segments
from unglossed.media.frames import read_frames
from unglossed_synth.corpus import read_meanings, write_corpus
from unglossed_synth.layouts.broadcast import FRAME_RATES, _as_shown, broadcast
from unglossed_synth.planning import TRAIN_SIGNERS, UNSEEN_SIGNERS, plan_clips
from unglossed_synth.recording import Broadcast, Recording, Segment, draw_corpus_signer

SEED, NUM_SENTENCES = 7, 10
SIZE = {"width": 42, "height": 52, "level": 1, "progress": False, "num_workers": 1}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("corpora") / "broadcast"
    write_corpus(out, NUM_SENTENCES, SEED, layout="broadcast", recording_sentences=2, **SIZE)
    return out


@pytest.fixture(scope="module")
def facts(written):
    return json.loads((written / "generated.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rows(written):
    lines = (written / "generated.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_recordings_take_turns_with_frame_rates_that_the_files_have(written, facts):
    rates = [recording["frame_rate"] for recording in facts["recordings"]]
    assert rates[:4] == [25.0, 30.0, 29.97003, 50.0]
    for recording, rate in zip(facts["recordings"], FRAME_RATES, strict=False):
        with av.open(str(written / recording["media"])) as container:
            stream = container.streams.video[0]
            times = [frame.time for frame in container.decode(stream)]
        assert stream.average_rate == rate
        assert len(times) == recording["num_frames"]
        np.testing.assert_allclose(times, np.arange(len(times)) / float(rate), atol=1e-6)


def test_same_bytes_whatever_the_number_of_processes(tmp_path, digests):
    sizes = {**SIZE, "width": 16, "height": 16}
    for workers in (1, 2):
        out = tmp_path / str(workers)
        write_corpus(out, 4, SEED, layout="broadcast", **{**sizes, "num_workers": workers})
    assert digests(tmp_path / "1") == digests(tmp_path / "2")
    assert len(digests(tmp_path / "1")) == 2 + 3 * 4


def test_signers_do_not_keep_a_frame_rate_of_their_own():
    clips = plan_clips(2000, 1, 1)
    recordings = broadcast(20).arrange(clips, 1, "de", "mp4")
    rates = {}
    for recording in recordings:
        (signer,) = {clip.signer for clip in recording.clips}
        rates.setdefault(signer, set()).add(recording.frame_rate)
        assert len({clip.split for clip in recording.clips}) == 1
        assert 17 <= len(recording.clips) <= 20
        assert (signer in UNSEEN_SIGNERS) == (recording.clips[0].split == "test")
    assert set(rates) == {*TRAIN_SIGNERS, *UNSEEN_SIGNERS}
    assert all(len(found) > 1 for found in rates.values())
    assert [clip.id for one in recordings for clip in one.clips] == [clip.id for clip in clips]


def test_a_split_may_be_one_recording():
    recordings = broadcast(100).arrange(plan_clips(50, 1, 1), 1, "de", "mp4")
    assert [len(recording.clips) for recording in recordings] == [38, 4, 4, 4]


def test_captions_have_the_true_times_and_the_corpus_reader_finds_them(written, rows):
    faults = Faults()
    corpus = read_corpus(f"folder:{written}", faults)
    assert (faults.total(Severity.ERROR), faults.total(Severity.WARNING)) == (0, 0)
    assert corpus.notes == ()
    plan = plan_clips(NUM_SENTENCES, SEED, SIZE["level"])
    assert {name: len(samples) for name, samples in corpus.splits.items()} == Counter(
        clip.split for clip in plan
    )
    assert list(read_meanings(written).values()) == [clip.meaning for clip in plan]
    found = {sample.id: sample for split in corpus.splits for sample in corpus.split(split)}
    assert found.keys() == {row["id"] for row in rows}
    for row in rows:
        sample = found[row["id"]]
        assert sample.media == written / row["media"]
        assert sample.text == row["text"]["de"]
        assert abs(sample.start_seconds - row["start_seconds"]) <= 0.0006
        assert abs(sample.end_seconds - row["end_seconds"]) <= 0.0006


def test_sentences_lie_apart_and_away_from_the_ends(facts, rows):
    for recording in facts["recordings"]:
        own = [row for row in rows if row["media"] == recording["media"]]
        times = [(row["start_seconds"], row["end_seconds"]) for row in own]
        rests = [start - end for (_, end), (start, _) in pairwise(times)]
        assert all(rest > 0.36 for rest in rests)  # a frame of 25 may be cut off
        length = recording["num_frames"] / recording["frame_rate"]
        assert times[0][0] > 1.45
        assert length - times[-1][1] > 1.45
        for happening in recording["happenings"]:
            span = happening["start_seconds"], happening["end_seconds"]
            assert span[0] < span[1] < length
            inside = [start - 0.05 < span[0] and span[1] < end + 0.05 for start, end in times]
            apart = [span[1] < start or end < span[0] for start, end in times]
            assert any(inside) if happening["kind"] == "hold" else all(apart)


def test_what_is_drawn_moves_when_the_times_say_so(written, facts, rows):
    """Within sentences hands move more than in the rests around them, at every frame rate."""
    for recording in facts["recordings"][:4]:
        frames = read_frames(written / recording["media"]).astype(np.int16)
        rate = recording["frame_rate"]
        step = round(rate / 25)
        moved = np.abs(frames[step:] - frames[:-step]).mean(axis=(1, 2, 3))
        seconds = np.arange(len(moved)) / rate
        busy = np.zeros(len(moved), bool)
        for happening in recording["happenings"]:
            span = happening["start_seconds"], happening["end_seconds"]
            busy |= (seconds >= span[0] - 0.1) & (seconds < span[1] + 0.1)
        signing = np.zeros(len(moved), bool)
        for row in rows:
            if row["media"] == recording["media"]:
                span = row["start_seconds"], row["end_seconds"]
                signing |= (seconds >= span[0] - 0.1) & (seconds < span[1] + 0.1)
                assert row["num_frames"] == pytest.approx((span[1] - span[0]) * rate, abs=0.01)
        resting = ~busy & ~signing
        assert moved[signing & ~busy].mean() > 1.8 * moved[resting].mean()
        assert moved[resting].min() > 0  # nor is a rest a frozen picture


def test_subtitles_of_a_broadcaster_come_early_or_late_and_keep_their_order(written, facts, rows):
    shifts = []
    for recording in facts["recordings"]:
        video = written / recording["media"]
        true = read_segments(video.with_suffix(".srt"))
        path = (written / "subtitles" / recording["media"]).with_suffix(".vtt")
        shown = read_segments(path)
        assert [one.text for one in shown] == [one.text for one in true]
        assert all(one.end_seconds <= two.start_seconds for one, two in pairwise(shown))
        length = recording["num_frames"] / recording["frame_rate"]
        assert shown[-1].end_seconds < length + 0.001
        shifts += [
            one.start_seconds - two.start_seconds for one, two in zip(shown, true, strict=True)
        ]
    assert np.median(np.abs(shifts)) > 0.8
    assert min(shifts) < -0.5
    assert max(shifts) > 0.5


def test_subtitles_stay_in_order_within_a_recording_however_they_are_shifted():
    clips = plan_clips(60, 1, 3)[:40]
    recording = Recording(Path("a.mp4"), tuple(clips), frame_rate=Fraction(25))
    for lag in (-30.0, -2.0, 0.0, 2.0, 30.0):
        about = Broadcast(40 * 40, (), (lag,) * 40)
        rows = [
            Segment(clip, recording, index, 40 * index + 10, 25, Fraction(25), broadcast=about)
            for index, clip in enumerate(clips)
        ]
        times = _as_shown(rows, [clip.text["de"] for clip in clips], "de")
        assert times[0][0] >= 0
        assert times[-1][1] <= 64
        assert all(start < end for start, end in times)
        assert all(one[1] <= two[0] for one, two in pairwise(times))


def test_same_signs_as_in_a_clip_alone(written, tmp_path, rows):
    write_corpus(tmp_path / "alone", NUM_SENTENCES, SEED, layout="how2sign", **SIZE)
    lines = (tmp_path / "alone/generated.jsonl").read_text(encoding="utf-8").splitlines()
    alone = [json.loads(line) for line in lines]
    assert [row["gloss"] for row in rows] == [row["gloss"] for row in alone]
    assert [row["meaning"] for row in rows] == [row["meaning"] for row in alone]


def test_signer_of_the_corpus_signs(written, facts):
    for recording in facts["recordings"]:
        scene = draw_corpus_signer(SEED, recording["signer"]).scene
        with av.open(str(written / recording["media"])) as container:
            first = next(container.decode(video=0)).to_ndarray(format="rgb24")
        corner = first[:4, :4].mean(axis=(0, 1))
        expected = np.array(scene.background) * scene.gain * scene.tint
        expected *= 1 - sum(scene.gradient)
        assert np.abs(corner - np.clip(expected, 0, 255)).max() < 25
