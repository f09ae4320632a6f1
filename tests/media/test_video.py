from pathlib import Path

import cv2
import numpy as np
import pytest

from unglossed.errors import InputError
from unglossed.media.frames import open_frames, read_frames


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)


def brightness(frames):
    return frames.reshape(len(frames), -1).mean(axis=1)


def test_folder_gives_the_pictures_as_rgb(tmp_path, pictures, write_folder):
    folder = write_folder(tmp_path / "clip", pictures)
    assert open_frames(folder).num_frames == 9
    assert (read_frames(folder) == pictures).all()


def test_folder_is_ordered_by_number_with_gaps_and_strays(tmp_path, pictures, write_folder):
    names = ["im2.png", "im10.png", "im101.png"]
    folder = write_folder(tmp_path / "clip", pictures[:3], names)
    for stray in ("profile.py.lprof", "._im1.png", "Thumbs.db"):
        (folder / stray).write_bytes(b"not a picture")
    assert open_frames(folder).num_frames == 3
    assert (read_frames(folder) == pictures[:3]).all()


@pytest.mark.parametrize(
    "names",
    [
        ["t09-c1.png", "t10-c0.png", "t10-c2.png"],  # differ in digits alone
        ["t9-c1.png", "t10-c0.png", "t010-c2.png"],
    ],
)
def test_order_is_that_of_the_numbers_however_they_are_written(
    tmp_path, pictures, write_folder, names
):
    folder = write_folder(tmp_path / "clip", pictures[:3], names)
    assert (read_frames(folder) == pictures[:3]).all()


def test_folder_opens_only_what_is_asked_for(tmp_path, pictures, write_folder):
    folder = write_folder(tmp_path / "clip", pictures)
    (folder / "images0002.png").write_bytes(b"broken, and nobody asks")
    assert (read_frames(folder, [4, 0, 4]) == pictures[[4, 0, 4]]).all()


def test_folder_of_jpeg_and_grey_pictures(tmp_path):
    grey = np.full((20, 30), 77, np.uint8)
    cv2.imwrite(str(tmp_path / "000000.jpg"), grey)
    cv2.imwrite(str(tmp_path / "000001.png"), grey)
    assert (read_frames(tmp_path) == 77).all()


@pytest.mark.parametrize(
    ("name", "codec"), [("v.mp4", "libx264"), ("v.mp4", "mpeg4"), ("v.webm", "libvpx-vp9")]
)
def test_video_gives_every_frame_and_the_asked_ones(tmp_path, pictures, write_video, name, codec):
    path = write_video(tmp_path / name, pictures, codec)
    frames = read_frames(path)
    assert open_frames(path).num_frames == len(frames) == 9
    assert np.abs(frames.astype(int) - pictures).mean() < 6
    chosen = read_frames(path, np.array([7, 0, 3, 3]))
    assert (chosen == frames[[7, 0, 3, 3]]).all()


def test_rotation_mark_of_a_phone_is_honoured(tmp_path, pictures, write_video):
    upright = read_frames(write_video(tmp_path / "a.mp4", pictures))
    turned = read_frames(write_video(tmp_path / "b.mp4", pictures, rotation=90))
    assert turned.shape == (9, 48, 32, 3)
    # Two encodings of the same pictures: x264 may make each a little other (see to_video_frame).
    right, wrong = (np.rot90(upright, turns, axes=(1, 2)) for turns in (1, -1))
    assert np.abs(turned.astype(int) - right).mean() < 6
    assert np.abs(turned.astype(int) - wrong).mean() > 12


def test_video_at_25_frames_keeps_every_frame(tmp_path, pictures, write_video):
    path = write_video(tmp_path / "v.mp4", pictures)
    assert open_frames(path).times == pytest.approx(np.arange(9) / 25)
    assert open_frames(path).indices_at().tolist() == list(range(9))


@pytest.mark.parametrize(("rate", "expected"), [(100, 2), (50, 4), (30, 8), (24, 9), (12, 19)])
def test_other_rates_are_thinned_or_filled_by_time(tmp_path, pictures, write_video, rate, expected):
    path = write_video(tmp_path / "v.mp4", pictures, rate=rate)
    chosen = open_frames(path).indices_at()
    assert len(chosen) == expected
    distances = np.abs(open_frames(path).times[:, None] - np.arange(expected) / 25)
    taken = distances[chosen, np.arange(expected)]
    assert taken == pytest.approx(distances.min(axis=0), abs=1e-4)


def test_uneven_times_are_evened_out(tmp_path, pictures, write_video):
    times = [0, 10, 20, 30, 40, 200, 210, 220, 230]
    path = write_video(tmp_path / "v.webm", pictures, "libvpx-vp9", times_ms=times)
    # Grid 0, 40, ... 240 ms; the pause from 40 to 200 ms holds the nearer neighbour.
    assert open_frames(path).indices_at().tolist() == [0, 4, 4, 4, 5, 5]


def test_part_of_a_clip(tmp_path, pictures, write_folder):
    folder = write_folder(tmp_path / "clip", pictures)
    assert open_frames(folder).indices_at(start_seconds=0.12, end_seconds=0.24).tolist() == [
        3,
        4,
        5,
    ]
    assert open_frames(folder).indices_at(end_seconds=99.0).tolist() == list(range(9))
    with pytest.raises(InputError, match=r"clip: no frame between 5.0 and 6.0 seconds: .* 0.36"):
        open_frames(folder).indices_at(start_seconds=5.0, end_seconds=6.0)


def test_single_frame(tmp_path, pictures, write_folder):
    assert open_frames(write_folder(tmp_path / "clip", pictures[:1])).indices_at().tolist() == [0]


