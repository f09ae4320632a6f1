import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unglossed.errors import InputError
from unglossed.media.frames import group_size, sample_indices

RATES = st.sampled_from([1.0, 0.5, 0.25, 0.125, 1 / 3])


@given(st.integers(0, 500), RATES, st.one_of(st.none(), st.integers(0, 2**32)))
def test_one_frame_of_every_group_in_order(num_frames, rate, seed):
    generator = None if seed is None else np.random.default_rng(seed)
    kept = sample_indices(num_frames, rate, generator)
    size = round(1 / rate)
    assert kept.dtype == np.int64
    assert len(kept) == math.ceil(num_frames / size)
    assert (kept // size == np.arange(len(kept))).all()
    assert ((kept >= 0) & (kept < num_frames)).all()


def test_evaluation_takes_the_first_of_each_group():
    assert sample_indices(10, 0.25).tolist() == [0, 4, 8]


def test_training_reaches_every_frame_evenly():
    generator = np.random.default_rng(0)
    draws = np.concatenate([sample_indices(8, 0.25, generator) for _ in range(4000)])
    shares = np.bincount(draws, minlength=8) / 4000
    assert np.abs(shares - 0.25).max() < 0.03


@pytest.mark.parametrize("rate", [0.0, -0.25, 0.3, 2.0, 0.9])
def test_rate_that_makes_no_groups_is_refused(rate):
    with pytest.raises(InputError, match=f"frame_share: found {rate}, expected one over"):
        group_size(rate)
