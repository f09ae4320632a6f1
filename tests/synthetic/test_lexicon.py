"""Signs must exist in number, be made of known parts, and differ from each other."""

import dataclasses
from itertools import combinations

import numpy as np
import pytest

from unglossed_synth.handshapes import HANDSHAPES, finger_joints
from unglossed_synth.lexicon import LOCATIONS, SIGNS, Sign
from unglossed_synth.movements import MOVEMENTS, perform
from unglossed_synth.signing import MOUTHS


def test_there_are_at_least_eighty_signs():
    assert len(SIGNS) >= 80


@pytest.mark.parametrize("name", SIGNS)
def test_a_sign_is_made_of_known_parts(name: str):
    sign = SIGNS[name]
    shapes = {sign.handshape, sign.to_handshape or sign.handshape}
    places = {sign.location, sign.to_location or sign.location}
    if sign.base:
        shapes.add(sign.base[0])
        places.add(sign.base[1])
    assert shapes <= set(HANDSHAPES)
    assert places <= set(LOCATIONS)
    assert set(sign.movement.split("+")) <= set(MOVEMENTS)
    assert sign.mouth in MOUTHS
    assert (sign.two_handed == "base") == (sign.base is not None)


def test_no_two_signs_are_the_same_for_the_hands():
    def manual(sign: Sign) -> tuple[object, ...]:
        return dataclasses.astuple(dataclasses.replace(sign, mouth="rest", brows=0.0))

    assert len({manual(sign) for sign in SIGNS.values()}) == len(SIGNS)


def test_signs_that_change_something_have_a_movement_that_gets_there():
    changing = [s for s in SIGNS.values() if s.to_location or s.to_handshape or s.to_orientation]
    assert len(changing) > 20
    for sign in changing:
        assert perform(sign.movement, 9, 1.0, 2.0).blend.max() > 0.9, sign


def test_handshapes_put_the_finger_tips_elsewhere():
    tips = {name: finger_joints(angles)[:, -1] for name, angles in HANDSHAPES.items()}
    for one, other in combinations(tips, 2):
        assert np.linalg.norm(tips[one] - tips[other], axis=-1).max() > 0.05, (one, other)


def test_fingers_keep_their_lengths_whatever_they_do():
    def bones(name: str) -> np.ndarray:
        return np.linalg.norm(np.diff(finger_joints(HANDSHAPES[name]), axis=-2), axis=-1)

    for name in HANDSHAPES:
        np.testing.assert_allclose(bones(name), bones("flat"), atol=1e-12)