@pytest.mark.parametrize("missing", [1, 4, 12, 30, 0.5, 0.9])
def test_truncated_png_is_refused_in_silence(tmp_path, pictures, write_folder, capfd, missing):
    folder = write_folder(tmp_path / "clip", pictures[:2])
    path = folder / "images0002.png"
    data = path.read_bytes()
    cut = missing if isinstance(missing, int) else int(missing * len(data))
    path.write_bytes(data[:-cut])
    with pytest.raises(
        InputError, match=r"images0002\.png: (truncated or damaged PNG|no readable)"
    ):
        read_frames(folder)
    assert capfd.readouterr().err == ""


def test_damaged_byte_in_a_png_is_refused(tmp_path, pictures, write_folder, capfd):
    path = write_folder(tmp_path / "clip", pictures[:1]) / "images0001.png"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"images0001\.png: truncated or damaged PNG"):
        read_frames(path.parent)
    assert capfd.readouterr().err == ""


def test_truncated_jpeg_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / "000001.jpg"
    cv2.imwrite(str(path), noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"000001\.jpg: no readable picture"):
        read_frames(tmp_path)


def test_frames_of_different_sizes_are_refused(tmp_path, pictures, write_folder):
    folder = write_folder(tmp_path / "clip", pictures[:2])
    write_folder(folder, pictures[:1, :20], ["images0003.png"])
    with pytest.raises(InputError, match=r"clip: found frames of different sizes \(48x20, 48x32\)"):
        read_frames(folder)


def one_line(error):
    return "\n" not in str(error.value)


@pytest.mark.parametrize("function", [open_frames, read_frames])
class TestWhatIsNoClip:
    def test_missing(self, tmp_path, function):
        with pytest.raises(InputError, match=r"nothing\.mp4: not found") as error:
            function(tmp_path / "nothing.mp4")
        assert one_line(error)

    def test_empty_folder(self, tmp_path, function):
        (tmp_path / "notes.txt").write_text("no picture")
        with pytest.raises(InputError, match="found no frame, expected pictures") as error:
            function(tmp_path)
        assert one_line(error)

    def test_zero_bytes(self, tmp_path, function):
        (tmp_path / "v.mp4").touch()
        with pytest.raises(InputError, match=r"v\.mp4: the file is empty \(0 bytes\)") as error:
            function(tmp_path / "v.mp4")
        assert one_line(error)

    def test_audio_only(self, tmp_path, function, write_sound):
        with pytest.raises(InputError, match=r"v\.mp4: no video stream \(found audio\)") as error:
            function(write_sound(tmp_path / "v.mp4"))
        assert one_line(error)

    def test_no_video_at_all(self, tmp_path, function):
        (tmp_path / "v.mp4").write_text("hello " * 100)
        with pytest.raises(InputError, match=r"v\.mp4: not a readable video") as error:
            function(tmp_path / "v.mp4")
        assert one_line(error)


FAST_START = {"movflags": "faststart"}
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(
    ("name", "codec", "container"),
    [
        ("v.mp4", "libx264", {}),
        ("v.mp4", "libx264", FAST_START),
        ("v.mp4", "libx264", FRAGMENTS),
        ("v.webm", "libvpx-vp9", {}),
        ("v.webm", "libvpx", {}),
        ("v.mkv", "libx264", {}),
        ("v.avi", "mpeg4", {}),
    ],
)
def test_file_without_its_end_is_refused(
    tmp_path, noise, write_video, capfd, name, codec, container, share
):
    path = write_video(tmp_path / name, noise, codec, container_options=container)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    for function in (open_frames, read_frames):
        with pytest.raises(
            InputError, match=r"v\.\w+: the file is truncated: found \d+ of its \d+ by"
        ):
            function(path)
    assert capfd.readouterr().err == ""


def test_more_than_the_container_declares_is_no_fault(tmp_path, noise, write_video):
    for name in ("v.mp4", "v.mkv"):
        path = write_video(tmp_path / name, noise)
        path.write_bytes(path.read_bytes() + bytes(100))
        assert len(read_frames(path)) == len(noise)


def test_live_recording_is_read_and_has_no_end_to_miss(tmp_path, noise, write_live):
    path = write_live(tmp_path / "v.webm", noise)
    assert open_frames(path).num_frames == len(read_frames(path)) == len(noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 0 < open_frames(path).num_frames == len(read_frames(path)) < len(noise)


@pytest.mark.parametrize("threads", ["one", "many"])
def test_damage_in_the_middle_is_refused(tmp_path, write_video, capfd, threads):
    # From 100 frames on several threads decode; there a lost frame is no error of the decoder.
    size = (120 if threads == "many" else 30, 64, 64, 3)
    noise = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    path = write_video(tmp_path / "v.mp4", noise)
    damaged = bytearray(path.read_bytes())
    middle = slice(len(damaged) // 2, len(damaged) // 2 + 4000)
    damaged[middle] = bytes(4000)
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"v\.mp4: the video is damaged at frame \d+"):
        read_frames(path)
    assert capfd.readouterr().err == ""


def test_names_that_look_like_something_else(tmp_path, monkeypatch, pictures, write_video):
    # OpenASL's clips are called so. To FFmpeg all before the first colon may be a protocol.
    monkeypatch.chdir(tmp_path)
    for name in ("-abc-00:01:02.123-00:01:04.567.mp4", "http:clip.mp4", "%03d ü.mp4"):
        write_video(tmp_path / "v.mp4", pictures).rename(tmp_path / name)
        assert open_frames(Path(name)).num_frames == len(read_frames(Path(name))) == 9


def test_replaced_video_is_counted_anew(tmp_path, pictures, write_video):
    path = write_video(tmp_path / "v.mp4", pictures)
    assert open_frames(path).num_frames == 9
    write_video(path, pictures[:4])
    assert open_frames(path).num_frames == 4
