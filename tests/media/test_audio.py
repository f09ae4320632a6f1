import re
import wave

import av
import numpy as np
import pytest

from unglossed.errors import InputError
from unglossed.media.audio import AUDIO_SUFFIXES, audio_seconds, read_audio

RATE = 16000
A_MILLISECOND = 0.35  # is as much of a change in `tones`


def tones(rate, seconds=10.0):
    """A low and a middle tone, louder and softer by turns: (1, n)."""
    times = np.arange(round(seconds * rate)) / rate
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 0.7 * times)
    return (swell * (0.3 * np.sin(2 * np.pi * 50 * times) + 0.2 * np.sin(1234.5 * times)))[None]


def write_wav(path, samples, rate=RATE):
    """16-bit samples (n, channels), written without PyAV."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


@pytest.fixture
def whole_numbers():
    return np.random.default_rng(0).integers(-32768, 32768, (5 * RATE, 1))


def test_wav_is_read_to_the_bit(tmp_path, whole_numbers):
    path = write_wav(tmp_path / "a.wav", whole_numbers)
    sound = read_audio(path)
    assert sound.dtype == np.float32
    assert (sound * 32768 == whole_numbers[:, 0]).all()


def test_segments_of_a_wav_are_exact_to_the_sample(tmp_path, whole_numbers):
    path = write_wav(tmp_path / "a.wav", whole_numbers)
    random = np.random.default_rng(0)
    for _ in range(50):
        first = int(random.integers(0, 4 * RATE))
        last = first + int(random.integers(1, RATE))
        part = read_audio(path, RATE, first / RATE, last / RATE)
        assert (part * 32768 == whole_numbers[first:last, 0]).all()


def test_channels_are_averaged(tmp_path):
    pair = np.repeat([[1000, -3000]], 2000, axis=0)
    assert (read_audio(write_wav(tmp_path / "a.wav", pair)) * 32768 == -1000).all()


def test_eight_bits_have_their_zero_in_the_middle(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 1, RATE, 0, "NONE", ""))
        file.writeframes(bytes([128, 0, 255, 192] * 500))
    assert read_audio(tmp_path / "a.wav")[:4].tolist() == [0, -1, 127 / 128, 0.5]


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_resampled_tone_is_the_tone_at_the_new_rate(tmp_path, rate):
    path = write_wav(tmp_path / "a.wav", np.round(tones(rate, 2.0).T * 32767), rate)
    sound = read_audio(path)
    assert len(sound) == 2 * RATE
    inner = slice(200, -200)  # what is before and after the file is not known
    assert np.abs(sound[inner] - tones(RATE, 2.0)[0, inner]).max() < 2e-3


def test_nothing_is_louder_than_one(tmp_path):
    square = np.where(np.arange(44100) // 30 % 2, 32767, -32768)[:, None]
    sound = read_audio(write_wav(tmp_path / "a.wav", square, 44100))
    assert np.abs(sound).max() == 1.0


@pytest.mark.parametrize(
    ("name", "codec", "rate", "near"),
    [
        ("a.wav", "pcm_s24le", 44100, 1e-6),
        ("a.wav", "pcm_f32le", 48000, 1e-6),
        ("a.flac", "flac", 44100, 1e-6),
        ("a.mp3", "libmp3lame", 44100, 1e-6),
        ("a.opus", "libopus", 48000, 1e-6),
        ("a.m4a", "aac", 44100, 5e-3),
        ("a.mov", "pcm_s16le", 22050, 1e-6),
        ("a.webm", "libopus", 48000, A_MILLISECOND),
        ("a.mka", "aac", 44100, A_MILLISECOND),
    ],
)
def test_a_segment_is_what_it_is_in_the_whole(tmp_path, write_sound, name, codec, rate, near):
    path = write_sound(tmp_path / name, tones(rate), codec, rate)
    whole = read_audio(path)
    assert len(whole) / RATE == pytest.approx(10, abs=0.05)
    lag = 372 if name == "a.m4a" else 0  # what AAC adds in front; this file has no mark for it
    told = np.corrcoef(whole[lag : lag + 9 * RATE], tones(RATE)[0, : 9 * RATE])[0, 1]
    assert told > 0.98
    random = np.random.default_rng(0)
    for start in (0.0, 0.01, 1.5, 9.9, *random.uniform(0, 9.5, 16)):
        end = start + random.uniform(0.02, 3.0)
        part = read_audio(path, RATE, start, end)
        expected = whole[round(start * RATE) : round(end * RATE)]
        assert abs(len(part) - len(expected)) <= RATE * 0.001
        shared = min(len(part), len(expected))
        assert np.abs(part[:shared] - expected[:shared]).max() < near


def write_film(path, delay=0.0, left_out=(0.0, 0.0)):
    """Two seconds of pictures with a tone that starts late, and with a part left out."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for _ in range(50):
            picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")
            container.mux(video.encode(picture))
        container.mux(video.encode())
        tone = np.round(tones(RATE, 2.0) * 32767).astype(np.int16)
        for begin in range(0, 2 * RATE, 1600):
            if not left_out[0] <= begin / RATE < left_out[1]:
                piece = av.AudioFrame.from_ndarray(tone[:, begin : begin + 1600], "s16", "mono")
                piece.sample_rate, piece.pts = RATE, begin + round(delay * RATE)
                container.mux(audio.encode(piece))
        container.mux(audio.encode())
    return path


