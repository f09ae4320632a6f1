"""What is no path, no text and no number is refused in Python in one line, before any work."""

import io
from pathlib import Path

import numpy as np
import pytest

import unglossed
from tiny import tiny_model, tiny_processor, write_frames
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError


@pytest.fixture(scope="module")
def translator() -> unglossed.SignTranslator:
    return unglossed.SignTranslator(tiny_model(tiny_processor()), tiny_processor())


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return write_frames(tmp_path_factory.mktemp("clips") / "clip", 9)


FRAMES = np.zeros((4, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("media", "told"),
    [
        (FRAMES, r"clip 1: found ndarray of shape \(4, 8, 8, 3\) \(frames in memory"),
        ([FRAMES], r"clip 1: found ndarray of shape"),
        (None, "media: found NoneType, expected a path"),
        ([None], "clip 1: found NoneType"),
        (b"clip.mp4", "media: found bytes"),
        ([b"clip.mp4"], "clip 1: found bytes"),
        (io.BytesIO(b""), "media: found an open file"),
        ([io.BytesIO(b"")], "clip 1: found an open file"),
        (7, "media: found int"),
        ({"clip.mp4": 1}, "media: found dict"),
    ],
)
def test_media_that_are_no_paths_are_named(translator, media, told: str) -> None:
    with pytest.raises(InputError, match=told):
        translator.translate(media)


@pytest.mark.parametrize("name", ["a\0b.mp4", "\ud800.mp4"])
def test_names_that_no_file_can_have_are_not_found(translator, name: str) -> None:
    with pytest.raises(InputError, match="not found, expected a video file"):
        translator.translate(name)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"batch_size": 0}, "batch_size: found 0, expected a whole number from 1 on"),
        ({"batch_size": 2.5}, "batch_size: found 2.5, expected a whole number"),
        ({"batch_size": None}, "batch_size: found None"),
        ({"batch_size": 10**21}, "expected at most 4096: the clips of a batch are in memory"),
        ({"n_best": True}, "n_best: found True, expected a whole number"),
        ({"beams": 100_000}, "beams"),
        ({"beams": "five"}, "beams"),
        ({"max_new_tokens": 10**9}, "max_new_tokens"),
        ({"frame_rate": "fast"}, "frame_rate: found 'fast'"),
        ({"colour": 1}, "colour"),
    ],
)
def test_settings_out_of_range_are_named(translator, clip: Path, settings, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        translator.translate(clip, **settings)
    assert "\n" not in str(caught.value)


def test_any_row_of_paths_is_taken(translator, clip: Path) -> None:
    options = {"beams": 1, "max_new_tokens": 3}
    (expected,) = translator.translate(str(clip), **options)
    for media in ([clip], (clip,), iter([clip]), {clip}):
        assert translator.translate(media, **options) == [expected]
    assert translator.translate([], **options) == []


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: unglossed.load(None), "model: found NoneType, expected a path"),
        (lambda: unglossed.load(b"run"), "model: found bytes"),
        (lambda: unglossed.load(""), "model: found an empty text"),
        (lambda: unglossed.load("a\0b"), r"model: found 'a\\x00b', expected a path"),
        (lambda: unglossed.train("demo", "table:x", "\ud800"), r"output: found '\\ud800'"),
        (lambda: unglossed.score(["a"], ["a"], None), "language: found None, expected a code"),
        (lambda: unglossed.score({"a": "b"}, ["a"], "de"), "hypotheses: found dict, expected"),
        (lambda: unglossed.score(["a", "b"], {"a", "b"}, "de"), "references: found set, expected"),
        (lambda: read_corpus(None), "corpus: found NoneType, expected a text kind:path"),
        (lambda: read_corpus(Path("data")), "corpus: found .*Path"),
        (lambda: unglossed.load_recipe(None), "recipe: found NoneType"),
        (lambda: unglossed.load_recipe("demo", "seed=1"), "overrides: found 'seed=1'"),
        (lambda: unglossed.train("demo", None, "run"), "corpus: found NoneType"),
        (lambda: unglossed.train("demo", "table:x", 3), "output: found int"),
        (lambda: unglossed.evaluate("run", None, "test", "out"), "corpus: found NoneType"),
        (lambda: unglossed.evaluate("run", "table:x", "test", None), "output: found NoneType"),
        (lambda: unglossed.evaluate("run", "table:x", "test", "o", batch_size=0), "batch_size"),
    ],
)
def test_every_public_function_names_what_it_cannot_use(call, told: str, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=told) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
