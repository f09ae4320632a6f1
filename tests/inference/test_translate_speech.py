"""Translation of sound: silence, very short and long sound, and files that hold none."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from typer.testing import CliRunner

import tiny
from unglossed.cli import app
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError
from unglossed.inference.translator import SignTranslator
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.translator import Translator, TranslatorConfig

TOKENIZER = tiny.tiny_processor().tokenizer
SHORT = {"max_new_tokens": 6}
FRONTENDS = {"wav2vec2": tiny.FRONTEND, "whisper": tiny.WHISPER}


def translator(frontend: dict[str, Any], max_seconds: float | None = 1.0) -> SignTranslator:
    processor = TranslatorProcessor(
        TOKENIZER,
        language="de",
        start_token="<de>",
        audio_rate=16000,
        max_seconds=max_seconds,
    )
    return SignTranslator(tiny.tiny_speech_model(processor, frontend), processor)


def noise(num_samples: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.2, num_samples)


def silent(folder: Path) -> Path:
    return tiny.write_sound(folder / "silence.wav", np.zeros(12000))


def short(folder: Path) -> Path:
    return tiny.write_sound(folder / "short.wav", noise(800))


def one_sample(folder: Path) -> Path:
    return tiny.write_sound(folder / "one.wav", noise(1))


def no_sample(folder: Path) -> Path:
    return tiny.write_sound(folder / "none.wav", noise(0))


def empty(folder: Path) -> Path:
    (folder / "empty.wav").touch()
    return folder / "empty.wav"


def cut_off(folder: Path) -> Path:
    path = tiny.write_sound(folder / "cut.wav", noise(8000))
    path.write_bytes(path.read_bytes()[:4000])
    return path


def corrupt(folder: Path) -> Path:
    path = folder / "corrupt.wav"
    path.write_bytes(np.random.default_rng(3).bytes(3000))
    return path


def mute_video(folder: Path) -> Path:
    path = folder / "mute.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for _ in range(5):
            picture = np.full((32, 48, 3), 128, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def missing(folder: Path) -> Path:
    return folder / "missing.wav"


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_silence_and_the_shortest_sound_are_translated_where_asked(
    frontend: str, tmp_path: Path
) -> None:
    files = [make(tmp_path) for make in (silent, short, one_sample)]
    speech = translator(FRONTENDS[frontend])
    together = speech.translate(files, translate_empty=True, **SHORT)
    assert [found.media for found in together] == [str(path) for path in files]
    for path, found in zip(files, together, strict=True):
        (alone,) = speech.translate(path, translate_empty=True, **SHORT)
        assert found.text == alone.text
        # Float32, another batch.
        assert found.score == pytest.approx(alone.score, abs=1e-4)
        assert np.isfinite(found.score)


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_long_sound_is_cut_where_training_cut_it_and_said(
    frontend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = noise(16000 * 5)
    long = tiny.write_sound(tmp_path / "long.wav", samples)
    begin = tiny.write_sound(tmp_path / "begin.wav", samples[:16000])
    speech = translator(FRONTENDS[frontend])

    (cut,) = speech.translate(long, **SHORT)
    assert capsys.readouterr().err == f"note: {long}: 5.0 seconds, cut to 1.0\n"

    (whole,) = speech.translate(begin, **SHORT)
    part = Sample("part", long, "", "test", "de", start_seconds=0.0, end_seconds=1.0)
    (same,) = speech.translate(part, **SHORT)
    assert capsys.readouterr().err == ""
    assert (cut.text, cut.score) == (whole.text, whole.score) == (same.text, same.score)


def test_sound_is_cut_at_the_positions_of_the_model_if_these_are_fewer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = tiny.write_sound(tmp_path / "long.wav", noise(16000 * 5))
    speech = translator(tiny.WHISPER, max_seconds=4.0)
    (found,) = speech.translate(long, **SHORT)
    assert found.num_frames == 64  # of the language model; 1.3 seconds
    assert capsys.readouterr().err == f"note: {long}: 5.0 seconds, cut to 1.3\n"


def test_sound_leaves_room_for_a_text_as_long_as_trainings_longest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny.write_sound(tmp_path / "long.wav", noise(16000 * 5))
    found = []
    for max_tokens in (1, 9):
        processor = TranslatorProcessor(
            TOKENIZER,
            start_token="<de>",
            audio_rate=16000,
            max_seconds=5.0,
            max_tokens=max_tokens,
        )
        processor.save_pretrained(tmp_path / str(max_tokens))
        processor = TranslatorProcessor.from_pretrained(tmp_path / str(max_tokens))
        model = tiny.tiny_decoder_only(processor)
        encoder = tiny.tiny_speech_model(processor, tiny.WHISPER).config.encoder
        config = model.config.to_dict() | {"encoder": encoder}
        speech = SignTranslator(Translator(TranslatorConfig(**config)).eval(), processor)
        found.append(speech.translate(path, max_new_tokens=20)[0].num_frames)
    assert found == [94, 86]  # of 96 positions, one of which is the prompt's
    assert capsys.readouterr().err.count("cut to") == 2


def test_without_a_limit_of_the_training_too_long_sound_is_refused(tmp_path: Path) -> None:
    long = tiny.write_sound(tmp_path / "long.wav", noise(16000 * 5))
    with pytest.raises(InputError, match=r"5\.0 seconds of audio, expected at most 1\.3"):
        translator(tiny.FRONTEND, max_seconds=None).translate(long, **SHORT)


@pytest.fixture(scope="module", params=list(FRONTENDS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp(request.param)
    speech = translator(FRONTENDS[request.param])
    speech.model.save_pretrained(folder)
    speech.processor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (no_sample, "no audio"),
        (empty, "the file is empty (0 bytes)"),
        (cut_off, "the file is truncated"),
        (corrupt, "not a readable audio file"),
        (mute_video, "no audio stream (found video)"),
        (missing, "not found"),
    ],
)
def test_a_file_without_sound_is_one_line_and_the_others_are_translated(
    make: Callable[[Path], Path], said: str, model: Path, tmp_path: Path
) -> None:
    good, bad = short(tmp_path), make(tmp_path)
    words = ["translate", str(model), str(bad), str(good), "--max-new-tokens", "6"]

    result = CliRunner().invoke(app, words)

    assert result.exit_code == 2
    (line,) = [line for line in io.StringIO(result.stderr) if str(bad) in line]
    assert line.startswith(f"error: {bad}: ")
    assert said in line
    assert "Traceback" not in result.stderr
    assert result.stdout.startswith(f"{good}\t")
    assert len(result.stdout.splitlines()) == 1
