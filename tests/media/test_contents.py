"""Clips with nothing in them to translate, and those that only look like it."""

from pathlib import Path

import av
import numpy as np
import pytest

from unglossed.media.probe import Emptiness, emptiness_of
from unglossed.media.signal import VideoSignal, WholeFile
from unglossed_synth.corpus import write_corpus

SIZE = (96, 80)


def scene(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A picture of coarse coloured patches."""
    patches = np.random.default_rng(seed).integers(30, 220, (6, 5, 3)).astype(np.uint8)
    rows, columns = size[0] // 6, size[1] // 5
    return np.kron(patches, np.ones((rows, columns, 1), np.uint8))


def encoded(path: Path, frames: list[np.ndarray], codec: str, **options: str) -> np.ndarray:
    """Frames as a codec gives them back."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())
    return VideoSignal(0.25).read(WholeFile(path))


def moving_hand(ground: np.ndarray, hand: int, side: int, num_frames: int = 32) -> list[np.ndarray]:
    """A square that goes up and down before a picture."""
    frames = []
    for number in range(num_frames):
        frame = ground.copy()
        top = round(ground.shape[0] * (0.5 + 0.3 * np.sin(number / 3)))
        frame[top : top + side, 20 : 20 + side] = hand
        frames.append(frame)
    return frames


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (np.zeros((*SIZE, 3), np.uint8), Emptiness.BLACK),
        (np.full((*SIZE, 3), 2, np.uint8), Emptiness.BLACK),
        (np.full((*SIZE, 3), (200, 40, 40), np.uint8), Emptiness.BLANK),
        (scene(), Emptiness.STILL),
    ],
)
def test_frames_that_are_alike_are_told(frame: np.ndarray, expected: Emptiness) -> None:
    assert emptiness_of(np.stack([frame] * 12)) is expected


def test_one_frame_is_told_as_one(tmp_path: Path) -> None:
    assert emptiness_of(scene()[None]) is Emptiness.ONE_FRAME


@pytest.mark.parametrize(
    ("codec", "name", "options"),
    [
        ("libx264", "a.mp4", {}),
        ("libx264", "b.mp4", {"g": "12"}),
        ("libvpx-vp9", "c.webm", {}),
    ],
)
@pytest.mark.parametrize("kind", ["black", "blank", "still"])
def test_a_codec_does_not_hide_that_nothing_moves(
    tmp_path: Path, codec: str, name: str, options: dict[str, str], kind: str
) -> None:
    frame = {"black": scene() * 0, "blank": scene() * 0 + np.uint8(90), "still": scene()}[kind]
    assert emptiness_of(encoded(tmp_path / name, [frame] * 75, codec, **options)) == kind


def test_faint_noise_of_a_camera_does_not_hide_black_or_a_still_scene() -> None:
    rng = np.random.default_rng(1)
    for ground, expected in ((scene(size=(240, 320)), "still"), (np.zeros((240, 320, 3)), "black")):
        noisy = ground + rng.normal(0, 2, (12, *ground.shape))
        assert emptiness_of(np.clip(noisy, 0, 255).astype(np.uint8)) == expected


@pytest.mark.parametrize(
    ("ground", "hand", "side"),
    [
        (scene(), 250, 3),  # a hand far away
        (scene() // 20, 14, 10),  # dark pictures in which something moves
        (np.full((*SIZE, 3), 128, np.uint8), 134, 10),  # hardly lighter than the wall
    ],
)
@pytest.mark.parametrize("coded", [False, True])
def test_little_movement_and_dark_pictures_are_content(
    tmp_path: Path, ground: np.ndarray, hand: int, side: int, coded: bool
) -> None:
    frames = moving_hand(ground, hand, side)
    content = encoded(tmp_path / "a.mp4", frames, "libx264") if coded else np.stack(frames)
    assert emptiness_of(content) is None


def test_a_sign_between_two_long_rests_is_content() -> None:
    rest = [scene()] * 100
    assert emptiness_of(np.stack(rest + moving_hand(scene(), 250, 12, 8) + rest)) is None


def test_no_generated_clip_is_taken_for_empty(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", 12, 0, width=72, height=72, level=1, num_workers=1)
    clips = [path.parent for path in (tmp_path / "corpus").rglob("*0001.png")]
    assert len(clips) == 12
    for clip in clips:
        assert emptiness_of(VideoSignal(0.25).read(WholeFile(clip))) is None


@pytest.mark.parametrize(
    ("sound", "expected"),
    [
        (np.zeros(800, np.float32), Emptiness.SILENT),
        (np.full(800, 0.1, np.float32), Emptiness.SILENT),  # an offset alone
        (np.tile([0, 2**-15], 400).astype(np.float32), Emptiness.SILENT),  # the last of 16 bits
        (1e-3 * np.sin(np.arange(800) / 5).astype(np.float32), None),  # quiet, but speech can be
    ],
)
def test_silence_is_told_and_quiet_sound_is_not(
    sound: np.ndarray, expected: Emptiness | None
) -> None:
    assert emptiness_of(sound) is expected
