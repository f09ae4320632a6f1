"""Joints move as joints do: finite, without jumps, and differently for different signs."""

from dataclasses import fields, replace
from itertools import combinations

import numpy as np
import pytest

from unglossed_synth.grammar import draw_meaning
from unglossed_synth.lexicon import SIGNS
from unglossed_synth.motion import Poses, animate
from unglossed_synth.signer import Signer, draw_signer
from unglossed_synth.signing import SignToken, sign_sentence

SIGNER = draw_signer(np.random.default_rng(1), "Signer01")
SIGNER = replace(SIGNER, manner=replace(SIGNER.manner, left_handed=False))


def move(*tokens: SignToken, signer: Signer = SIGNER, seed: int = 0) -> Poses:
    return animate(tokens, signer, np.random.default_rng(seed))


def token(name: str) -> SignToken:
    return SignToken(name, point=(0.0, 1.0) if name == "POINT" else None)


@pytest.mark.parametrize("name", SIGNS)
def test_every_sign_moves_finite_joints_within_the_picture(name: str):
    poses = move(token(name))
    for field in fields(Poses):
        values = getattr(poses, field.name)
        assert len(values) == len(poses)
        assert np.isfinite(values).all()
    assert np.abs(poses.wrists[..., 0]).max() < 1.7
    assert poses.fingers[..., 1].min() > -1.9


def test_signs_are_told_apart_by_their_joints():
    def course(name: str) -> np.ndarray:
        poses = move(token(name))
        middle = np.linspace(5, len(poses) - 8, 5).astype(int)
        return np.concatenate([poses.fingers[middle].ravel(), poses.wrists[middle].ravel()])

    courses = {name: course(name) for name in SIGNS}
    for one, other in combinations(courses, 2):
        difference = courses[one] - courses[other]
        assert np.sqrt(np.mean(difference**2)) > 0.06, (one, other)


def test_bones_keep_their_lengths():
    poses = move(token("RAIN"), token("NIGHT"), token("POINT"))
    upper = np.linalg.norm(poses.elbows - poses.shoulders, axis=-1)
    lower = np.linalg.norm(poses.wrists - poses.elbows, axis=-1)
    np.testing.assert_allclose(upper, SIGNER.body.upper_arm, rtol=1e-6)
    np.testing.assert_allclose(lower, SIGNER.body.forearm, rtol=1e-6)


def test_nothing_jumps_between_frames():
    for seed in range(12):
        rng = np.random.default_rng(seed)
        signer = draw_signer(rng, "any")
        poses = animate(sign_sentence(draw_meaning(rng, 3), rng), signer, rng)
        assert np.linalg.norm(np.diff(poses.wrists, axis=0), axis=-1).max() < 1.1
        assert np.linalg.norm(np.diff(poses.fingers, axis=0), axis=-1).max() < 1.4
        assert np.abs(np.diff(poses.head, axis=0)).max() < 0.7


def test_neighbours_pull_a_sign_towards_themselves():
    def highest(reach: float, smoothness: float) -> float:
        manner = replace(SIGNER.manner, reach=reach, smoothness=smoothness, tremor=0.0)
        tokens = (token("BETWEEN"), token("CLOUDS"), token("BETWEEN"))
        poses = move(*tokens, signer=replace(SIGNER, manner=manner))
        return float(poses.wrists[..., 1].min())

    assert highest(0.1, 0.3) > highest(0.0, 0.3) + 0.02
    assert highest(0.0, 1.0) > highest(0.0, 0.3) + 0.02


def test_a_negated_sign_shakes_the_head_while_the_hands_sign():
    plain = move(token("RAIN"))
    negated = move(replace(token("RAIN"), negated=True))
    assert np.ptp(negated.head[:, 0]) > 3 * np.ptp(plain.head[:, 0])
    moving = np.linalg.norm(np.diff(negated.wrists[:, 0], axis=0), axis=-1) > 0.02
    turned = np.abs(negated.head[1:, 0]) > 0.2
    assert (moving & turned).sum() >= 4


def test_intensity_changes_the_size_of_the_movement():
    def reach(intensity: str | None) -> float:
        poses = move(replace(token("WIND"), intensity=intensity))
        return float(np.ptp(poses.wrists[8:-8, 0, 0]))

    assert reach("light") < 0.8 * reach(None) < 0.8 * reach("heavy")


def test_certainty_shows_in_the_head():
    plain = move(token("SUN"))
    possible = move(replace(token("SUN"), certainty="possible"))
    likely = move(replace(token("SUN"), certainty="likely"))
    assert possible.head[:, 2].max() > plain.head[:, 2].max() + 0.12
    assert likely.head[:, 1].max() > plain.head[:, 1].max() + 0.2


def test_a_left_handed_signer_mirrors_signs_but_not_the_map():
    left = replace(SIGNER, manner=replace(SIGNER.manner, left_handed=True, sway=0.0))
    right = replace(SIGNER, manner=replace(SIGNER.manner, left_handed=False, sway=0.0))
    mirrored = move(token("SUN"), signer=left).wrists * (-1, 1, 1)
    np.testing.assert_allclose(mirrored, move(token("SUN"), signer=right).wrists, atol=1e-9)
    east = SignToken("POINT", point=(1.0, 0.0))
    for signer in (left, right):
        tips = move(east, signer=signer).fingers[:, 0, 1, -1, 0]
        assert tips.max() > 0.9


def test_the_same_seed_gives_the_same_motion_and_another_a_different_one():
    tokens = (token("TODAY"), token("RAIN"))
    again = move(*tokens)
    for field in fields(Poses):
        np.testing.assert_array_equal(
            getattr(move(*tokens), field.name), getattr(again, field.name)
        )
    assert not np.array_equal(move(*tokens, seed=1).wrists[:20], again.wrists[:20])


def test_sentences_last_as_long_as_real_ones():
    lengths, signs = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        tokens = sign_sentence(draw_meaning(rng, 1), rng)
        lengths.append(len(animate(tokens, draw_signer(rng, "any"), rng)))
        signs.append(len(tokens))
    assert 40 < np.mean(lengths) < 65
    assert 9 < (np.mean(lengths) - 9) / np.mean(signs) < 15


def test_no_signs_give_a_clip_of_rest():
    poses = move()
    assert len(poses) > 4
    assert np.abs(np.diff(poses.wrists, axis=0)).max() < 0.1
