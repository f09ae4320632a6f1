import av
import cv2
import numpy as np
import pytest

import tiny
from unglossed.errors import InputError
from unglossed.media.frames import open_frames
from unglossed.media.probe import MediaFacts, examine, probe
from unglossed.media.signal import AudioSignal, WholeFile

BOTH = pytest.mark.parametrize("look", [probe, examine])


@BOTH
def test_frame_folder(tmp_path, pictures, write_folder, look):
    folder = write_folder(tmp_path / "clip", pictures)
    assert look(folder) == MediaFacts("frames", 9 / 25, 9, 48, 32, 25.0)


@BOTH
def test_numbers_that_are_missing(tmp_path, pictures, write_folder, look):
    names = [f"clip07_{number}.png" for number in (8, 9, 10, 13, 15)]
    facts = look(write_folder(tmp_path / "clip", pictures[:5], names))
    assert (facts.num_frames, facts.missing_frames) == (5, (11, 12, 14))


def test_names_that_are_times_do_not_flood(tmp_path, pictures, write_folder):
    names = [f"{1_700_000_000_000 + 10**11 * number}.png" for number in range(3)]
    facts = probe(write_folder(tmp_path / "clip", pictures[:3], names))
    assert len(facts.missing_frames) == 1000


def test_names_without_numbers_have_no_gaps(tmp_path, pictures, write_folder):
    facts = probe(write_folder(tmp_path / "clip", pictures[:2], ["left.png", "right.png"]))
    assert facts.missing_frames == ()


def test_only_examining_opens_every_picture(tmp_path, pictures, write_folder):
    folder = write_folder(tmp_path / "clip", pictures[:3])
    other = write_folder(tmp_path / "other", pictures[:3])
    (folder / "images0003.png").write_bytes(b"no picture")
    cv2.imwrite(str(other / "images0002.png"), pictures[0, :20])
    assert probe(folder).num_frames == probe(other).num_frames == 3
    with pytest.raises(InputError, match=r"images0003\.png: no readable picture"):
        examine(folder)
    with pytest.raises(InputError, match=r"frames of different sizes \(48x20, 48x32\)"):
        examine(other)


@BOTH
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_first_picture_that_is_cut(tmp_path, pictures, write_folder, look, suffix, kept):
    folder = write_folder(
        tmp_path / "clip", pictures[:2], [f"{number}.{suffix}" for number in (1, 2)]
    )
    path = folder / f"1.{suffix}"
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(InputError, match=rf"1\.{suffix}: "):
        look(folder)


@BOTH
def test_a_first_picture_that_is_none(tmp_path, pictures, write_folder, look):
    folder = write_folder(tmp_path / "clip", pictures[:2], ["1.jpg", "2.jpg"])
    for content in (b"<html>404</html>", b"\xff\xd8\xff\xe0\x00\x04ab\xff\xd9"):
        (folder / "1.jpg").write_bytes(content)
        with pytest.raises(InputError, match=r"1\.jpg: no readable picture"):
            look(folder)


def test_only_examining_sees_damage_within_the_first_picture(tmp_path, pictures, write_folder):
    folder = write_folder(tmp_path / "clip", pictures[:2])
    path = folder / "images0001.png"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert (probe(folder).width, probe(folder).height) == (48, 32)
    with pytest.raises(InputError, match=r"images0001\.png: truncated or damaged PNG"):
        examine(folder)


@BOTH
@pytest.mark.parametrize(
    ("suffix", "channels", "options"),
    [
        ("png", 3, []),
        ("png", 1, []),
        ("png", 4, []),
        ("jpg", 3, []),
        ("jpg", 1, []),
        ("jpg", 3, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        ("jpg", 3, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]),
    ],
)
def test_size_of_every_kind_of_picture(tmp_path, look, suffix, channels, options):
    cv2.imwrite(str(tmp_path / f"1.{suffix}"), np.zeros((17, 33, channels), np.uint8), options)
    facts = look(tmp_path)
    assert (facts.width, facts.height) == (33, 17)


