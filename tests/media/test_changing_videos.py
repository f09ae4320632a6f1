"""Videos whose frames are not all alike: interlaced ones, those that change size, absurd sizes."""

import struct
import zlib
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from unglossed.corpora.check_media import check_clips
from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.pack import encode_clip
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError
from unglossed.media.frames import open_frames, read_frames
from unglossed.media.pictures import read_picture
from unglossed.media.probe import examine, probe
from unglossed.media.signal import VideoSignal, WholeFile


def write_interlaced(path, rotation=0, **options):
    """A bar that has moved on between the two fields of a frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.options = {"x264-params": "interlaced=1:tff=1", "crf": "1", "g": "10", **options}
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace = 1
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(40):
            picture = np.full((48, 64, 3), 30, np.uint8)
            for field in (0, 1):
                left = (4 * number + 2 * field) % 56
                picture[field::2, left : left + 8] = 220
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return path


def combing(frame):
    return np.abs(frame[0:-1:2].astype(int) - frame[1::2]).mean()


def test_interlaced_frames_are_made_whole_one_by_one(tmp_path):
    path = write_interlaced(tmp_path / "v.mp4")
    combed, whole = read_frames(path), read_frames(path, deinterlace=True)
    assert whole.shape == combed.shape == (40, 48, 64, 3)
    for number in range(1, 39):
        assert combing(combed[number]) > 10 > 1 > combing(whole[number])
        # The rows of one field are those of the frame with this number.
        change = np.abs(whole[number].astype(int) - combed[number])
        assert min(change[::2].mean(), change[1::2].mean()) < 2
    for wanted in ([0], [7], [39], [21, 3, 22]):
        assert (read_frames(path, wanted, deinterlace=True) == whole[wanted]).all()


def test_frames_that_are_not_interlaced_stay_as_they_are(tmp_path, pictures, write_video):
    path = write_video(tmp_path / "v.mp4", pictures)
    assert (read_frames(path, deinterlace=True) == read_frames(path)).all()


def test_interlaced_frames_are_turned_as_well(tmp_path):
    plain = write_interlaced(tmp_path / "plain.mp4")
    turned = write_interlaced(tmp_path / "v.mp4", rotation=90)
    expected = np.rot90(read_frames(plain, [5, 6], deinterlace=True), axes=(1, 2))
    assert (read_frames(turned, [5, 6], deinterlace=True) == expected).all()


def test_clips_are_read_and_packed_as_asked(tmp_path):
    path = write_interlaced(tmp_path / "v.mp4")
    signal = VideoSignal(1.0)
    whole = read_frames(path, deinterlace=True)
    assert (signal.read(WholeFile(path, deinterlace=True)) == whole).all()
    sample = Sample("a", path, "text", "train", "de", deinterlace=True)
    first = cv2.imdecode(np.frombuffer(encode_clip(sample, 48, 95).pictures[9], np.uint8), 1)
    assert combing(first) < 3


def test_interlaced_videos_are_named_by_the_deep_check_alone(tmp_path):
    path = write_interlaced(tmp_path / "v.mp4")
    for deep, whole, count in ((True, False, 1), (True, True, 0), (False, False, 0)):
        faults = Faults()
        check_clips(
            "", [Sample("a", path, "so", "train", "de", deinterlace=whole)], faults, deep=deep
        )
        assert faults.count(FaultKind.INTERLACED) == count
    check_clips("", [Sample("a", path, "so", "train", "de")], faults, deep=True)
    (fault,) = faults.examples(FaultKind.INTERLACED)
    assert "40 of 40 frames are marked as interlaced" in fault.text
    assert "?deinterlace=yes" in fault.text


SIZES = [(64, 48), (128, 96), (48, 64)]


def write_sizes(path, codec, sizes=SIZES, **options):
    """Each size for 20 frames, every frame a little lighter than the one before."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *sizes[0], "yuv420p"
        stream.options = {"g": "10", **options}
        number = 0
        for width, height in sizes:
            encoder = av.CodecContext.create(codec, "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
            encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
            encoder.options, encoder.max_b_frames = {"g": "10", **options}, 0
            for _ in range(20):
                picture = np.full((height, width, 3), 4 * number, np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, "rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                _mux(container, stream, encoder.encode(frame))
                number += 1
            _mux(container, stream, encoder.encode())
    return path


def _mux(container, stream, packets):
    for packet in packets:
        packet.stream, packet.time_base = stream, Fraction(1, 25)
        container.mux(packet)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("v.webm", "libvpx", {}),
        ("v9.webm", "libvpx-vp9", {}),
        ("v.mkv", "libx264", {"x264-params": "repeat-headers=1"}),
        ("v.ts", "libx264", {"x264-params": "repeat-headers=1"}),
    ],
)
def test_pictures_that_change_size_are_brought_to_the_first(tmp_path, name, codec, options):
    path = write_sizes(tmp_path / name, codec, **options)
    whole = read_frames(path)
    assert whole.shape == (60, 48, 64, 3)
    assert np.abs(whole.mean(axis=(1, 2, 3)) - 4 * np.arange(60)).max() < 3
    for wanted in ([25], [45, 59], [3, 30]):
        assert (read_frames(path, wanted) == whole[wanted]).all()
    facts = examine(path)
    assert (facts.width, facts.height) == (probe(path).width, probe(path).height) == (64, 48)
    assert facts.size_changes == pytest.approx((0.8, 1.6), abs=1e-3)
    assert open_frames(path).num_frames == 60


