"""What a model is given of a clip: box, limit, rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unglossed.errors import InputError
from unglossed.media.clip import AudioSignal, VideoSignal, WholeFile, cut_box, signal_of

Writer = Callable[..., Path]


def test_a_box_is_cut_out_of_every_frame(pictures: np.ndarray) -> None:
    cut = cut_box(pictures, (0.25, 0.5, 0.75, 1.0))
    assert np.array_equal(cut, pictures[:, 16:32, 12:36])
    assert cut_box(pictures, None) is pictures


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_any_box_leaves_a_picture(sides: list[float]) -> None:
    left, right = sorted(sides[:2])
    top, bottom = sorted(sides[2:])
    cut = cut_box(np.zeros((2, 7, 5, 3), np.uint8), (left, top, right, bottom))
    assert min(cut.shape) > 0


def test_a_sample_is_read_thinned_cut_and_boxed(
    tmp_path: Path, pictures: np.ndarray, write_folder: Writer
) -> None:
    folder = write_folder(tmp_path / "clip", pictures)
    signal = VideoSignal(sampling_rate=0.5)
    whole = WholeFile(folder)
    assert np.array_equal(signal.read(whole), pictures[::2])
    assert np.array_equal(signal.read(whole, limit=3, cut=True), pictures[[0, 2, 4]])
    part = replace(whole, start_seconds=0.08, end_seconds=0.24, box=(0.0, 0.0, 0.5, 1.0))
    assert np.array_equal(signal.read(part), pictures[[2, 4], :, :24])


def test_a_clip_beyond_the_limit_is_refused_with_its_length(
    tmp_path: Path, pictures: np.ndarray, write_folder: Writer
) -> None:
    folder = write_folder(tmp_path / "clip", pictures)
    with pytest.raises(InputError, match=r"clip: found 0\.4 seconds of video, .* most 0\.2 for"):
        VideoSignal(sampling_rate=0.5).read(WholeFile(folder), limit=3)


def test_sound_is_cut_or_refused_at_the_limit(
    tmp_path: Path, write_sound: Callable[[Path], Path]
) -> None:
    clip = WholeFile(write_sound(tmp_path / "a.m4a"))
    signal = AudioSignal(sample_rate=8000)
    sound = signal.read(clip)
    assert len(sound) == pytest.approx(8000, abs=1100)  # the codec pads
    assert len(signal.read(clip, limit=4000, cut=True)) == 4000
    with pytest.raises(InputError, match=r"seconds of sound, expected at most 0\.5"):
        signal.read(clip, limit=4000)


def test_the_processor_decides_what_is_read() -> None:
    speech = signal_of(SimpleNamespace(sample_rate=16000, sampling_rate=0.25))
    video = signal_of(SimpleNamespace(sample_rate=None, sampling_rate=0.25))
    assert speech == AudioSignal(16000)
    assert speech.units_per_second == 16000
    assert video == VideoSignal(0.25)
    assert video.units_per_second == 6.25
