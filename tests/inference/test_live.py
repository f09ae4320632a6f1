"""Live captions: committed text only grows, nothing is said while nothing moves."""

import threading
import time
from collections import defaultdict

import numpy as np
import pytest
import torch

from moving import draw_moving
from tiny import tiny_decoder_only, tiny_model, tiny_processor
from unglossed.config import DecodingSettings
from unglossed.errors import InputError
from unglossed.inference import live as live_module
from unglossed.inference.live import LiveSession, LiveTranslator, LiveUpdate
from unglossed.inference.search import continue_text, text_scores
from unglossed.inference.sentences import SentenceTranslator
from unglossed.inference.translator import SignTranslator

MOVING = [(6.0, 9.0), (11.0, 13.5)]
RATE = 25.0


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return draw_moving(MOVING, 16.0, RATE)


@pytest.fixture(scope="module", params=["encoder-decoder", "decoder-only"])
def sentences(request) -> SentenceTranslator:
    processor = tiny_processor()
    make = tiny_model if request.param == "encoder-decoder" else tiny_decoder_only
    decoding = DecodingSettings(beams=3, max_new_tokens=10)
    return SentenceTranslator(SignTranslator(make(processor, seed=3), processor, decoding))


def run(
    sentences: SentenceTranslator, frames: list[np.ndarray], rate: float = RATE, **settings: float
) -> list[LiveUpdate]:
    live = LiveTranslator(sentences, **{"least_score": -np.inf, **settings})
    updates = [one for n, frame in enumerate(frames) for one in live.push(frame, n / rate)]
    return updates + live.finish()


def test_each_sentence_is_closed_once_where_it_was(sentences, frames) -> None:
    closed = [one for one in run(sentences, frames) if one.closed]

    assert [one.sentence for one in closed] == [1, 2]
    found = [(one.start_seconds, one.end_seconds) for one in closed]
    assert np.abs(np.array(found) - np.array(MOVING)).max() < 0.3
    assert all(one.uncommitted == "" and one.committed for one in closed)


def test_committed_text_is_never_taken_back(sentences, frames) -> None:
    by_sentence: dict[int, list[LiveUpdate]] = defaultdict(list)
    for one in run(sentences, frames, every=0.16):
        by_sentence[one.sentence].append(one)

    for updates in by_sentence.values():
        assert len(updates) > 3
        for earlier, later in zip(updates, updates[1:], strict=False):  # noqa: RUF007
            assert later.committed.startswith(earlier.committed)
        assert any(one.uncommitted for one in updates)


def test_some_words_are_committed_before_the_sentence_ends(sentences, frames) -> None:
    updates = run(sentences, frames, every=0.16)

    assert any(one.committed for one in updates if not one.closed)


def test_nothing_is_said_while_nothing_moves(sentences) -> None:
    assert run(sentences, draw_moving([], 60.0, 12.5), 12.5) == []


def test_nothing_is_said_where_the_model_knows_nothing(sentences, frames) -> None:
    updates = run(sentences, frames, least_score=-1e-6)

    assert all(one.committed == one.uncommitted == "" for one in updates)
    assert all(one.score is None for one in updates)


def test_the_rate_of_the_frames_hardly_matters(sentences) -> None:
    expected = run(sentences, draw_moving(MOVING, 16.0, 12.5), 12.5)
    found = run(sentences, draw_moving(MOVING, 16.0, 50.0), 50.0)

    assert [one.sentence for one in found if one.closed] == [1, 2]
    ends = [[one.end_seconds for one in rows if one.closed] for rows in (found, expected)]
    assert np.abs(np.array(ends[0]) - np.array(ends[1])).max() < 0.2


def test_memory_does_not_grow(sentences, frames) -> None:
    live = LiveTranslator(sentences, every=5.0)
    held = []
    for number in range(3000):  # two minutes of a hand that never rests, then rest
        live.push(frames[160 + number % 40] if number < 1500 else frames[0], number / 12.5)
        held.append(len(live._finder._views))

    assert max(held) <= 12.5 * sentences.longest_seconds + 12.5 * 4 + 2
    assert max(held[-500:]) <= 2


def test_frames_that_are_none_or_out_of_order_are_refused(sentences, frames) -> None:
    live = LiveTranslator(sentences)
    live.push(frames[0], 1.0)
    with pytest.raises(InputError, match=r"seconds: found 1.0 behind 1.0"):
        live.push(frames[0], 1.0)
    with pytest.raises(InputError, match=r"frame: found shape \(64, 64, 4\)"):
        live.push(np.zeros((64, 64, 4), np.uint8), 2.0)
    with pytest.raises(InputError, match=r"frame: expected \(height, width, 3\) uint8"):
        live.push(np.zeros((64, 64, 3)), 2.0)


def test_a_translator_of_clips_is_refused(sentences) -> None:
    with pytest.raises(InputError, match="sentences: found SignTranslator, expected a Sentence"):
        LiveTranslator(sentences.translator)


