"""Segments of a video: the frames read are the frames asked for, and no others are decoded."""

import av
import numpy as np
import pytest

from unglossed.errors import InputError
from unglossed.media.video import frame_indices_at, frame_times, num_frames, read_frames

BLOCK = 16
COLUMNS, ROWS = 4, 3
NUM_FRAMES = 300


def draw_number(number):
    """A picture of the number's bits, black and white: (48, 64, 3)."""
    bits = number >> np.arange(COLUMNS * ROWS) & 1
    grey = np.kron(bits.reshape(ROWS, COLUMNS) * 255, np.ones((BLOCK, BLOCK)))
    return np.repeat(grey[..., None], 3, axis=-1).astype(np.uint8)


def read_numbers(frames):
    middle = frames[:, BLOCK // 2 :: BLOCK, BLOCK // 2 :: BLOCK, 0] > 127
    return (middle.reshape(len(frames), -1) << np.arange(COLUMNS * ROWS)).sum(axis=1)


@pytest.fixture(scope="module")
def numbers():
    return np.stack([draw_number(number) for number in range(NUM_FRAMES)])


def even(step=40, start=0):
    return [start + step * number for number in range(NUM_FRAMES)]


def uneven():
    steps = np.random.default_rng(1).choice([10, 20, 33, 40, 80, 300], NUM_FRAMES - 1)
    return [0, *np.cumsum(steps).tolist()]


B_FRAMES = {"g": "250", "bf": "3", "b_strategy": "0", "sc_threshold": "0"}
OPEN_GOP = {"x264-params": "open-gop=1:keyint=24:bframes=3:b-adapt=0"}
VP = {"g": "60", "threads": "1"}
VIDEOS = {
    "H.264 with long groups": ("v.mp4", "libx264", None, B_FRAMES),
    "H.264 with open groups": ("v.mp4", "libx264", None, OPEN_GOP),
    "H.264 with short groups": ("v.mov", "libx264", None, {"g": "12", "bf": "2"}),
    "H.264 without B-frames": ("v.mp4", "libx264", None, {"g": "50", "bf": "0"}),
    "H.264 that is never renewed at once": ("v.mkv", "libx264", None, {"intra-refresh": "1"}),
    "H.264 in Matroska": ("v.mkv", "libx264", None, B_FRAMES),
    "H.264 in AVI, falsely stamped": ("v.avi", "libx264", None, B_FRAMES),
    "H.264 in FLV": ("v.flv", "libx264", None, B_FRAMES),
    "H.264 without a container": ("v.h264", "libx264", None, B_FRAMES),
    "H.264 in a broadcast": ("v.ts", "libx264", None, {"g": "50", "bf": "3"}),
    "HEVC": ("v.mp4", "libx265", None, {"g": "50", "x265-params": "log-level=none"}),
    "AV1": ("v.mkv", "libsvtav1", None, {"g": "60", "preset": "8", "crf": "10"}),
    "VP9": ("v.webm", "libvpx-vp9", None, VP),
    "VP8": ("v.webm", "libvpx", None, VP),
    "MPEG-4": ("v.mp4", "mpeg4", None, {"g": "30", "bf": "2"}),
    "MPEG-4 in AVI": ("v.avi", "mpeg4", None, {"g": "30"}),
    "MPEG-2": ("v.mpg", "mpeg2video", None, {"g": "12", "bf": "2"}),
    "variable rate": ("v.mp4", "libx264", uneven(), B_FRAMES),
    "variable rate in WebM": ("v.webm", "libvpx-vp9", uneven(), VP),
    "100 a second": ("v.mp4", "libx264", even(10), B_FRAMES),
    "10 a second": ("v.mkv", "libx264", even(100), B_FRAMES),
    "first stamp not 0": ("v.mkv", "libx264", even(start=7000), B_FRAMES),
    "first stamp not 0 in MP4": ("v.mp4", "libx264", even(start=7000), B_FRAMES),
}


@pytest.fixture(scope="module", params=VIDEOS.values(), ids=VIDEOS)
def video(request, tmp_path_factory, numbers, write_video):
    """A video of numbered frames, and when each is shown, in seconds from the first."""
    name, codec, times_ms, options = request.param
    path = write_video(
        tmp_path_factory.mktemp("video") / name, numbers, codec, times_ms=times_ms, options=options
    )
    times = np.array(times_ms or even()) / 1000
    return path, times - times[0]


def numbers_at(times, start, end):
    """Frames nearest to the 25 fps grid, one by one: an independent count."""
    length = times[-1] + np.median(np.diff(times))
    count = max(1, round((min(end, length) - start) * 25))
    return [int(np.abs(times - (start + step / 25)).argmin()) for step in range(count)]


def test_segments_are_exact_to_the_frame(video):
    path, times = video
    assert num_frames(path) == NUM_FRAMES
    assert frame_times(path) == pytest.approx(times, abs=1e-3)
    random = np.random.default_rng(0)
    for _ in range(50):
        start = random.uniform(0, times[-1])
        end = start + random.uniform(0.05, 2.0)
        kept = frame_indices_at(path, start_seconds=start, end_seconds=end)
        found = read_numbers(read_frames(path, kept))
        assert found.tolist() == kept.tolist()
        assert np.abs(found - numbers_at(times, start, end)).max() <= 1  # stamps are rounded
        assert np.mean(found == numbers_at(times, start, end)) > 0.9


def test_frames_wide_apart_in_any_order(video):
    path, _ = video
    random = np.random.default_rng(0)
    for _ in range(5):
        wanted = random.integers(0, NUM_FRAMES, 7)
        assert read_numbers(read_frames(path, wanted)).tolist() == wanted.tolist()
    wanted = np.arange(3, NUM_FRAMES, 4)
    assert read_numbers(read_frames(path, wanted)).tolist() == wanted.tolist()
    assert read_numbers(read_frames(path)).tolist() == list(range(NUM_FRAMES))


def test_a_segment_is_the_same_pixels_as_in_the_whole(video):
    path, _ = video
    whole = read_frames(path)
    for start in (0, 123, 249, 290):
        wanted = np.arange(start, min(start + 30, NUM_FRAMES), 3)
        assert (read_frames(path, wanted) == whole[wanted]).all()


def test_live_recording_without_table_of_contents(tmp_path, numbers, write_live):
    path = write_live(tmp_path / "v.webm", numbers)
    wanted = np.arange(200, 230)
    assert read_numbers(read_frames(path, wanted)).tolist() == wanted.tolist()
    assert frame_times(path) == pytest.approx(np.arange(NUM_FRAMES) / 25)


def test_rotation_mark_holds_in_a_segment(tmp_path, numbers, write_video):
    path = write_video(tmp_path / "v.mp4", numbers, rotation=90, options={"g": "25"})
    turned = read_frames(path, [210, 214])
    assert turned.shape == (2, 64, 48, 3)
    assert read_numbers(np.rot90(turned, -1, axes=(1, 2))).tolist() == [210, 214]


GROUPS = {"g": "30", "sc_threshold": "0"}  # frames 0, 30, 60, ... can be decoded on their own


def wipe(path, first, last):
    """Overwrite what the packets from one frame to another hold, but not where they lie."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            if packet.size and first <= round(packet.pts * stream.time_base * 25) <= last:
                place = data.find(bytes(packet), packet.pos)
                data[place : place + packet.size] = bytes(packet.size)
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_what_is_not_asked_for_is_not_decoded(tmp_path, numbers, write_video, name):
    # Only the first frame of the first half can be decoded: who reads the second does not try.
    path = write_video(tmp_path / name, numbers, options={**GROUPS, "bf": "3"})
    wipe(path, 1, 149)
    wanted = np.arange(200, 250)
    assert read_numbers(read_frames(path, wanted)).tolist() == wanted.tolist()
    with pytest.raises(InputError, match=r"the video is damaged at frame [01]:"):
        read_frames(path)


def test_what_lies_between_is_not_decoded(tmp_path, numbers, write_video):
    path = write_video(tmp_path / "v.mp4", numbers, options={**GROUPS, "bf": "3"})
    wipe(path, 60, 239)
    wanted = [299, 3, 20, 241, 250]
    assert read_numbers(read_frames(path, wanted)).tolist() == wanted
    with pytest.raises(InputError, match=r"the video is damaged at frame (58|59|60)"):
        read_frames(path, [3, 70])


def test_damage_before_a_frame_in_its_group_is_an_error(tmp_path, numbers, write_video):
    path = write_video(tmp_path / "v.mp4", numbers, options={**GROUPS, "bf": "0"})
    wipe(path, 215, 216)
    assert read_numbers(read_frames(path, [214, 240])).tolist() == [214, 240]
    with pytest.raises(InputError, match="the video is damaged at frame 215"):
        read_frames(path, [220])


def remux(source, target, first, shift=0, **settings):
    """Copy packets from frame `first` on, `shift` frames earlier."""
    with av.open(str(source)) as original, av.open(str(target), "w", **settings) as copy:
        stream = original.streams.video[0]
        new = copy.add_stream_from_template(stream)
        for packet in original.demux(stream):
            if packet.size and packet.pts * stream.time_base * 25 >= first:
                move = round(shift / 25 / stream.time_base)
                packet.pts, packet.dts = packet.pts - move, packet.dts - move
                packet.stream = new
                copy.mux(packet)
    return target


def test_edit_list_that_begins_between_keyframes(tmp_path, numbers, write_video):
    whole = write_video(tmp_path / "whole.mp4", numbers, options={"g": "50", "bf": "2"})
    path = remux(
        whole, tmp_path / "v.mp4", 0, 70, container_options={"avoid_negative_ts": "disabled"}
    )
    assert num_frames(path) == NUM_FRAMES - 70
    assert read_numbers(read_frames(path, [0, 5, 160])).tolist() == [70, 75, 230]
    assert read_numbers(read_frames(path)).tolist() == list(range(70, NUM_FRAMES))


def test_file_cut_out_between_keyframes(tmp_path, numbers, write_video):
    whole = write_video(tmp_path / "whole.mp4", numbers, options={"g": "50", "bf": "2"})
    path = remux(whole, tmp_path / "v.mkv", 70)
    found = read_numbers(read_frames(path))
    assert found[-1] == NUM_FRAMES - 1
    assert len(found) == num_frames(path)
    assert read_numbers(read_frames(path, [len(found) - 60])).tolist() == [NUM_FRAMES - 60]


def test_times_past_the_end(tmp_path, numbers, write_video):
    path = write_video(tmp_path / "v.mp4", numbers)
    kept = frame_indices_at(path, start_seconds=11.8, end_seconds=20.0)
    assert kept.tolist() == [295, 296, 297, 298, 299]
    message = r"v\.mp4: no frame between 12\.5 and 20\.0 seconds: the clip is 12\.00 seconds long"
    with pytest.raises(InputError, match=message):
        frame_indices_at(path, start_seconds=12.5, end_seconds=20.0)
