"""Segments of a video: the frames read are the frames asked for, and no others are decoded."""

from fractions import Fraction

import av
import numpy as np
import pytest

from unglossed.corpora.check_media import check_clips
from unglossed.corpora.faults import Faults, Severity
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError
from unglossed.media.frames import open_frames, read_frames
from unglossed.media.probe import examine, probe

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
    assert open_frames(path).num_frames == NUM_FRAMES
    assert open_frames(path).times == pytest.approx(times, abs=1e-3)
    random = np.random.default_rng(0)
    for _ in range(50):
        start = random.uniform(0, times[-1])
        end = start + random.uniform(0.05, 2.0)
        kept = open_frames(path).indices_at(start_seconds=start, end_seconds=end)
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
    assert open_frames(path).times == pytest.approx(np.arange(NUM_FRAMES) / 25)


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
    assert open_frames(path).num_frames == NUM_FRAMES - 70
    assert read_numbers(read_frames(path, [0, 5, 160])).tolist() == [70, 75, 230]
    assert read_numbers(read_frames(path)).tolist() == list(range(70, NUM_FRAMES))


def test_file_cut_out_between_keyframes(tmp_path, numbers, write_video):
    whole = write_video(tmp_path / "whole.mp4", numbers, options={"g": "50", "bf": "2"})
    path = remux(whole, tmp_path / "v.mkv", 70)
    found = read_numbers(read_frames(path))
    assert found[-1] == NUM_FRAMES - 1
    assert len(found) == open_frames(path).num_frames
    assert read_numbers(read_frames(path, [len(found) - 60])).tolist() == [NUM_FRAMES - 60]


def test_times_past_the_end(tmp_path, numbers, write_video):
    path = write_video(tmp_path / "v.mp4", numbers)
    kept = open_frames(path).indices_at(start_seconds=11.8, end_seconds=20.0)
    assert kept.tolist() == [295, 296, 297, 298, 299]
    message = r"v\.mp4: no frame between 12\.5 and 20\.0 seconds: the clip is 12\.00 seconds long"
    with pytest.raises(InputError, match=message):
        open_frames(path).indices_at(start_seconds=12.5, end_seconds=20.0)


@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        ((1, 0, 0, 1), lambda picture: picture),
        ((-1, 0, 0, 1), lambda picture: picture[:, ::-1]),
        ((1, 0, 0, -1), lambda picture: picture[::-1]),
        ((-1, 0, 0, -1), lambda picture: picture[::-1, ::-1]),
        ((0, 1, -1, 0), lambda picture: np.rot90(picture, -1)),
        ((0, -1, 1, 0), lambda picture: np.rot90(picture)),
        ((0, 1, 1, 0), lambda picture: picture.transpose(1, 0, 2)),
        ((0, 0, 0, 0), lambda picture: picture),
    ],
)
def test_a_video_is_turned_and_mirrored_as_its_matrix_says(
    tmp_path, pictures, write_video, mark, expected
):
    plain = write_video(tmp_path / "plain.mp4", pictures)
    unit = np.array([65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30], ">i4")
    data = plain.read_bytes()
    place = data.index(b"tkhd") + 44  # ISO/IEC 14496-12, 8.3.2: version 0
    assert data[place : place + 36] == unit.tobytes()
    unit[[0, 1, 3, 4]] = np.array(mark) * 65536
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(data[:place] + unit.tobytes() + data[place + 36 :])

    for whole, found in zip(read_frames(plain), read_frames(turned), strict=True):
        assert np.array_equal(found, expected(whole))
    facts = probe(turned)
    assert (facts.height, facts.width) == expected(read_frames(plain)[0]).shape[:2]


@pytest.mark.parametrize("name", ["late.mkv", "late.mp4"])
def test_parts_count_from_where_sound_begins_if_pictures_begin_later(tmp_path, name):
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream("aac", rate=16000, layout="mono")
        for index in range(50):
            picture = np.full((48, 64, 3), 4 * index, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = 1000 + 40 * index, Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        for begin in range(0, 48000, 1024):
            piece = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            piece.sample_rate, piece.pts = 16000, begin
            container.mux(audio.encode(piece))
        container.mux(audio.encode())

    part = open_frames(path).indices_at(start_seconds=1.48, end_seconds=1.72)
    assert part.tolist() == list(range(12, 18))
    assert open_frames(path).indices_at(start_seconds=2.8)[-1] == 49
    assert len(open_frames(path).indices_at()) == 50
    for facts in (probe(path), examine(path)):
        assert facts.begin_seconds == pytest.approx(1.0, abs=0.03)
        assert facts.duration_seconds == pytest.approx(2.0, abs=0.03)
    late = Sample("late", path, "so", "train", "de", start_seconds=2.6, end_seconds=2.9)
    faults = Faults()
    check_clips("", [late], faults)
    assert not faults.total(Severity.ERROR)