def test_a_session_keeps_the_newest_frame_and_counts_the_others(sentences, frames) -> None:
    live = LiveTranslator(sentences, least_score=-np.inf)
    seen: list[float] = []
    hold = threading.Event()
    push = live.push

    def slow(frame: np.ndarray, seconds: float) -> list[LiveUpdate]:
        seen.append(seconds)
        hold.wait(timeout=30)
        return push(frame, seconds)

    live.push = slow
    session = LiveSession(live, lambda _: None)
    session.offer(frames[0], 0.0)
    while not seen:
        time.sleep(0.005)
    for number in range(1, 11):
        session.offer(frames[number], number / RATE)
    hold.set()
    session.close()

    assert seen == [0.0, 10 / RATE]
    assert (session.taken, session.dropped) == (2, 9)


def test_a_session_gives_what_the_translator_gives(sentences, frames) -> None:
    updates: list[LiveUpdate] = []
    session = LiveSession(LiveTranslator(sentences, least_score=-np.inf), updates.append)
    for number, frame in enumerate(frames):
        session.offer(frame, number / RATE)
        while session._waiting is not None:
            time.sleep(0.001)
    session.close()

    assert updates == run(sentences, frames)


def test_a_session_closes_while_frames_still_come(sentences, frames) -> None:
    session = LiveSession(LiveTranslator(sentences), lambda _: None)
    going = threading.Event()
    going.set()

    def film() -> None:
        number = 0
        while going.is_set():
            session.offer(frames[number % len(frames)], number / RATE)
            number += 1

    camera = threading.Thread(target=film)
    camera.start()
    time.sleep(0.2)
    closing = threading.Thread(target=session.close)
    closing.start()
    closing.join(timeout=30)
    is_closed = not closing.is_alive()
    going.clear()
    camera.join()

    assert is_closed


def test_a_gap_in_the_frames_ends_a_sentence(sentences, frames) -> None:
    live = LiveTranslator(sentences, least_score=-np.inf)
    updates = []
    for number, frame in enumerate(frames[:190]):  # amid the first sentence
        updates += live.push(frame, number / RATE)
    for number, frame in enumerate(frames):
        updates += live.push(frame, 100 + number / RATE)
    updates += live.finish()

    closed = [one for one in updates if one.closed]
    assert [one.sentence for one in closed] == [1, 2, 3]
    assert closed[0].end_seconds == pytest.approx(7.6, abs=0.2)
    assert closed[1].start_seconds == pytest.approx(106, abs=0.3)


def test_it_goes_on_after_an_end(sentences, frames) -> None:
    live = LiveTranslator(sentences, least_score=-np.inf)
    first = [one for n, frame in enumerate(frames) for one in live.push(frame, n / RATE)]
    first += live.finish()
    second = [one for n, frame in enumerate(frames) for one in live.push(frame, 50 + n / RATE)]
    second += live.finish()

    assert [one.committed for one in first if one.closed] == [
        one.committed for one in second if one.closed
    ]


def test_a_rest_that_scores_too_low_is_not_committed(sentences, frames, monkeypatch) -> None:
    scores = iter([-0.1] * 4 + [-9.0] * 999)
    search = live_module.continue_text
    monkeypatch.setattr(
        live_module, "continue_text", lambda *words: (search(*words)[0], next(scores))
    )
    live = LiveTranslator(sentences, every=0.16)
    updates = [one for n, frame in enumerate(frames[:260]) for one in live.push(frame, n / RATE)]

    shown = [one.committed for one in updates if one.sentence == 1]
    assert shown[-1] == max(shown[:-1], key=len)


def test_noise_of_a_covered_camera_is_no_signing(sentences) -> None:
    rng = np.random.default_rng(0)
    dark = [rng.integers(0, 6, (64, 64, 3), np.uint8) for _ in range(750)]

    assert run(sentences, dark, 12.5) == []


def test_what_goes_wrong_in_a_session_is_told(sentences, frames) -> None:
    errors: list[Exception] = []
    session = LiveSession(LiveTranslator(sentences), lambda _: None, errors.append)
    session.offer(np.zeros((4, 4, 1), np.uint8), 0.0)
    session.close()

    assert [str(error) for error in errors] == [
        "frame: found shape (4, 4, 1), expected (height, width, 3)"
    ]


def test_a_text_is_continued_from_its_beginning(sentences) -> None:
    model = sentences.translator.model
    torch.manual_seed(1)
    features = torch.randn(9, 24)
    for beams in (1, 3):
        settings = DecodingSettings(beams=beams, max_new_tokens=8)
        free, score = continue_text(model, features, [], settings)
        other = [(free[0] + 1) % 20 + 6, *free[1:2]]
        tokens, other_score = continue_text(model, features, free[:2], settings)
        assert tokens[:2] == free[:2]
        if beams == 1:  # with more, those that began otherwise make room for others
            assert (tokens, other_score) == (free, pytest.approx(score))
        tokens, _ = continue_text(model, features, other, settings)
        assert tokens[: len(other)] == other
        mask = torch.ones(1, 9).bool()
        with torch.no_grad():
            again = text_scores(model, features[None], mask, torch.tensor([free]))
        assert again.isfinite().all()


def test_a_choice_among_several_texts_is_for_whole_clips(sentences, frames) -> None:
    found = run(sentences, frames, choice="minimum_risk", beams=3)

    assert found == run(sentences, frames, beams=3)
