"""What a model is given of a clip: box, limit, rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unglossed.errors import InputError
from unglossed.media.packed import PackedClip, ShardWriter, index_path
from unglossed.media.signal import (
    AudioSignal,
    VideoSignal,
    WholeFile,
    at_frame_rate,
    cut_box,
    signal_of,
)

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
    signal = VideoSignal(frame_share=0.5)
    whole = WholeFile(folder)
    assert np.array_equal(signal.read(whole), pictures[::2])
    assert np.array_equal(signal.read(whole, limit=3, cut=True), pictures[[0, 2, 4]])
    part = replace(whole, start_seconds=0.08, end_seconds=0.24, box=(0.0, 0.0, 0.5, 1.0))
    assert np.array_equal(signal.read(part), pictures[[2, 4], :, :24])


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (25.0, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (50.0, [0, 2, 4, 6]),
        (5.0, [min(round(place / 5), 8) for place in range(45)]),
        (30.0, [0, 1, 2, 4, 5, 6, 7, 8]),
    ],
)
def test_a_folder_of_another_rate_is_brought_to_25_a_second(
    tmp_path: Path,
    pictures: np.ndarray,
    write_folder: Writer,
    rate: float,
    expected: list[int],
) -> None:
    clip = WholeFile(write_folder(tmp_path / "clip", pictures), frame_rate=rate)
    assert np.array_equal(VideoSignal(frame_share=1.0).read(clip), pictures[expected])


def test_times_within_a_folder_count_by_its_rate(
    tmp_path: Path, pictures: np.ndarray, write_folder: Writer
) -> None:
    folder = write_folder(tmp_path / "clip", pictures)
    clip = WholeFile(folder, start_seconds=0.2, end_seconds=0.6, frame_rate=10.0)
    read = VideoSignal(frame_share=0.5).read(clip)
    assert np.array_equal(read, pictures[[2, 3, 4, 4, 5]])


def test_a_rate_is_for_folders_and_within_bounds(
    tmp_path: Path, pictures: np.ndarray, write_folder: Writer, write_video: Writer
) -> None:
    folder = WholeFile(write_folder(tmp_path / "clip", pictures))
    assert at_frame_rate(folder, 50).frame_rate == 50.0
    for wrong in (0, -25, float("nan"), float("inf"), 1e6, "fast", None, True, [25]):
        with pytest.raises(InputError, match=r"frame_rate: found .*, expected pictures per"):
            at_frame_rate(folder, wrong)  # type: ignore[arg-type]
    video = WholeFile(write_video(tmp_path / "clip.mp4", pictures))
    with pytest.raises(InputError, match=r"clip\.mp4: found a frame rate for it, expected"):
        at_frame_rate(video, 50)


def test_a_clip_beyond_the_limit_is_refused_with_its_length(
    tmp_path: Path, pictures: np.ndarray, write_folder: Writer
) -> None:
    folder = write_folder(tmp_path / "clip", pictures)
    with pytest.raises(InputError, match=r"clip: found 0\.4 seconds of video, .* most 0\.2 for"):
        VideoSignal(frame_share=0.5).read(WholeFile(folder), limit=3)


def test_sound_is_cut_or_refused_at_the_limit(
    tmp_path: Path, write_sound: Callable[[Path], Path]
) -> None:
    clip = WholeFile(write_sound(tmp_path / "a.m4a"))
    signal = AudioSignal(audio_rate=8000)
    sound = signal.read(clip)
    assert len(sound) == pytest.approx(8000, abs=1100)  # the codec pads
    assert len(signal.read(clip, limit=4000, cut=True)) == 4000
    with pytest.raises(InputError, match=r"seconds of audio, expected at most 0\.5"):
        signal.read(clip, limit=4000)


def test_the_processor_decides_what_is_read() -> None:
    speech = signal_of(SimpleNamespace(audio_rate=16000, frame_share=0.25))
    video = signal_of(SimpleNamespace(audio_rate=None, frame_share=0.25, resize=256))
    assert speech == AudioSignal(16000)
    assert speech.units_per_second == 16000
    assert video == VideoSignal(0.25, 256)
    assert video.units_per_second == 6.25


@pytest.fixture
def broad() -> np.ndarray:
    """Smooth pictures with fine noise: (2, 120, 160, 3)."""
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 256, (2, 6, 8, 3), dtype=np.uint8)
    smooth = np.stack([cv2.resize(frame, (160, 120)) for frame in rough])
    return np.clip(smooth + rng.normal(0, 2, smooth.shape), 0, 255).astype(np.uint8)


def write_jpegs(folder: Path, frames: np.ndarray) -> Path:
    folder.mkdir()
    for index, frame in enumerate(frames):
        assert cv2.imwrite(str(folder / f"{index:06d}.jpg"), frame[..., ::-1])
    return folder


def write_packed(folder: Path, frames: np.ndarray) -> Path:
    jpegs = [path.read_bytes() for path in sorted(write_jpegs(folder, frames).iterdir())]
    with ShardWriter(folder / "shard-000000.tar") as writer:
        writer.add(PackedClip("clip", {}, frames.shape[2], frames.shape[1], jpegs))
        index = writer.finish()
    index_path(folder / "shard-000000.tar").write_text(index.to_json())
    return folder / "shard-000000.tar" / "clip"


@pytest.mark.parametrize("write", [write_jpegs, write_packed])
def test_much_larger_jpegs_are_read_at_a_reduced_size(
    tmp_path: Path, broad: np.ndarray, write: Writer
) -> None:
    clip = WholeFile(write(tmp_path / "clip", broad))
    whole = VideoSignal(1.0).read(clip)
    for resize, part in ((61, 1), (60, 2), (31, 2), (30, 4), (3, 8)):
        frames = VideoSignal(1.0, resize).read(clip)
        assert frames.shape == (2, 120 // part, 160 // part, 3)
        size = frames.shape[2], frames.shape[1]
        averaged = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in whole]
        assert np.abs(frames.astype(int) - np.stack(averaged)).mean() < 1
    boxed = VideoSignal(1.0, 30).read(replace(clip, box=(0.0, 0.5, 0.5, 1.0)))
    assert boxed.shape == (2, 30, 40, 3)  # of the half: a quarter would leave 15 rows of the box
    assert VideoSignal(1.0, 30).read(replace(clip, box=(0.5, 0.0, 0.5, 1.0))).shape[2] == 1


def test_pngs_are_never_reduced(tmp_path: Path, broad: np.ndarray, write_folder: Writer) -> None:
    clip = WholeFile(write_folder(tmp_path / "clip", broad))
    assert np.array_equal(VideoSignal(1.0, 10).read(clip), broad)
    jpeg = cv2.imencode(".jpg", broad[0])[1].tobytes()
    (clip.media / "images0009.jpg").write_bytes(jpeg)
    assert VideoSignal(1.0, 10).read(clip).shape == (3, *broad.shape[1:])
