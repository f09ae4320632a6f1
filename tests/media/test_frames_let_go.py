"""Frames of a video are let go at once, and no thread is left of them."""

import gc
import os
import signal
from pathlib import Path

import av
import numpy as np
import pytest

from moving import write_moving
from unglossed.media import videofile
from unglossed.media.containers import decode_frames, to_rgb
from unglossed.media.frames import open_frames, read_frames


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return write_moving(tmp_path_factory.mktemp("video") / "clip.mp4", [(0.2, 1.5)], 2.0)


@pytest.fixture
def without_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def num_threads() -> int:
    status = Path("/proc/self/status")
    if not status.is_file():
        pytest.skip("this system does not tell how many threads there are")
    line = next(one for one in status.read_text().splitlines() if one.startswith("Threads:"))
    return int(line.split()[1])


def test_a_frame_is_let_go_without_the_garbage_collector(video, without_collector) -> None:
    held = []
    for frame in decode_frames(video):
        to_rgb(frame)
        held.append(sum(type(one) is av.VideoFrame for one in gc.get_objects()))

    assert len(held) == 50
    assert max(held) <= 3


def test_frames_leave_no_threads(video, without_collector) -> None:
    for frame in decode_frames(video):
        to_rgb(frame)
        break
    before = num_threads()

    for frame in decode_frames(video):
        to_rgb(frame)

    assert num_threads() <= before


def test_a_forked_process_reads_on_and_frees_what_it_got(video) -> None:
    expected = read_frames(video)
    kept = list(decode_frames(video))
    for frame in kept:
        to_rgb(frame)
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        kept.clear()
        gc.collect()
        os._exit(0 if np.array_equal(read_frames(video), expected) else 3)

    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("suffix", [".mp4", ".mpg", ".avi"])
def test_frames_one_by_one_are_those_read_at_once(tmp_path: Path, monkeypatch, suffix: str) -> None:
    path = write_moving(tmp_path / "clip.mp4", [(0.2, 5.5)], 6.0)
    if suffix != ".mp4":
        other = tmp_path / f"clip{suffix}"
        with av.open(str(other), "w") as made:
            stream = made.add_stream("mpeg2video" if suffix == ".mpg" else "mpeg4", rate=25)
            stream.width = stream.height = 64
            stream.pix_fmt = "yuv420p"
            for frame in read_frames(path):
                made.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            made.mux(stream.encode())
        path = other
    monkeypatch.setattr("unglossed.media.videofile._GROUP", 40)
    wanted = [0, 0, 3, 3, 3, 17, 41, 80, 80, 120, 149]

    found = list(open_frames(path).each(wanted, lambda one: one, deinterlace=False))

    assert np.array_equal(np.stack(found), read_frames(path, wanted))


def test_a_file_that_cannot_be_read_from_keyframes_is_decoded_once(
    tmp_path: Path, monkeypatch
) -> None:
    path = write_moving(tmp_path / "clip.mp4", [(0.2, 5.5)], 6.0)
    monkeypatch.setattr("unglossed.media.videofile._GROUP", 10)
    monkeypatch.setattr("unglossed.media.videofile._MOST_A_KEYFRAME", 20)
    opened = []
    real = videofile.decode_frames
    monkeypatch.setattr(videofile, "decode_frames", lambda one: opened.append(one) or real(one))
    videofile.first_size(path)
    opened.clear()

    list(open_frames(path).each(range(0, 150, 4), lambda one: one, deinterlace=False))

    assert len(opened) == 1
