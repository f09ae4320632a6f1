"""How several channels of sound become one."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
import pytest

from unglossed.media.audio import Channels, examine_audio, mix, read_audio, read_channels

RATE = 16000


def write_wav(path: Path, channels: np.ndarray) -> Path:
    """Write channels (channels, n) int16."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.ascontiguousarray(channels.T.astype("<i2")).tobytes())
    return path


def names(layout: str) -> tuple[str, ...]:
    return tuple(channel.name for channel in av.AudioLayout(layout).channels)


@pytest.fixture
def speech() -> np.ndarray:
    """Something loud at times: (n,) int16."""
    loudness = np.abs(np.sin(np.arange(2 * RATE) / 3000))
    return (
        8000 * loudness * np.random.default_rng(0).standard_normal(2 * RATE).clip(-3, 3)
    ).astype(np.int16)


@pytest.mark.parametrize("signs", [(1, -1), (-1, 1), (1, -1, 1, -1), (1, -1, 0), (1, 1, -1, -1)])
def test_channels_that_cancel_are_turned_over(
    tmp_path: Path, speech: np.ndarray, signs: tuple[int, ...]
) -> None:
    path = write_wav(tmp_path / "a.wav", np.outer(signs, speech))
    heard = read_audio(path)
    share = np.abs(signs).mean() if len(signs) != 3 else None
    assert np.corrcoef(heard, signs[0] * speech)[0, 1] > 0.999
    if share is not None:
        assert np.abs(heard) == pytest.approx(share * np.abs(speech) / 2**15, abs=1e-6)
    assert examine_audio(path) == (2.0, True)
    part = read_audio(path, RATE, 0.5, 0.75)
    assert np.array_equal(part, heard[RATE // 2 : 3 * RATE // 4])


def test_an_offset_or_noise_does_not_hide_that_channels_cancel(
    tmp_path: Path, speech: np.ndarray
) -> None:
    noise = np.random.default_rng(1).normal(0, 100, (2, len(speech)))
    path = write_wav(tmp_path / "a.wav", np.stack([speech, -speech]) + noise + 3000)
    assert examine_audio(path)[1]
    assert np.corrcoef(read_audio(path), speech)[0, 1] > 0.99


@pytest.mark.parametrize(
    ("left", "right"), [(1.0, 1.0), (1.0, 0.0), (1.0, -0.5), (0.0, 0.0), (1.0, 0.3)]
)
def test_other_channels_are_their_mean_to_the_bit(
    tmp_path: Path, speech: np.ndarray, left: float, right: float
) -> None:
    channels = (np.outer((left, right), speech)).astype(np.int16)
    path = write_wav(tmp_path / "a.wav", channels)
    expected = channels.astype(np.int64).sum(axis=0) / 2**16
    assert np.array_equal(read_audio(path), expected.astype(np.float32))
    assert not examine_audio(path)[1]


def test_a_single_loud_channel_of_many_is_no_sign_of_cancelling(speech: np.ndarray) -> None:
    for count in range(2, 9):
        rows = np.zeros((count, len(speech)), np.int16)
        rows[-1] = speech
        mixed = mix([Channels(rows, tuple(map(str, range(count))))])
        assert mixed == pytest.approx(speech / count / 2**15, abs=1e-7)


@pytest.mark.parametrize("layout", ["5.1", "5.1(side)", "6.1", "3.0", "5.0"])
def test_cinema_sound_is_mixed_as_players_mix_it(layout: str) -> None:
    count = len(names(layout))
    rows = np.random.default_rng(2).uniform(-0.2, 0.2, (count, 4096)).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(rows, "fltp", layout)
    frame.sample_rate = RATE
    resampler = av.AudioResampler("fltp", "mono", RATE)
    (piece,) = resampler.resample(frame)
    players = piece.to_ndarray()[0]
    mixed = mix([Channels(rows, names(layout))])
    ratio = np.sum(mixed * players) / np.sum(players**2)
    assert mixed == pytest.approx(ratio * players, abs=1e-6)
    loudest = mix([Channels(np.ones((count, 9), np.float32), names(layout))])
    assert loudest == pytest.approx(1.0)


def test_the_centre_is_heard_above_the_bass(speech: np.ndarray) -> None:
    rumble = (9000 * np.sin(np.arange(len(speech)) / 60)).astype(np.int16)
    rows = np.zeros((6, len(speech)), np.int16)
    rows[names("5.1").index("FC")], rows[names("5.1").index("LFE")] = speech, rumble
    assert np.corrcoef(mix([Channels(rows, names("5.1"))]), speech)[0, 1] > 0.999


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
def test_channels_in_planes_of_their_own_are_read_by_the_layout(layout: str) -> None:
    frame = av.AudioFrame("fltp", layout, 64)
    rows = np.random.default_rng(0).standard_normal((len(names(layout)), 64)).astype(np.float32)
    for plane, row in zip(frame.planes, rows, strict=True):
        plane.update(row.tobytes())
    read = read_channels(frame)
    assert read.names == names(layout)
    assert read.samples.tobytes() == rows.tobytes()


def test_sound_whose_channels_change_is_mixed_by_parts() -> None:
    pieces = [
        Channels(np.full((1, 3), 0.5, np.float32), ("FC",)),
        Channels(np.full((2, 2), 0.25, np.float32), ("FL", "FR")),
        Channels(np.full((2, 2), 64, np.uint8), ("FL", "FR")),
    ]
    assert mix(pieces).tolist() == [0.5] * 3 + [0.25] * 2 + [-0.5] * 2
    assert (pieces[2].silence(2).samples == 128).all()
    assert len(mix([])) == 0
