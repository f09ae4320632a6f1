"""Of several streams the one that players play is read; containers that store no length."""

import os
from fractions import Fraction

import av
import numpy as np
import pytest

from unglossed.errors import InputError
from unglossed.media.audio import read_audio
from unglossed.media.frames import open_frames, read_frames
from unglossed.media.probe import examine, probe, revisions_of

RATE = 16000


def write_two(path, defaults, kind):
    """Two streams of half a second: the first dark or silent, the second bright or loud."""
    with av.open(str(path), "w") as container:
        streams = []
        for default in defaults:
            if kind == "video":
                stream = container.add_stream("libx264", rate=25)
                stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            else:
                stream = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
            stream.disposition = av.stream.Disposition(int(default))
            streams.append(stream)
        for stream, level in zip(streams, (0, 1), strict=True):
            for number in range(12):
                if kind == "video":
                    picture = np.full((48, 64, 3), 250 * level, np.uint8)
                    frame = av.VideoFrame.from_ndarray(picture, "rgb24")
                else:
                    piece = np.full((1, 640), 16000 * level, np.int16)
                    frame = av.AudioFrame.from_ndarray(piece, "s16", "mono")
                    frame.sample_rate, frame.pts = RATE, 640 * number
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("defaults", "second"),
    [((False, True), True), ((True, False), False), ((True, True), False), ((False, False), False)],
)
def test_the_default_stream_is_read_or_the_first(tmp_path, defaults, second):
    film = write_two(tmp_path / "v.mkv", defaults, "video")
    assert (read_frames(film).mean() > 200) == second
    assert revisions_of(film) == (["stream"] if second else [])
    sound = write_two(tmp_path / "a.mka", defaults, "sound")
    assert (read_audio(sound).mean() > 0.4) == second


@pytest.mark.parametrize("name", ["song.mp4", "song.m4a"])
def test_a_cover_is_no_clip(tmp_path, write_sound, name):
    path = write_sound(tmp_path / "plain.m4a", np.full((1, 2 * RATE), 0.1))
    cover = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    with av.open(str(path)) as original, av.open(str(tmp_path / name), "w", format="mp4") as copy:
        stream = original.streams.audio[0]
        sound = copy.add_stream_from_template(stream)
        picture = copy.add_stream("png", rate=1)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "rgb24"
        picture.disposition = av.stream.Disposition.attached_pic
        for packet in picture.encode(av.VideoFrame.from_ndarray(cover, "rgb24")):
            copy.mux(packet)
        for packet in original.demux(stream):
            if packet.size:
                packet.stream = sound
                copy.mux(packet)
    path = tmp_path / name
    for look in (probe, examine):
        facts = look(path)
        assert (facts.kind, facts.num_frames) == ("audio", None)
        assert facts.duration_seconds == pytest.approx(2, abs=0.15)
    with pytest.raises(InputError, match="no video: found audio with a cover picture"):
        read_frames(path)


NUMBER = 100


def draw(number):
    """Seven bars of a number's bits."""
    bits = number >> np.arange(7) & 1
    return np.repeat(np.kron(bits * 255, np.ones(16))[None, :, None], 96, 0).repeat(3, 2)


def number_of(picture):
    return int(((picture[48, 8::16, 0] > 127) << np.arange(7)).sum())


class Pipe:
    def __init__(self, file):
        self.file = file

    def write(self, data):
        return self.file.write(data)


