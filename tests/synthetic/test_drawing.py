"""Pictures: their form, that they repeat, and that what is signed is seen in them."""

from dataclasses import replace

import numpy as np
import pytest

from unglossed_synth.drawing import draw_frames
from unglossed_synth.motion import Poses, animate
from unglossed_synth.signer import Signer, draw_signer
from unglossed_synth.signing import SignToken

SIGNER = draw_signer(np.random.default_rng(4), "Signer04")


def draw(
    token: SignToken, *, signer: Signer = SIGNER, width: int = 105, height: int = 130
) -> np.ndarray:
    poses = animate([token], signer, np.random.default_rng(0))
    return np.stack(list(draw_frames(poses, signer, width, height)))


@pytest.mark.parametrize(("width", "height"), [(210, 260), (112, 140), (64, 64), (320, 240)])
def test_frames_have_the_form_that_was_asked_for(width: int, height: int):
    frames = draw(SignToken("SUN"), width=width, height=height)
    assert frames.shape[1:] == (height, width, 3)
    assert frames.dtype == np.uint8


def test_the_same_poses_give_the_same_bytes():
    assert draw(SignToken("RAIN")).tobytes() == draw(SignToken("RAIN")).tobytes()


def test_frames_do_not_share_memory():
    poses = animate([SignToken("RAIN")], SIGNER, np.random.default_rng(0))
    first, *_, last = draw_frames(poses, SIGNER, 60, 74)
    assert not np.shares_memory(first, last)
    assert np.abs(first.astype(int) - last).max() > 30


def test_pictures_of_another_size_show_the_same():
    small = draw(SignToken("NIGHT"), width=105, height=130)[10].astype(float)
    large = draw(SignToken("NIGHT"), width=210, height=260)[10].astype(float)
    shrunk = large.reshape(130, 2, 105, 2, 3).mean(axis=(1, 3))
    # Edges differ by how they are anti-aliased; nearly all else is the same.
    assert np.abs(small - shrunk).mean() < 4


def test_brows_mouth_and_headshake_are_seen_in_the_face():
    plain = draw(SignToken("ICE"), width=210, height=260)
    for change in ({"brows": 1.0}, {"mouth": "puffed"}, {"certainty": "possible"}):
        changed = draw(SignToken("ICE", **change), width=210, height=260)
        num_frames = min(len(plain), len(changed))
        face = np.s_[8 : num_frames - 8, 20:100, 60:150]
        assert (np.abs(plain[face].astype(int) - changed[face]) > 40).sum() > 100, change


def test_a_handshape_is_seen_even_in_a_small_picture():
    def still(name: str) -> np.ndarray:
        manner = replace(SIGNER.manner, tremor=0.0, sway=0.0)
        signer = replace(SIGNER, manner=manner)
        return draw(SignToken(name), signer=signer, width=64, height=79)[8:14].astype(int)

    assert (np.abs(still("SIX") - still("SEVEN")).max(axis=-1) > 40).sum() > 30


def test_a_hand_in_front_of_the_face_hides_it():
    poses = animate([SignToken("HAIL")], SIGNER, np.random.default_rng(0))
    assert isinstance(poses, Poses)
    frames = list(draw_frames(poses, SIGNER, 210, 260))
    covered = np.abs(frames[0].astype(int) - frames[len(frames) // 3]).max(axis=-1)
    assert (covered[20:110, 60:150] > 40).mean() > 0.1