@BOTH
def test_a_picture_that_is_to_be_turned(tmp_path, pictures, look):
    """Exif says so: orientation 6 is a quarter to the right, which OpenCV honours."""
    _, encoded = cv2.imencode(".jpg", pictures[0])
    tag = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    exif = b"\xff\xe1" + (8 + len(tag)).to_bytes(2, "big") + b"Exif\0\0" + tag
    data = encoded.tobytes()
    (tmp_path / "1.jpg").write_bytes(data[:2] + exif + data[2:])
    assert (look(tmp_path).width, look(tmp_path).height) == (32, 48)


@BOTH
@pytest.mark.parametrize(
    ("name", "codec"),
    [("v.mp4", "libx264"), ("v.webm", "libvpx-vp9"), ("v.avi", "mpeg4"), ("v.ts", "libx264")],
)
def test_video(tmp_path, pictures, write_video, look, name, codec):
    facts = look(write_video(tmp_path / name, pictures, codec))
    assert facts.kind == "video"
    assert facts.duration_seconds == pytest.approx(9 / 25, abs=1e-3)
    assert (facts.width, facts.height) == (48, 32)
    assert facts.frame_rate == pytest.approx(25, rel=0.01)
    assert facts.num_frames in ((9,) if look is examine else (9, None))


@BOTH
def test_turned_video_has_the_size_that_is_read(tmp_path, pictures, write_video, look):
    facts = look(write_video(tmp_path / "v.mp4", pictures, rotation=90))
    assert (facts.width, facts.height) == (32, 48)


@BOTH
@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_length_of_a_video_of_uneven_rate_that_starts_late(
    tmp_path, pictures, write_video, look, name
):
    times = [5000, 5010, 5020, 5030, 5040, 5200, 5210, 5220, 5230]
    path = write_video(tmp_path / name, pictures, times_ms=times)
    assert look(path).duration_seconds == pytest.approx(0.24, abs=0.04)


@BOTH
def test_live_recording_without_a_length(tmp_path, pictures, write_live, look):
    facts = look(write_live(tmp_path / "v.webm", pictures))
    assert facts.duration_seconds == pytest.approx(9 / 25)
    assert facts.num_frames == 9


@BOTH
@pytest.mark.parametrize(
    ("name", "codec"), [("a.wav", "pcm_s16le"), ("a.opus", "libopus"), ("a.mp4", "aac")]
)
def test_sound(tmp_path, write_sound, look, name, codec):
    rate = 48000 if codec == "libopus" else 16000
    facts = look(write_sound(tmp_path / name, np.zeros((1, 2 * rate)), codec, rate))
    assert facts.kind == "audio"
    assert facts.duration_seconds == pytest.approx(2, abs=0.15)
    assert (facts.num_frames, facts.width, facts.height, facts.frame_rate) == (None,) * 4


def test_length_is_where_segments_end(tmp_path, pictures, write_video):
    path = write_video(tmp_path / "v.mp4", pictures)
    end = examine(path).duration_seconds
    assert len(open_frames(path).indices_at(start_seconds=end - 0.01)) == 1
    with pytest.raises(InputError, match="no frame between"):
        open_frames(path).indices_at(start_seconds=end)


def test_only_examining_decodes_a_video(tmp_path, write_video):
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)
    path = write_video(tmp_path / "v.mp4", noise)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4000] = bytes(4000)
    path.write_bytes(data)
    assert probe(path).num_frames == 30
    with pytest.raises(InputError, match=r"v\.mp4: the video is damaged at frame \d+"):
        examine(path)


def test_only_examining_decodes_sound(tmp_path, write_sound):
    tone = 0.5 * np.sin(np.arange(160_000) / 5)[None]
    path = write_sound(tmp_path / "a.flac", tone, "flac")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4000] = bytes(4000)
    path.write_bytes(data)
    assert probe(path).duration_seconds == 10
    with pytest.raises(InputError, match=r"a\.flac: the audio is damaged at"):
        examine(path)


