"""Sentences of long videos: found by motion, given, or between pauses; each translated as alone."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from moving import write_moving
from tiny import tiny_model, tiny_processor, tiny_speech_model, write_sound
from unglossed.corpora.sample import Sample
from unglossed.corpora.segments import Segment
from unglossed.errors import InputError
from unglossed.inference.aligning import align_media
from unglossed.inference.pauses import find_pauses
from unglossed.inference.sentences import Sentence, SentenceTranslator
from unglossed.inference.translator import SignTranslator
from unglossed.inference.windows import kept_seconds, read_blocks
from unglossed.media.frames import read_frames
from unglossed.media.signal import WholeFile, kept_indices
from unglossed.models.segmenter import Segmenter, SegmenterConfig

MOVING = [(6.0, 9.0), (11.0, 13.5), (16.0, 20.0)]
STEP = 1 / 12.5  # tiny's kept frames
TOLERANCE = 0.3


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return write_moving(tmp_path_factory.mktemp("moving") / "talk.mp4", MOVING, 24.0)


@pytest.fixture(scope="module")
def translator() -> SignTranslator:
    return SignTranslator(tiny_model(tiny_processor(), seed=3), tiny_processor())


@pytest.fixture(scope="module")
def sentences(translator) -> SentenceTranslator:
    return SentenceTranslator(translator)


def times(rows: list[Sentence]) -> list[tuple[float, float]]:
    return [(row.start_seconds, row.end_seconds) for row in rows]


def test_motion_finds_what_moves(sentences, video) -> None:
    rows = list(sentences.translate(video, beams=1, max_new_tokens=8))

    assert np.abs(np.array(times(rows)) - np.array(MOVING)).max() < TOLERANCE
    assert [row.number for row in rows] == [1, 2, 3]


@pytest.mark.parametrize("rate", [10, 25, 30, 50])
def test_the_frame_rate_does_not_matter(sentences, tmp_path: Path, rate: int) -> None:
    video = write_moving(tmp_path / "talk.mp4", MOVING, 24.0, rate)
    rows = list(sentences.translate(video, beams=1, max_new_tokens=2))

    assert np.abs(np.array(times(rows)) - np.array(MOVING)).max() < TOLERANCE


def test_a_sentence_that_is_found_is_translated_as_the_clip_alone(
    sentences, translator, video
) -> None:
    rows = list(sentences.translate(video, beams=2, max_new_tokens=8))

    for row in rows:
        clip = Sample(
            *("clip", video, "", "", "de", None, None), row.start_seconds, row.end_seconds
        )
        (alone,) = translator.translate(clip, beams=2, max_new_tokens=8)
        assert row.text == alone.text
        assert row.score == pytest.approx(alone.score, abs=1e-4)


def test_times_that_are_given_are_taken(sentences, translator, video) -> None:
    given = [Segment(6.0, 9.0), Segment(11.0, 13.5)]
    rows = list(sentences.translate(video, segments=given, attention=True, max_new_tokens=8))

    assert times(rows) == [(6.0, 9.0), (11.0, 13.5)]
    for row in rows:
        assert row.words is None or all(
            len(word.weights) == len(row.frame_seconds) for word in row.words
        )
        assert row.start_seconds <= row.frame_seconds[0] < row.frame_seconds[-1] < row.end_seconds


def test_a_segment_behind_the_end_is_refused(sentences, video) -> None:
    with pytest.raises(InputError, match=r"segment from 30 to 31 seconds \(number 2\).*24\.00"):
        sentences.translate(video, segments=[Segment(6, 9), Segment(30, 31)])  # before the work


def test_the_whole_is_one_sentence(sentences, tmp_path: Path) -> None:
    video = write_moving(tmp_path / "clip.mp4", [(0.2, 1.8)], 2.0)

    (row,) = sentences.translate(video, cut="whole", max_new_tokens=8)

    assert times([row]) == [(0.0, 2.0)]


def test_blocks_hold_every_kept_frame_once(sentences, translator, video) -> None:
    blocks = list(read_blocks(WholeFile(video), translator.processor))

    seconds = np.concatenate([block.seconds for block in blocks])
    assert np.allclose(np.diff(seconds), STEP)
    assert np.array_equal(seconds, kept_seconds(WholeFile(video), translator.processor))
    views = np.concatenate([block.views for block in blocks])
    kept = read_frames(video, kept_indices(WholeFile(video), translator.processor.frame_share))
    assert np.array_equal(views, translator.processor([kept])["frames"].numpy())


def test_the_size_of_blocks_does_not_matter(sentences, video, monkeypatch) -> None:
    settings = {"beams": 1, "max_new_tokens": 4}
    expected = list(sentences.translate(video, **settings))
    for size in (1, 7, 1000):
        monkeypatch.setattr("unglossed.inference.windows.BLOCK", size)
        found = list(sentences.translate(video, **settings))
        assert [row.text for row in found] == [row.text for row in expected]
        if size < 100:  # what is known of the energies differs a little in other blocks
            assert np.abs(np.array(times(found)) - np.array(times(expected))).max() <= 2 * STEP


def test_progress_comes_to_the_end(sentences, video) -> None:
    told: list[tuple[float, float]] = []
    list(sentences.translate(video, progress=lambda *at: told.append(at), max_new_tokens=2))

    assert told[-1] == (pytest.approx(24.0, abs=2 * STEP), pytest.approx(24.0))
    assert told == sorted(told)


def test_what_scores_too_low_is_left_out(sentences, video) -> None:
    rows = list(sentences.translate(video, max_new_tokens=4))
    least = sorted(row.score for row in rows)[1]

    kept = list(sentences.translate(video, max_new_tokens=4, least_score=least))

    assert [row.number for row in kept] == [1, 2]
    assert all(row.score >= least for row in kept)


def tiny_segmenter(translator: SignTranslator, *, own_encoder: bool = False) -> Segmenter:
    torch.manual_seed(0)
    model = Segmenter(SegmenterConfig(encoder=translator.model.config.encoder, width=16, layers=2))
    if not own_encoder:
        model.encoder.load_state_dict(translator.model.encoder.state_dict())
    return model.eval()


@pytest.mark.parametrize("motion", [False, True])
@pytest.mark.parametrize("own_encoder", [False, True])
def test_a_segmenter_in_blocks_finds_what_it_finds_in_the_whole(
    translator, video, monkeypatch, own_encoder: bool, motion: bool
) -> None:
    if motion:
        model = tiny_model(translator.processor, motion=True)
        translator = SignTranslator(model, translator.processor, translator.decoding)
    segmenter = tiny_segmenter(translator, own_encoder=own_encoder)
    sentences = SentenceTranslator(translator, segmenter)
    found = []
    for size in (10_000, 64, 5):
        monkeypatch.setattr("unglossed.inference.windows.BLOCK", size)
        found.append(list(sentences.translate(video, beams=1, max_new_tokens=4)))

    assert found[0]
    assert times(found[0]) == times(found[1]) == times(found[2])
    assert [row.text for row in found[0]] == [row.text for row in found[2]]


def test_the_encoder_sees_each_frame_once(translator, video, monkeypatch) -> None:
    seen: list[int] = []
    pooled = SignTranslator.vectors_of

    def counting(self: SignTranslator, views: torch.Tensor, before: Any) -> torch.Tensor:
        seen.append(len(views))
        return pooled(self, views, before)

    monkeypatch.setattr(SignTranslator, "vectors_of", counting)
    monkeypatch.setattr(
        SignTranslator, "encode_views", lambda *_: pytest.fail("a clip was encoded again")
    )
    sentences = SentenceTranslator(translator, tiny_segmenter(translator))
    list(sentences.translate(video, beams=1, max_new_tokens=2))

    assert sum(seen) == len(kept_seconds(WholeFile(video), translator.processor))


def test_ways_that_do_not_fit_are_refused(sentences, video) -> None:
    with pytest.raises(InputError, match="media: found list, expected the path of one"):
        sentences.translate([video])
    with pytest.raises(InputError, match="cut: found 'luck', expected one of auto, motion"):
        sentences.translate(video, cut="luck")
    with pytest.raises(InputError, match="cut: found 'segmenter' without a segmenter"):
        sentences.translate(video, cut="segmenter")
    with pytest.raises(InputError, match="cut: found 'pauses' for a model that reads video"):
        sentences.translate(video, cut="pauses")


@pytest.mark.parametrize("window", [60.0, 2.0])
def test_speech_is_cut_at_its_pauses(tmp_path: Path, monkeypatch, window: float) -> None:
    rng = np.random.default_rng(0)
    spoken = [(0.5, 2.5), (3.5, 5.0), (5.1, 6.5)]
    samples = rng.normal(0, 1e-3, 8 * 16000)
    for start, end in spoken:
        samples[round(16000 * start) : round(16000 * end)] += rng.normal(
            0, 0.2, round(16000 * end) - round(16000 * start)
        )
    path = write_sound(tmp_path / "talk.wav", samples)
    monkeypatch.setattr("unglossed.inference.pauses.WINDOW_SECONDS", window)

    found = list(find_pauses(path, 0.0, 8.0))

    # A tenth of a second of silence is no pause; each stretch has a tenth of a second around it.
    assert np.abs(np.array(found) - np.array([(0.4, 2.6), (3.4, 6.6)])).max() < 0.05
    assert all(end - start <= 2 for start, end in find_pauses(path, 0.0, 8.0, longest=2))


def test_a_talk_is_translated_stretch_by_stretch(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, 3 * 16000)
    noise[16000:32000] *= 1e-3
    path = write_sound(tmp_path / "talk.wav", noise)
    processor = tiny_processor()
    processor.audio_rate = 16000
    sentences = SentenceTranslator(SignTranslator(tiny_speech_model(processor), processor))

    rows = list(sentences.translate(path, max_new_tokens=2))

    assert rows
    assert all(row.end_seconds < 1.2 or row.start_seconds > 1.8 for row in rows)
    assert max(row.end_seconds - row.start_seconds for row in rows) <= sentences.longest_seconds


def test_stretches_of_speech_without_a_pause_do_not_overlap(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, 9 * 16000)
    path = write_sound(tmp_path / "talk.wav", noise)

    found = list(find_pauses(path, 0.0, 9.0, longest=2))

    assert len(found) > 3
    assert all(one[1] <= other[0] for one, other in pairwise(found))


def test_hardly_any_sound_has_no_sentence(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "click.wav", np.zeros(100))

    assert list(find_pauses(path, 0.0, 100 / 16000)) == []


def test_drawn_texts_do_not_depend_on_the_batch(sentences, video) -> None:
    settings = {"sample": True, "seed": 3, "max_new_tokens": 6}
    found = [
        [row.text for row in sentences.translate(video, batch_size=size, **settings)]
        for size in (1, 8)
    ]

    assert found[0] == found[1]


def test_silence_has_no_sentence(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "talk.wav", np.zeros(5 * 16000))
    processor = tiny_processor()
    processor.audio_rate = 16000
    sentences = SentenceTranslator(SignTranslator(tiny_speech_model(processor), processor))

    assert list(sentences.translate(path)) == []


@pytest.mark.parametrize("with_model", [False, True])
def test_subtitles_that_come_late_are_moved_to_what_moves(
    sentences, video, with_model: bool
) -> None:
    late = [Segment(start + 1.5, end + 1.5, "morgen regnet es") for start, end in MOVING]

    placed = align_media(video, late, sentences if with_model else None)

    found = [(one.segment.start_seconds, one.segment.end_seconds) for one in placed]
    assert all(one.is_placed for one in placed)
    assert np.abs(np.array(found) - np.array(MOVING)).max() < TOLERANCE
