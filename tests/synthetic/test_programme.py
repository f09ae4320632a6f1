from dataclasses import fields
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from unglossed_synth.geometry import between
from unglossed_synth.grammar import draw_meaning
from unglossed_synth.hands import PLACE, SHAPE, resting_hand
from unglossed_synth.handshapes import HANDSHAPES
from unglossed_synth.lexicon import SIGNS
from unglossed_synth.motion import Poses
from unglossed_synth.programme import HOLD, SENTENCE, perform
from unglossed_synth.resting import FIDGETS, fidget
from unglossed_synth.signer import draw_signer
from unglossed_synth.signing import sign_sentence

RATES = (Fraction(25), Fraction(30), Fraction(30000, 1001), Fraction(50))


def play(seed, num_sentences=4):
    rng = np.random.default_rng(seed)
    signer = draw_signer(rng, "any")
    sentences = [(sign_sentence(draw_meaning(rng, 2), rng), rng) for _ in range(num_sentences)]
    return perform(sentences, signer, rng)


def speeds(poses):
    """Way of the faster wrist between frames."""
    return np.linalg.norm(np.diff(poses.wrists, axis=0), axis=-1).max(axis=1)


def test_hands_rest_outside_of_what_happens():
    for seed in range(8):
        programme = play(seed)
        home = resting_hand(programme.signer)[PLACE]
        away = np.linalg.norm(programme.motion.hands[..., PLACE] - home, axis=-1).max(axis=1)
        busy = np.zeros(len(away), bool)
        for event in programme.events:
            busy[event.start - 2 : event.end + 2] = True  # motion is smoothed
        assert away[~busy].max() < 0.45
        for event in programme.events:
            if event.kind == SENTENCE:
                assert away[event.start : event.end].max() > 0.8


def test_nothing_jumps_where_parts_meet_at_any_frame_rate():
    for seed in range(4):
        programme = play(seed)
        for rate in RATES:
            poses = programme.poses(rate)
            assert speeds(poses).max() < 1.1
            assert np.linalg.norm(np.diff(poses.fingers, axis=0), axis=-1).max() < 1.4
            assert np.abs(np.diff(poses.head, axis=0)).max() < 0.7
        quiet = speeds(programme.poses(RATES[0]))
        for event in programme.events:
            if event.kind == SENTENCE:
                assert quiet[event.start - 6 : event.start - 2].max() < 0.12
                assert quiet[event.end + 2 : event.end + 6].max() < 0.12


def test_holds_are_pauses_within_a_sentence_with_the_hands_up():
    found = 0
    for seed in range(12):
        programme = play(seed)
        quiet = speeds(programme.poses(RATES[0]))
        home = resting_hand(programme.signer)[PLACE]
        for hold in (event for event in programme.events if event.kind == HOLD):
            found += 1
            around = [
                event
                for event in programme.events
                if event.kind == SENTENCE and event.start < hold.start < hold.end < event.end
            ]
            assert len(around) == 1
            middle = slice(hold.start + 2, hold.end - 2)
            assert np.median(quiet[middle]) < 0.15
            hands = programme.motion.hands[middle, 0, PLACE]
            assert np.linalg.norm(hands - home, axis=-1).min() > 0.15
    assert found > 5


def test_frames_at_other_rates_show_the_same_moments():
    programme = play(1, 2)
    own, double = programme.poses(Fraction(25)), programme.poses(Fraction(50))
    assert len(double) == 2 * len(own) - 1
    for field in fields(Poses):
        if field.name != "lean":
            found, expected = getattr(double, field.name)[::2], getattr(own, field.name)
            shift = 0.02 if field.name in ("shoulders", "elbows", "wrists", "fingers") else 1e-9
            np.testing.assert_allclose(found, expected, atol=shift)
    ntsc = programme.poses(Fraction(30000, 1001))
    seconds = np.arange(len(ntsc)) * 1001 / 30000
    assert seconds[-1] <= (len(own) - 1) / 25 < seconds[-1] + 1001 / 30000
    nearest = np.rint(25 * seconds).astype(int)
    assert np.abs(ntsc.head - own.head[nearest]).mean() < 0.02


def test_bones_keep_their_lengths_between_the_moments():
    programme = play(2, 2)
    body, poses = programme.signer.body, programme.poses(Fraction(50))
    upper = np.linalg.norm(poses.elbows - poses.shoulders, axis=-1)
    lower = np.linalg.norm(poses.wrists - poses.elbows, axis=-1)
    np.testing.assert_allclose(upper, body.upper_arm, rtol=1e-6)
    np.testing.assert_allclose(lower, body.forearm, rtol=1e-6)


def test_a_course_between_its_values():
    steps = np.arange(9.0)
    places = np.array([0.0, 0.25, 3.5, 7.75, 8.0])
    np.testing.assert_array_equal(between(steps**2, steps), steps**2)
    np.testing.assert_allclose(between(3 * steps + 1, places[2:3]), 3 * places[2:3] + 1)
    # A cubic through four points of a parabola is the parabola.
    np.testing.assert_allclose(between(steps**2, places[2:3]), places[2:3] ** 2)
    assert between(np.zeros((9, 2, 3)), places).shape == (5, 2, 3)


@pytest.mark.parametrize("kind", FIDGETS)
def test_fidgets_begin_and_end_at_rest_and_differ(kind):
    lengths = set()
    for seed in range(10):
        rng = np.random.default_rng(seed)
        signer = draw_signer(rng, "any")
        found = fidget(kind, signer, rng)
        lengths.add(len(found))
        home = resting_hand(signer)
        away = np.linalg.norm(found.hands[..., PLACE] - home[PLACE], axis=-1).max(axis=1)
        assert max(away[0], away[-1]) < 0.25
        for way in (found.head, found.lean):
            assert np.abs(way[[0, -1]]).max() < 0.1
        moves = kind not in ("sway", "look_aside")
        assert (away.max() > 0.3) == moves
        if not moves:
            assert max(np.ptp(found.head[:, 0]), np.ptp(found.lean[:, 0])) > 0.1
        assert 20 < len(found) < 130
    assert len(lengths) > 5


def test_no_sign_has_the_handshape_of_rests_and_fidgets():
    used = {shape for sign in SIGNS.values() for shape in (sign.handshape, sign.to_handshape)}
    used |= {sign.base[0] for sign in SIGNS.values() if sign.base}
    assert "relaxed" not in used
    rng = np.random.default_rng(0)
    signer = draw_signer(rng, "any")
    for kind in FIDGETS:
        shapes = fidget(kind, signer, rng).hands[..., SHAPE].reshape(-1, 16)
        for name in used - {None}:
            assert np.abs(shapes - HANDSHAPES[name]).max(axis=1).min() > 0.2, (kind, name)


def test_signers_blink_and_breathe_in_long_rests():
    programme = play(3, 1)
    first = next(event for event in programme.events if event.kind == SENTENCE)
    poses = programme.poses(RATES[0])
    assert np.ptp(poses.lean[: first.start], axis=0).min() > 0.002
    assert (poses.eyes < 0.5).any()
    gaps = np.diff(np.flatnonzero(poses.eyes == 0))
    assert 20 < gaps.mean() < 100


def test_another_generator_gives_other_rests():
    starts = {tuple(event.start for event in play(seed).events) for seed in range(5)}
    assert len(starts) == 5
    again = play(1).events
    assert again == play(1).events
    assert all(one.start <= two.start for one, two in pairwise(again))
