"""Settings of the search: out of range, beside a model, on the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tiny import tiny_translator, write_corpus, write_frames
from unglossed.cli import app
from unglossed.config import DecodingSettings, write_settings
from unglossed.errors import InputError
from unglossed.evaluation.evaluate import evaluate
from unglossed.inference.search import DECODING_FILE
from unglossed.inference.translator import SignTranslator

OWN = DecodingSettings(beams=2, max_new_tokens=7, language_contrast=0.5)


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with decoding settings of its own beside it."""
    folder = tiny_translator(tmp_path / "run" / "model")
    write_settings(OWN, folder / DECODING_FILE)
    return folder


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"beams": 0}, r"beams: found 0: Input should be greater than or equal to 1"),
        ({"max_new_tokens": 0}, "max_new_tokens: found 0"),
        ({"length_penalty": float("nan")}, "length_penalty: found nan"),
        ({"language_contrast": -0.1}, "language_contrast: found -0.1"),
        ({"language_contrast": float("inf")}, "language_contrast: found inf"),
        ({"sample": True, "temperature": 0}, "temperature: found 0"),
        ({"sample": True, "top_p": 0}, "top_p: found 0"),
        ({"sample": True, "top_p": 1.5}, "top_p: found 1.5"),
        ({"seed": -1}, "seed: found -1"),
        ({"temperature": 0.5}, "temperature is for drawing texts: set sample as well"),
        ({"top_p": 0.5}, "top_p is for drawing texts: set sample as well"),
        ({"num_beams": 2}, "num_beams: no such key"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_line(fields, message) -> None:
    with pytest.raises(InputError, match=message) as caught:
        DecodingSettings().change(**fields)
    assert str(caught.value).startswith("decoding: ")
    assert "\n" not in str(caught.value)


def test_changed_settings_keep_the_others() -> None:
    changed = OWN.change(beams=3)
    assert (changed.beams, changed.max_new_tokens, changed.language_contrast) == (3, 7, 0.5)
    assert OWN.beams == 2


def test_a_model_searches_as_its_own_settings_say(model: Path, tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "clip", 12)
    translator = SignTranslator.from_pretrained(model.parent)
    assert translator.decoding == OWN
    (own,) = translator.translate(clip, n_best=2)
    (model / DECODING_FILE).unlink()
    plain = SignTranslator.from_pretrained(model)
    assert plain.decoding == DecodingSettings()
    fields = {"beams": 2, "max_new_tokens": 7, "language_contrast": 0.5}
    assert plain.translate(clip, n_best=2, **fields) == [own]
    assert plain.translate(clip, n_best=2, **fields | {"language_contrast": 0}) != [own]


def test_settings_beside_a_model_that_are_none_are_refused(model: Path) -> None:
    (model / DECODING_FILE).write_text("beams: many\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"decoding\.yaml: beams: found 'many'"):
        SignTranslator.from_pretrained(model)


def test_evaluate_hands_its_settings_on(model: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    texts = {}
    for name, fields in {
        "own": {},
        "same": {"language_contrast": 0.5},
        "other": {"language_contrast": 0.0, "max_new_tokens": 3},
    }.items():
        evaluate(model, corpus, "test", tmp_path / name, **fields)
        texts[name] = (tmp_path / name / "predictions.jsonl").read_text(encoding="utf-8")
    assert texts["own"] == texts["same"] != texts["other"]
    with pytest.raises(InputError, match="decoding: beam: no such key"):
        evaluate(model, corpus, "test", tmp_path / "wrong", beam=3)


def test_options_of_translate_reach_the_search(model: Path, tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "clip", 12)
    translator = SignTranslator.from_pretrained(model)

    def told(*options: object) -> list[str]:
        result = run("translate", model, clip, "--format", "json", "--n-best", 2, *options)
        assert result.exit_code == 0, result.output
        return [one["text"] for one in json.loads(result.stdout)[0]["n_best"]]

    def expected(**fields: object) -> list[str]:
        return [one.text for one in translator.translate(clip, n_best=2, **fields)[0].n_best]

    assert told() == expected()
    contrasted = ("--language-contrast", 2, "--beams", 3, "--max-new-tokens", 5)
    assert told(*contrasted) == expected(language_contrast=2, beams=3, max_new_tokens=5)
    drawn = ("--sample", "--temperature", 1.5, "--top-p", 0.9, "--seed", 4)
    assert told(*drawn) == expected(sample=True, temperature=1.5, top_p=0.9, seed=4)
    assert told("--sample", "--seed", 4) != told("--sample", "--seed", 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--temperature", 0.7), "decoding: temperature is for drawing texts: set sample as well"),
        (("--sample", "--top-p", 2), "decoding: top_p: found 2.0"),
        (("--language-contrast", -1), "decoding: language_contrast: found -1.0"),
        (("--n-best", 4), "n_best: found 4, expected at most the 2 beams"),
    ],
)
def test_options_out_of_range_are_one_line(model: Path, tmp_path: Path, options, message) -> None:
    result = run("translate", model, write_frames(tmp_path / "clip", 6), *options)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {message}")


def test_evaluate_takes_a_contrast(model: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    options = ("--corpus", corpus, "--beams", 1, "--max-new-tokens", 9)
    texts = set()
    for strength in (0, 3):
        output = tmp_path / f"scores-{strength}"
        result = run(
            "evaluate", model, *options, "--output", output, "--language-contrast", strength
        )
        assert result.exit_code == 0, result.output
        texts.add((output / "predictions.jsonl").read_text(encoding="utf-8"))
    assert len(texts) == 2


def test_beams_are_not_for_drawing(model: Path) -> None:
    result = run("translate", model, "clip", "--sample", "--beams", 3)
    assert result.exit_code == 2
    assert "--beams is for beam search, not for sampling" in result.stderr


def test_a_folder_of_clips_is_hinted_at(model: Path, tmp_path: Path) -> None:
    write_frames(tmp_path / "clips" / "a", 4)
    result = run("translate", model, tmp_path / "clips")
    assert result.exit_code == 2
    assert f"each clip has to be named, as {tmp_path / 'clips' / 'a'}" in result.stderr


def test_a_folder_of_videos_and_a_table_are_hinted_at(model: Path, tmp_path: Path) -> None:
    folder, table = tmp_path / "talks", tmp_path / "clips.csv"
    folder.mkdir()
    (folder / "one.mp4").touch()
    table.write_text("id,media,text,split\n", encoding="utf-8")
    result = run("translate", model, folder, table)
    assert result.exit_code == 2
    assert f"each clip has to be named, as {folder / 'one.mp4'}" in result.stderr
    assert f"{table}: is a table, expected a video" in result.stderr
    assert f"reads the clips that it lists as table:{table}" in result.stderr
