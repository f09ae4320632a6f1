"""Signers differ, stay within what can be seen, and come back from the same seed."""

import numpy as np

from unglossed_synth.signer import Colour, draw_signer


def _grey(colour: Colour) -> float:
    return float(np.dot(colour, (0.3, 0.59, 0.11)))


SIGNERS = [draw_signer(np.random.default_rng(seed), f"Signer{seed:02d}") for seed in range(200)]


def test_the_same_seed_gives_the_same_person():
    assert draw_signer(np.random.default_rng(3), "Signer03") == SIGNERS[3]
    assert len(set(SIGNERS)) == len(SIGNERS)


def test_hands_stand_out_from_the_clothes():
    for signer in SIGNERS:
        assert abs(_grey(signer.looks.skin) - _grey(signer.looks.clothes)) > 70


def test_some_signers_are_left_handed_but_few():
    share = np.mean([signer.manner.left_handed for signer in SIGNERS])
    assert 0.03 < share < 0.3


def test_signers_differ_in_everything_that_a_model_must_learn_to_ignore():
    for part in ("body", "looks", "scene", "manner"):
        assert len({getattr(signer, part) for signer in SIGNERS}) == len(SIGNERS)
    assert len({signer.looks.hair_style for signer in SIGNERS}) == 5
