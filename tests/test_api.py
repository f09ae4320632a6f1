"""The Python API: its examples give what they say, and clips may come from anywhere."""

import doctest
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import unglossed
from moving import draw_moving, write_moving
from tiny import edit, tiny_model, tiny_processor, tiny_speech_model, write_corpus, write_frames
from unglossed.errors import InputError
from unglossed.media.frames import read_frames

TEXT = "morgen regnet es im norden"
RECIPE = Path(__file__).parent / "end_to_end" / "tiny.yaml"


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> SimpleNamespace:
    """What the examples use: a model that learned one sentence, a clip, a corpus, a recipe."""
    root = tmp_path_factory.mktemp("api")
    torch.manual_seed(0)
    processor = tiny_processor()
    model = tiny_model(processor)
    labels = torch.tensor([processor.encode_text(TEXT)])
    features = torch.randn(1, 5, 24)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        inputs = features + torch.randn_like(features)
        logits = model(features=inputs, mask=torch.ones(1, 5).bool(), labels=labels).logits
        torch.nn.functional.cross_entropy(logits[0], labels[0]).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().save_pretrained(root / "model")
    processor.save_pretrained(root / "model")
    recipe = root / "recipe.yaml"
    recipe.write_text(RECIPE.read_text(encoding="utf-8"), encoding="utf-8")
    for epochs in ("epochs: 2", "epochs: 3"):
        edit(recipe, epochs, "epochs: 1")
    clip = write_frames(root / "clip", 9)
    moving = [(5.0, 7.0), (9.0, 11.0)]
    camera = [(number / 12.5, one) for number, one in enumerate(draw_moving(moving, 13.0, 12.5))]
    return SimpleNamespace(
        unglossed=unglossed,
        model=root / "model",
        clip=clip,
        frames=read_frames(clip),
        recording=write_moving(root / "talk.mp4", moving, 13.0),
        camera=camera,
        corpus=write_corpus(root / "corpus"),
        recipe=recipe,
    )


@pytest.mark.parametrize(
    "name",
    [
        *("load", "translate", "stream", "translate_frames", "read_corpus", "Sample"),
        *("train", "evaluate", "score", "SentenceTranslator", "LiveTranslator"),
        *(f"SignTranslator.{name}" for name in ("translate", "stream", "translate_frames")),
    ],
)
def test_examples_of_the_documentation(names, tmp_path: Path, name: str) -> None:
    described = unglossed
    for part in name.split("."):
        described = getattr(described, part)
    globs = vars(names) | {"output": tmp_path}
    (example,) = doctest.DocTestFinder(recurse=False).find(described, name, globs=globs)
    assert example.examples, f"{name} has no example"
    told: list[str] = []
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    results = doctest.DocTestRunner(optionflags=flags).run(example, out=told.append)
    assert not results.failed, "".join(told)


@pytest.fixture(scope="module")
def translator(names) -> unglossed.SignTranslator:
    return unglossed.load(names.model)


def test_loading_shows_no_progress_bar(names, capfd) -> None:
    unglossed.load(names.model)
    assert capfd.readouterr() == ("", "")


def test_a_stream_reads_no_further_than_a_batch(translator, tmp_path: Path) -> None:
    given: list[int] = []

    def clips():
        for number in count():
            given.append(number)
            yield write_frames(tmp_path / str(number), 4 + number, seed=number)

    stream = translator.stream(clips(), batch_size=2)
    assert not given
    first = [next(stream) for _ in range(3)]
    assert len(given) == 4
    expected = translator.translate([tmp_path / str(number) for number in range(3)], batch_size=2)
    assert [one.media for one in first] == [one.media for one in expected]
    assert [one.text for one in first] == [one.text for one in expected]
    assert [one.score for one in first] == pytest.approx([one.score for one in expected], abs=1e-5)


def test_a_stream_leaves_out_what_cannot_be_read_and_goes_on(translator, names, tmp_path) -> None:
    failed: list[str] = []
    clips = [names.clip, tmp_path / "none.mp4", names.clip, 7]
    stream = translator.stream(
        iter(clips), on_error=lambda name, error: failed.append(name), batch_size=1
    )
    assert [next(stream).media, next(stream).media] == [str(names.clip)] * 2
    assert failed == [str(tmp_path / "none.mp4")]
    with pytest.raises(InputError, match="media, clip 4: found int"):
        next(stream)


def test_settings_of_a_stream_are_refused_before_the_first_clip(translator) -> None:
    with pytest.raises(InputError, match="batch_size: found 0"):
        translator.stream(iter([]), batch_size=0)


@pytest.mark.parametrize("fps", [12, 25, 29.97, 60])
def test_frames_in_memory_are_thinned_as_those_of_a_folder(translator, names, fps) -> None:
    (expected,) = translator.translate(names.clip, frame_rate=fps)
    found = translator.translate_frames(names.frames, fps, name=str(names.clip))
    assert found == expected
    assert translator.translate_frames(iter(names.frames), fps, name=str(names.clip)) == expected


GREY = np.zeros((4, 40, 30), np.uint8)
FRAMES = np.zeros((4, 40, 30, 3), np.uint8)


@pytest.mark.parametrize(
    ("frames", "fps", "told"),
    [
        (GREY, 25, r"frames, frame 1: found uint8 of shape \(40, 30\), expected \(n, height"),
        (FRAMES / 255, 25, "frame 1: found float64 of shape"),
        (FRAMES[:0], 25, "frames: found none"),
        (FRAMES[0], 25, r"frame 1: found uint8 of shape \(30, 3\)"),
        ([FRAMES[0], FRAMES[0, :20]], 25, r"frame 2: found shape \(20, 30, 3\), expected \(40"),
        ("clip.mp4", 25, "frames: found str"),
        (None, 25, "frames: found NoneType"),
        (FRAMES, 0, "fps: found '0', expected pictures per second, 1 to 1000"),
        (FRAMES, None, "fps: found 'None'"),
        (np.repeat(FRAMES, 200, 0), 25, "expected at most .* for this model"),
    ],
)
def test_frames_that_cannot_be_translated_are_told(translator, frames, fps, told: str) -> None:
    with pytest.raises(InputError, match=told):
        translator.translate_frames(frames, fps)


def test_a_model_of_speech_takes_no_frames() -> None:
    processor = tiny_processor()
    processor.audio_rate = 16000
    speech = unglossed.SignTranslator(tiny_speech_model(processor), processor)
    with pytest.raises(InputError, match="frames: the model reads audio"):
        speech.translate_frames(FRAMES, 25)


def test_a_translation_prints_what_one_looks_for(translator, names) -> None:
    assert repr(translator.translate(names.clip)[0]).startswith(f"Translation({TEXT!r}, score=-")
    empty = translator.translate_frames(FRAMES, 25, on_note=lambda *_: None)
    assert repr(empty) == "Translation('', reason='black', media='frames')"