@BOTH
class TestWhatIsNoMedium:
    def test_missing(self, tmp_path, look):
        with pytest.raises(InputError, match=r"v\.mp4: not found, expected a video file"):
            look(tmp_path / "v.mp4")

    def test_zero_bytes(self, tmp_path, look):
        (tmp_path / "v.mp4").touch()
        with pytest.raises(InputError, match=r"v\.mp4: the file is empty \(0 bytes\)"):
            look(tmp_path / "v.mp4")

    def test_neither_video_nor_sound(self, tmp_path, look):
        for name, kind in (("v.mp4", "video"), ("a.wav", "audio")):
            (tmp_path / name).write_text("<html>404</html>")
            with pytest.raises(InputError, match=f"{name}: not a readable {kind}"):
                look(tmp_path / name)

    def test_empty_folder(self, tmp_path, look):
        with pytest.raises(InputError, match="found no frame, expected pictures"):
            look(tmp_path)

    def test_cut_file(self, tmp_path, pictures, write_video, look):
        path = write_video(tmp_path / "v.webm", pictures, "libvpx-vp9")
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(
            InputError, match=r"v\.webm: the file is truncated: found \d+ of its \d+"
        ):
            look(path)


def test_pictures_and_sound_of_a_video_have_each_their_length(tmp_path):
    path = tiny.write_film(tmp_path / "v.mp4", 2, 4)
    for facts in (probe(path), examine(path, audio=True)):
        assert facts.duration_seconds == pytest.approx(2, abs=0.01)
        assert facts.audio_seconds == pytest.approx(4, abs=0.15)
    assert AudioSignal().seconds_of(WholeFile(path)) == pytest.approx(4, abs=0.15)
    assert AudioSignal().seconds_of(WholeFile(path, 1.0, 1.5)) == 0.5


def test_the_sound_of_a_video_is_examined_where_it_is_read(tmp_path):
    path = tiny.write_film(tmp_path / "v.mp4", 1, 4)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(audio=0) if packet.pos]
    for place in places[20:60]:
        data[place : place + 24] = b"\xff" * 24
    path.write_bytes(data)
    assert examine(path).has_audio
    with pytest.raises(InputError, match=r"v\.mp4: the audio is damaged at"):
        examine(path, audio=True)


def test_length_of_an_mp3_of_two_bit_rates_is_counted_not_guessed(tmp_path, write_sound):
    parts = []
    for number, (rate, seconds) in enumerate(((16000, 2), (16000, 8))):
        tone = 0.5 * np.sin(np.arange(rate * seconds) / (5 if number else 0.7))[None]
        path = tmp_path / f"{number}.mp3"
        with av.open(
            str(path), "w", options={"write_xing": "0", "id3v2_version": "0"}
        ) as container:
            stream = container.add_stream("libmp3lame", rate=rate, layout="mono")
            stream.bit_rate = (160_000, 16_000)[number]
            for begin in range(0, tone.shape[1], 576):
                piece = tone[:, begin : begin + 576].astype(np.float32)
                frame = av.AudioFrame.from_ndarray(piece, "fltp", "mono")
                frame.sample_rate, frame.pts = rate, begin
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        parts.append(path.read_bytes())
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(b"".join(parts))
    true = examine(joined).duration_seconds
    assert true == pytest.approx(10, abs=0.3)
    assert probe(joined).duration_seconds == pytest.approx(true, abs=0.1)


def test_only_examining_finds_damage_within_a_jpeg(tmp_path):
    rows, columns = np.mgrid[0:210, 0:260]
    picture = np.stack([rows, columns, rows * columns % 256], -1).astype(np.uint8)
    picture ^= np.random.default_rng(0).integers(0, 32, picture.shape, np.uint8)
    for number in (1, 2):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), picture)
    assert examine(tmp_path).num_frames == 2
    path = tmp_path / "2.jpg"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\xff\xd9")  # its end mark is there
    assert probe(tmp_path).num_frames == 2
    with pytest.raises(InputError, match=r"2\.jpg: damaged JPEG \(\d+ bytes\)"):
        examine(tmp_path)
