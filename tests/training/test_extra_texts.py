"""Further texts of a recipe: a file, or what the generator draws as recipes had it before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import tiny
from shrinking import shrink
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Corpus
from unglossed.errors import InputError
from unglossed.training.recipe import load_recipe
from unglossed.training.run import Run
from unglossed_synth.saying import draw_texts


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return read_corpus(tiny.write_corpus(tmp_path_factory.mktemp("corpus"), 2, 1))


def run(corpus: Corpus, folder: Path, change: str) -> Run:
    return Run(load_recipe("demo", [*shrink("demo", folder / "models"), change]), corpus, folder)


def test_a_tokenizer_and_a_language_model_are_trained_on_them(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [sample.text for sample in corpus.split("train")]
    file = tmp_path / "own.txt"
    file.write_text(f"zebras  \n\n{said[0]}\n xylophone\n", encoding="utf-8")

    found = run(corpus, tmp_path / "run", f"extra_texts={file}")

    assert found.texts == [*said, "zebras", "xylophone"]
    assert "extra_texts: 1 of 3 texts are left out: a clip" in capsys.readouterr().err
    plain = run(corpus, tmp_path / "plain", "extra_texts=null")
    assert plain.texts == said
    knows = ["x" in one.processor.tokenizer.get_vocab() for one in (found, plain)]
    assert knows == [True, False]


def test_a_resume_goes_on_with_the_texts_of_its_begin(corpus: Corpus, tmp_path: Path) -> None:
    file = tmp_path / "own.txt"
    file.write_text("zebras\n", encoding="utf-8")
    first = run(corpus, tmp_path / "run", f"extra_texts={file}")
    file.write_text("xylophone\n", encoding="utf-8")
    assert run(corpus, tmp_path / "run", f"extra_texts={file}").texts == first.texts


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "No such file"), (b"\xff\xfe", "cannot be read"), (b"\n \n", "found no text")],
)
def test_a_file_without_texts_is_one_line(
    content: bytes | None, told: str, corpus: Corpus, tmp_path: Path
) -> None:
    file = tmp_path / "own.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=rf"^extra_texts: {file}: .*{told}") as caught:
        run(corpus, tmp_path / "run", f"extra_texts={file}")
    assert "\n" not in str(caught.value)


def test_the_generator_still_draws_them_in_its_languages(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = "generated_text={num_sentences: 3, level: 1, seed: 7}"
    said = {sample.text for samples in corpus.splits.values() for sample in samples}

    found = run(corpus, tmp_path / "run", drawn)

    assert found.texts[2:] == draw_texts("de", 1, 3, 7, exclude=said)
    assert f"{drawn}: generated_text is now called extra_texts" in capsys.readouterr().err


def test_a_language_that_the_generator_lacks_is_told(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = {
        name: tuple(replace(sample, language="fr") for sample in samples)
        for name, samples in corpus.splits.items()
    }
    drawn = "extra_texts={num_sentences: 3, level: 1}"
    assert len(run(replace(corpus, splits=splits), tmp_path / "run", drawn).texts) == 2
    told = "note: extra_texts: has no effect: the generator writes en, de, zh, not fr"
    assert told in capsys.readouterr().err
