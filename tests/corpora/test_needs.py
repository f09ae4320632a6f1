"""What training needs of a corpus is told by `corpus check`, before anybody trains."""

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from unglossed.corpora.check import Report, check_corpus
from unglossed.corpora.check_media import Needs, find_unfit
from unglossed.corpora.faults import FaultKind, Severity
from unglossed.corpora.sample import Corpus, Sample
from unglossed.training.recipe import load_recipe

HEADER = "id,media,text,split,language,gloss"
SPEECH = Needs(signal="audio")
GLOSSES = Needs(glosses_for="gloss_recognition")


def write_frames(folder: Path) -> None:
    folder.mkdir()
    for number in (1, 2):
        assert cv2.imwrite(str(folder / f"{number}.png"), np.zeros((8, 8, 3), np.uint8))


def write_file(path: Path, pictures: bool, sound: bool) -> None:
    """A second of a bar that moves, of noise, or of both."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25) if pictures else None
        audio = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        if video is not None:
            video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
            for place in range(25):
                picture = np.full((32, 32, 3), 128, np.uint8)
                picture[:, place : place + 8] = 255
                container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(video.encode(None))
        if audio is not None:
            noise = np.random.default_rng(0).uniform(-0.1, 0.1, (1, 16000)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(noise, "fltp", "mono")
            frame.sample_rate = 16000
            for packet in (*audio.encode(frame), *audio.encode(None)):
                container.mux(packet)


WRITERS: dict[str, Callable[[Path], None]] = {
    "frames": write_frames,
    "silent.mp4": lambda path: write_file(path, pictures=True, sound=False),
    "both.mp4": lambda path: write_file(path, pictures=True, sound=True),
    "sound.m4a": lambda path: write_file(path, pictures=False, sound=True),
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Writes a table of rows with an id, a medium, a split, a language and glosses."""

    def write_table(*rows: tuple[str, str, str, str]) -> str:
        lines = [HEADER]
        for number, (medium, split, language, gloss) in enumerate(rows):
            path = tmp_path / f"{number}-{medium}"
            if medium in WRITERS:
                WRITERS[medium](path)
            lines.append(f"a{number},{path.name},Satz {number},{split},{language},{gloss}")
        (tmp_path / "own.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return f"table:{tmp_path / 'own.csv'}"

    return write_table


def splits_of(
    medium: str, language: str = "de", gloss: str = ""
) -> list[tuple[str, str, str, str]]:
    return [(medium, split, language, gloss) for split in ("train", "dev")]


def found(report: Report) -> dict[FaultKind, int]:
    return {kind: report.faults.count(kind) for kind in report.faults}


def only(report: Report, kind: FaultKind) -> str:
    assert found(report) == {kind: 1}
    return str(report.faults.examples(kind)[0])


@pytest.mark.parametrize("language", ["ja", "ko", "zh", "de", "hi"])
def test_a_language_that_can_be_scored_is_no_fault(write, language: str) -> None:
    assert found(check_corpus(write(*splits_of("frames", language)))) == {}


def test_a_language_that_scoring_does_not_know_is_an_error(write) -> None:
    spec = write(*splits_of("frames", "ase"))
    report = check_corpus(spec)
    text = only(report, FaultKind.UNKNOWN_LANGUAGE)
    assert text.startswith(f"{spec}: language: found 'ase', expected that of the written text")
    assert report.has_errors


@pytest.mark.parametrize(
    ("kept", "missing", "purpose"),
    [("train", "dev", "choose the best checkpoint"), ("dev", "train", "learn from")],
)
def test_a_missing_split_is_a_warning_that_says_what_train_does(
    write, kept: str, missing: str, purpose: str
) -> None:
    spec = write(("frames", kept, "de", ""), ("frames", "test", "de", ""))
    report = check_corpus(spec)
    text = only(report, FaultKind.MISSING_SPLIT)
    assert f"no split '{missing}', which `train` needs to {purpose}: it will refuse" in text
    assert f"found {kept}, test" in text
    assert not report.has_errors
    assert "0 errors, 1 warning, 0 notes: not fit to train on" in str(report)
    with_recipe = check_corpus(spec, needs=Needs())
    assert f"no split '{missing}'" in only(with_recipe, FaultKind.UNFIT)
    assert with_recipe.has_errors


@pytest.mark.parametrize(
    ("medium", "needs", "said"),
    [
        ("frames", SPEECH, "found video only in all 2 media"),
        ("silent.mp4", SPEECH, "found video only in all 2 media"),
        ("sound.m4a", Needs(), "found audio only in all 2 media"),
    ],
)
def test_a_corpus_of_another_kind_does_not_fit_the_recipe(
    write, medium: str, needs: Needs, said: str
) -> None:
    spec = write(*splits_of(medium))
    assert found(check_corpus(spec)) == {}
    text = only(check_corpus(spec, needs=needs), FaultKind.UNFIT)
    assert text.startswith(f"{spec}: {said}, such as ")
    wanted = "audio: the recipe has `audio`" if needs is SPEECH else "video: the recipe has no"
    assert wanted in text


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("needs", [None, SPEECH, Needs()])
def test_videos_with_sound_fit_both(write, needs: Needs | None, deep: bool) -> None:
    assert found(check_corpus(write(*splits_of("both.mp4")), needs=needs, deep=deep)) == {}


def test_a_clip_of_another_kind_among_many_is_named(write, tmp_path: Path) -> None:
    spec = write(*splits_of("both.mp4"), ("frames", "train", "de", ""))
    text = only(check_corpus(spec, needs=SPEECH), FaultKind.UNREADABLE_MEDIA)
    assert text.startswith(f"{tmp_path / '2-frames'}: found video only, expected audio")
    spec = write(*splits_of("both.mp4"), ("sound.m4a", "train", "de", ""))
    for needs in (None, Needs()):
        text = only(check_corpus(spec, needs=needs), FaultKind.UNREADABLE_MEDIA)
        assert text.startswith(f"{tmp_path / '2-sound.m4a'}: found audio only, expected video")


def test_a_recipe_for_glosses_needs_some_in_every_clip(write) -> None:
    spec = write(
        ("frames", "train", "de", "REGEN"),
        ("frames", "train", "de", ""),
        *splits_of("frames", gloss="WIND"),
    )
    assert found(check_corpus(spec)) == {}
    text = only(check_corpus(spec, needs=GLOSSES), FaultKind.UNFIT)
    assert text == (
        f"{spec}: found 1 of 3 train clips without glosses (first: a1), expected glosses for"
        " stages.gloss_recognition"
    )


def test_a_recipe_for_transcripts_needs_one_of_every_clip(write) -> None:
    spec = write(*splits_of("sound.m4a"))
    needs = Needs(signal="audio", transcripts_for="frontend_training")
    report = check_corpus(spec, needs=needs)
    assert found(report) == {FaultKind.UNFIT: 2}
    assert str(report.faults.examples(FaultKind.UNFIT)[0]) == (
        f"{spec}: found 1 of 1 train clips without transcripts (first: a0), expected transcripts"
        " for stages.frontend_training"
    )


def test_mixed_languages_hide_no_other_fault(write) -> None:
    spec = write(
        *splits_of("frames"),
        ("frames", "train", "en", ""),
        ("gone.mp4", "train", "de", ""),
        ("frames", "train", "en", ""),
    )
    report = check_corpus(spec)
    assert found(report) == {FaultKind.MISSING_MEDIA: 1, FaultKind.MIXED_LANGUAGES: 2}
    first = str(report.faults.examples(FaultKind.MIXED_LANGUAGES)[0])
    assert "own.csv, line 4: language 'en' beside 'de'" in first
    assert "?language=de or ?language=en" in first
    assert report.num_samples == {"train": 3, "dev": 1}
    assert report.faults.total(Severity.ERROR) == 3


def test_a_start_token_of_another_language_is_a_warning(write) -> None:
    spec = write(*splits_of("frames"))
    for token in (None, "de_DE", "<s>"):
        assert found(check_corpus(spec, needs=Needs(start_token=token))) == {}
    report = check_corpus(spec, needs=Needs(start_token="en_XX"))
    text = only(report, FaultKind.OTHER_LANGUAGE)
    assert "tokenizer.start_token: found 'en_XX', but the texts are in 'de'" in text
    assert not report.has_errors
    assert load_recipe("fla_llm_how2sign").needs.start_token == "en_XX"
    assert load_recipe("demo").needs.start_token is None


def test_one_model_is_trained_for_one_language(tmp_path: Path) -> None:
    def corpus(*languages: str) -> Corpus:
        train = [Sample(f"a{i}", tmp_path, "x", "train", code) for i, code in enumerate(languages)]
        splits = {"train": tuple(train), "dev": (Sample("b", tmp_path, "x", "dev", "de"),)}
        return Corpus("table:x.csv", tmp_path, "table", "de", splits)

    (fault,) = find_unfit(corpus("de", "en", "de"), Needs())
    assert str(fault) == (
        "table:x.csv: found texts of train and dev in several languages: de (3), en (1), expected"
        " one: choose it with ?language=de in the spec, or name all in the recipe's `languages`"
    )
    assert not list(find_unfit(corpus("de", "en", "de"), Needs(languages=("en", "de"))))
    assert not list(find_unfit(corpus("de", "de"), Needs()))
    assert not list(find_unfit(corpus("de", "en")))  # it may be evaluated on