def test_sound_of_a_video(tmp_path):
    sound = read_audio(write_film(tmp_path / "v.mkv"))
    assert np.abs(sound - tones(RATE, 2.0)[0]).max() < 1e-4


def test_sound_that_starts_late_keeps_its_time(tmp_path):
    path = write_film(tmp_path / "v.mkv", delay=0.5)
    sound = read_audio(path)
    assert not sound[: RATE // 2].any()
    assert np.abs(sound[RATE // 2 :] - tones(RATE, 2.0)[0]).max() < 1e-4
    assert (read_audio(path, RATE, 0.4, 1.0) == sound[6400:16000]).all()


def test_hole_is_silent_and_what_follows_keeps_its_time(tmp_path):
    path = write_film(tmp_path / "v.mkv", left_out=(0.8, 1.2))
    expected = tones(RATE, 2.0)[0]
    expected[round(0.8 * RATE) : round(1.2 * RATE)] = 0
    assert np.abs(read_audio(path) - expected).max() < 1e-4
    part = read_audio(path, RATE, 1.0, 1.6)
    assert np.abs(part - expected[RATE : round(1.6 * RATE)]).max() < 1e-4


def test_times_past_the_end_are_cut(tmp_path, whole_numbers):
    path = write_wav(tmp_path / "a.wav", whole_numbers)
    assert len(read_audio(path, RATE, 4.5, 60.0)) == RATE // 2
    assert len(read_audio(path, RATE, 4.5)) == RATE // 2
    assert len(read_audio(path, RATE, None, 0.25)) == RATE // 4
    assert len(read_audio(path, RATE, -3.0, 0.25)) == RATE // 4


@pytest.mark.parametrize(("start", "end"), [(7.0, 9.0), (5.0, None), (2.0, 2.0), (3.0, 1.0)])
def test_part_without_sound_is_refused(tmp_path, whole_numbers, start, end):
    path = write_wav(tmp_path / "a.wav", whole_numbers)
    with pytest.raises(InputError) as error:
        read_audio(path, RATE, start, end)
    told = "its end" if end is None else f"{end:g} seconds"
    expected = f"no audio between {start:g} seconds and {told}: the file is 5.00 seconds long"
    assert str(error.value) == f"{path}: {expected}"


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("rate", [RATE, 48000])
def test_samples_that_are_no_numbers_are_damage(tmp_path, write_sound, rate, value):
    samples = tones(rate, 2.0)
    samples[0, rate : rate + 100] = value
    path = write_sound(tmp_path / "a.wav", samples, "pcm_f32le", rate)
    for read in (read_audio, audio_seconds):
        with pytest.raises(
            InputError, match=r"damaged at \d\.\d+ seconds: found samples that are NaN"
        ):
            read(path)
    assert len(read_audio(path, RATE, 0.0, 0.5)) == RATE // 2


def test_length(tmp_path, whole_numbers, write_sound):
    assert audio_seconds(write_wav(tmp_path / "a.wav", whole_numbers)) == 5
    assert audio_seconds(write_sound(tmp_path / "a.opus", tones(48000), "libopus", 48000)) == 10


def test_suffixes_are_lower_case_with_a_dot():
    assert {".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a"} <= AUDIO_SUFFIXES
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in AUDIO_SUFFIXES)


@pytest.mark.parametrize("function", [read_audio, audio_seconds])
class TestWhatIsNoSound:
    def refused(self, function, path):
        """The message with which a file is refused: one line that names it."""
        with pytest.raises(InputError) as error:
            function(path)
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)
        return str(error.value)

    def test_missing(self, tmp_path, function):
        assert re.search(
            "not found, expected a file with audio", self.refused(function, tmp_path / "a.wav")
        )

    def test_zero_bytes(self, tmp_path, function):
        (tmp_path / "a.wav").touch()
        assert re.search(
            r"the file is empty \(0 bytes\)", self.refused(function, tmp_path / "a.wav")
        )

    def test_no_sound_at_all(self, tmp_path, function):
        (tmp_path / "a.wav").write_text("hello " * 100)
        message = self.refused(function, tmp_path / "a.wav")
        assert re.search("not a readable audio file", message)

    def test_silent_video(self, tmp_path, function, pictures, write_video):
        path = write_video(tmp_path / "v.mp4", pictures)
        message = self.refused(function, path)
        assert re.search(r"no audio stream \(found video\)", message)

    @pytest.mark.parametrize(
        ("name", "codec"), [("a.wav", "pcm_s16le"), ("a.m4a", "aac"), ("a.mka", "aac")]
    )
    def test_cut_file(self, tmp_path, function, write_sound, name, codec):
        path = write_sound(tmp_path / name, tones(RATE), codec)
        path.write_bytes(path.read_bytes()[:-5000])
        assert re.search(
            r"the file is truncated: found \d+ of its \d+ bytes", self.refused(function, path)
        )

    @pytest.mark.parametrize("name", ["a.flac", "a.m4a"])
    def test_damaged_file(self, tmp_path, function, write_sound, name):
        codec = {"a.flac": "flac", "a.m4a": "aac"}[name]
        path = write_sound(tmp_path / name, tones(RATE), codec)
        data = bytearray(path.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 4000] = bytes(4000)
        path.write_bytes(data)
        message = self.refused(function, path)
        assert re.search(r"the audio is damaged at \d\.\d\d seconds", message)

    def test_flac_that_ends_early(self, tmp_path, function, write_sound):
        path = write_sound(tmp_path / "a.flac", tones(RATE), "flac")
        with av.open(str(path)) as container:
            packets = [packet for packet in container.demux() if packet.size]
        path.write_bytes(path.read_bytes()[: -sum(packet.size for packet in packets[-2:])])
        assert re.search(
            r"the audio ends after \d\.\d+ seconds, expected 10\.00 as its",
            self.refused(function, path),
        )


@pytest.mark.parametrize("unknown", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_wav_that_was_written_to_a_pipe_has_no_length(tmp_path, whole_numbers, unknown):
    path = write_wav(tmp_path / "a.wav", whole_numbers)
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = unknown.to_bytes(4, "little")
    path.write_bytes(data)
    assert (read_audio(path) * 32768 == whole_numbers[:, 0]).all()