def write_numbered(path, codec, fmt, piped=False, **options):
    with path.open("wb") as file:
        target = Pipe(file) if piped else str(path)
        with av.open(target, "w", format=fmt) as container:
            stream = container.add_stream(codec, rate=25, options={"g": "12", **options})
            stream.width, stream.height, stream.pix_fmt = 112, 96, "yuv420p"
            for number in range(NUMBER):
                frame = av.VideoFrame.from_ndarray(draw(number).astype(np.uint8), "rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return path


FILES = {
    "MPEG-1 program stream": ("v.mpg", "mpeg1video", "mpeg", False, {"bf": "2"}),
    "MPEG-1 in fixed packs": ("v.mpg", "mpeg1video", "vcd", False, {"bf": "2"}),
    "MPEG-2 program stream": ("v.mpg", "mpeg2video", "svcd", False, {"bf": "2"}),
    "DVD": ("v.vob", "mpeg2video", "dvd", False, {"bf": "2"}),
    "broadcast": ("v.ts", "mpeg2video", "mpegts", False, {"bf": "2"}),
    "H.264 broadcast": ("v.m2ts", "libx264", "mpegts", False, {"bf": "2"}),
    "MPEG-1 without a container": ("v.m1v", "mpeg1video", "mpeg1video", False, {"bf": "2"}),
    "MPEG-2 without a container": ("v.m2v", "mpeg2video", "mpeg2video", False, {"bf": "2"}),
    "H.264 without a container": ("v.h264", "libx264", "h264", False, {"bf": "2"}),
    "AVI whose header was never finished": ("v.avi", "mpeg4", "avi", True, {}),
    "FLV whose header was never finished": ("v.flv", "libx264", "flv", True, {"bf": "2"}),
    "Matroska whose header was never finished": ("v.mkv", "libx264", "matroska", True, {}),
    "Windows Media": ("v.wmv", "wmv2", "asf", False, {}),
    "NUT": ("v.nut", "mpeg4", "nut", False, {"bf": "2"}),
    "MXF": ("v.mxf", "mpeg2video", "mxf", False, {"bf": "2"}),
    "Ogg": ("v.ogg", "libvpx", "ogg", False, {}),
    "IVF": ("v.ivf", "libvpx", "ivf", False, {}),
}


@pytest.mark.parametrize("kind", FILES)
def test_frames_and_length_of_every_container(tmp_path, kind):
    name, codec, fmt, piped, options = FILES[kind]
    path = write_numbered(tmp_path / name, codec, fmt, piped, **options)
    assert open_frames(path).num_frames == NUMBER
    assert open_frames(path).times == pytest.approx(np.arange(NUMBER) / 25, abs=1e-3)
    for look in (probe, examine):
        assert look(path).duration_seconds == pytest.approx(4.0, abs=0.002)
        assert look(path).begin_seconds == 0
        assert look(path).num_frames in (NUMBER, None)
    alone = [number_of(read_frames(path, [number])[0]) for number in range(NUMBER)]
    assert alone == list(range(NUMBER))
    assert [number_of(picture) for picture in read_frames(path)] == alone


def test_what_is_not_asked_for_is_not_decoded_in_program_streams(tmp_path):
    path = write_numbered(tmp_path / "v.mpg", "mpeg2video", "vob", bf="2")
    assert open_frames(path).num_frames == NUMBER
    status = path.stat()
    data = path.read_bytes()
    path.write_bytes(data[:4096] + bytes(len(data) // 4) + data[4096 + len(data) // 4 :])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # its stamps stay known
    assert [number_of(picture) for picture in read_frames(path, [80, 95])] == [80, 95]
    with pytest.raises(InputError, match=r"v\.mpg: the video is damaged at frame \d+"):
        read_frames(path)


@pytest.mark.parametrize(
    ("name", "codec", "fmt"),
    [
        ("a.mpg", "mp2", "mpeg"),
        ("a.vob", "ac3", "vob"),
        ("b.mpg", "pcm_s16be", "dvd"),
        ("a.ts", "mp2", "mpegts"),
    ],
)
def test_a_part_of_broadcast_sound_is_that_part(tmp_path, name, codec, fmt):
    rate = 48000
    times = np.arange(6 * rate) / rate
    tone = 0.3 * np.sin(2 * np.pi * np.cumsum(300 + 200 * times) / rate)
    path = tmp_path / name
    with av.open(str(path), "w", format=fmt) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        form = stream.codec_context.format.name
        sound = av.AudioFrame.from_ndarray(tone[None].astype(np.float32), "fltp", "mono")
        sound.sample_rate, sound.pts = rate, 0
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(form, "mono", rate, frame_size=size)
        for piece in [*resampler.resample(sound), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode())
    whole = read_audio(path, RATE)
    assert probe(path).duration_seconds == pytest.approx(len(whole) / RATE, abs=0.02)
    for start in (0.4, 1.7, 3.3, 4.9):
        part = read_audio(path, RATE, start, start + 0.6)
        first = round(start * RATE)
        assert np.abs(part - whole[first : first + len(part)]).max() < 0.01