def test_changes_of_size_are_noted_and_pack(tmp_path):
    path = write_sizes(tmp_path / "v.webm", "libvpx")
    sample, faults = Sample("a", path, "so", "train", "de"), Faults()
    check_clips("", [sample], faults, deep=True)
    (fault,) = faults.examples(FaultKind.SIZE_CHANGES)
    assert fault.text == "at 0.80 s, 1.60 s"
    clip = encode_clip(sample, 256, 90)
    assert (clip.width, clip.height, len(clip.pictures)) == (64, 48, 60)


def _png(width, height, kind):
    def chunk(name, content):
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    head = struct.pack(">II5B", width, height, 8, kind, 0, 0, 0)
    data = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _patched(suffix, mark, offset, layout, size, options=()):
    _, encoded = cv2.imencode(suffix, np.zeros((32, 48, 3), np.uint8), list(options))
    data = bytearray(encoded.tobytes())
    struct.pack_into(layout, data, data.index(mark) + offset, *size)
    return bytes(data)


ABSURD = {
    "PNG": lambda: _png(40000, 40000, 2),
    "PNG with alpha": lambda: _png(60000, 60000, 6),
    "PNG of one row": lambda: _png(2**31 - 1, 1, 0),
    "JPEG": lambda: _patched(".jpg", b"\xff\xc0", 5, ">HH", (65000, 65000)),
    "WebP": lambda: _patched(".webp", b"VP8L", 9, "<I", (0x0FFFFFFF,), (64, 101)),
    "BMP": lambda: _patched(".bmp", b"BM", 18, "<ii", (50000, -50000)),
    "GIF": lambda: _patched(".gif", b"GIF8", 6, "<HH", (65000, 65000)),
}


@pytest.mark.parametrize("kind", ABSURD)
def test_pictures_that_claim_absurd_sizes_are_named(tmp_path, kind):
    path = tmp_path / "1.png"
    path.write_bytes(ABSURD[kind]())
    for look in (probe, examine, read_frames):
        with pytest.raises(InputError, match=r"1\.png: claims \d+x\d+ pixels, expected at most"):
            look(tmp_path)


def test_what_opencv_refuses_is_named(tmp_path):
    """TIFF is no kind of picture whose header is known here."""
    data = bytearray(cv2.imencode(".tiff", np.zeros((32, 48, 3), np.uint8))[1].tobytes())
    at = int.from_bytes(data[4:8], "little")
    for entry in range(int.from_bytes(data[at : at + 2], "little")):
        place = at + 2 + 12 * entry
        if int.from_bytes(data[place : place + 2], "little") in (256, 257):
            data[place + 2 : place + 12] = struct.pack("<HII", 4, 1, 2_000_000)
    path = tmp_path / "1.png"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"1\.png: no readable picture"):
        read_picture(path)


def test_a_video_that_claims_an_absurd_size_is_named(tmp_path, pictures, write_video):
    path = write_video(tmp_path / "v.avi", pictures, "mpeg4", options={})
    wide = np.zeros((16, 32768 + 16, 3), np.uint8)
    path = write_video(tmp_path / "v.mkv", [wide], "ffv1")
    for look in (probe, examine, read_frames):
        with pytest.raises(InputError, match=r"v\.mkv: claims 32784x16 pixels, expected at most"):
            look(path)
