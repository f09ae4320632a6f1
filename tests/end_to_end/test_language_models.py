"""Language models from files, by the command line: a GGUF file that loads, and what does not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer
from typer.testing import CliRunner, Result

import llama_gguf
import tiny
from shrinking import shrink
from unglossed.cli import app

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus"), 4, 2, num_frames=26)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama's GGUF file of width 32, one of width 48 in a folder, and files that are neither."""
    folder = tmp_path_factory.mktemp("models")
    llama_gguf.write_llama(folder / "llama.gguf")
    content = (folder / "llama.gguf").read_bytes()
    (folder / "cut.gguf").write_bytes(content[: len(content) // 2])
    (folder / "archive.gguf").write_bytes(b"PK\x03\x04 an archive")
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file="llama.gguf")
    tokenizer.save_pretrained(folder / "wide")
    llama_gguf.tiny_llama(len(tokenizer), hidden_size=48).save_pretrained(folder / "wide")
    return folder


def train(recipe: str, corpus: str, output: Path, changes: list[str]) -> Result:
    words = ["train", recipe, "--corpus", corpus, "--output", str(output), *changes]
    return CliRunner().invoke(app, words)


def from_file(path: Path, models: Path, *changes: str) -> list[str]:
    """Changes of `demo_llm` that take tokenizer and language model from one file or folder."""
    names = ("tokenizer.pretrained", "stages.llm_fine_tuning.language_model.source")
    small = shrink("demo_llm", models)
    return [*small, *(f"{name}={path}" for name in names), *changes]


def assert_refused(result: Result, output: Path, *parts: str) -> None:
    """One `error:` line that says all of this, exit code 2, and nothing left or trained."""
    assert result.exit_code == 2, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0], lines[0]
    assert result.stdout == ""
    assert not output.exists()


def test_a_model_is_trained_and_translates_on_a_language_model_from_a_gguf_file(
    corpus: str, models: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    result = train("demo_llm", corpus, output, from_file(models / "llama.gguf", models))

    assert result.exit_code == 0, result.output
    assert (result.stdout.splitlines()[-1], result.stderr) == (str(output / "model"), "")
    clip = (
        Path(corpus.partition(":")[2]) / "PHOENIX-2014-T/features/fullFrame-210x260px/test/test-0"
    )
    said = CliRunner().invoke(app, ["translate", str(output), str(clip), "--beams=1"])
    assert said.exit_code == 0, said.output
    assert said.stdout.strip()
    assert "GGUF" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("file", "parts"),
    [
        ("archive.gguf", ["begins with b'PK", "expected a GGUF file"]),
        ("cut.gguf", ["cannot be loaded"]),
        ("none.gguf", ["No such file"]),
    ],
)
@pytest.mark.parametrize("tokenizer_from", [None, "wide"])
def test_a_wrong_file_is_one_line(
    file: str,
    parts: list[str],
    tokenizer_from: str | None,
    corpus: str,
    models: Path,
    tmp_path: Path,
) -> None:
    where = "tokenizer.pretrained"
    changes = from_file(models / file, models)
    if tokenizer_from is not None:
        where = "stages.llm_fine_tuning.language_model.source"
        changes.append(f"tokenizer.pretrained={models / tokenizer_from}")

    result = train("demo_llm", corpus, tmp_path / "run", changes)

    assert_refused(result, tmp_path / "run", where, str(models / file), *parts)


@pytest.mark.parametrize(
    ("package", "change", "parts"),
    [
        ("gguf", "seed=0", ["llama.gguf", "pip install 'unglossed[gguf]'"]),
        (
            "bitsandbytes",
            "stages.llm_fine_tuning.language_model.quantization=4bit",
            ["language_model.quantization", "pip install 'unglossed[quantization]'"],
        ),
    ],
)
def test_a_missing_extra_is_one_line(
    package: str,
    change: str,
    parts: list[str],
    corpus: str,
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as Python marks what cannot be imported
    changes = from_file(models / "llama.gguf", models, change)

    result = train("demo_llm", corpus, tmp_path / "run", changes)

    assert_refused(result, tmp_path / "run", *parts)


def test_a_language_model_of_another_width_than_the_adapter_is_one_line(
    corpus: str, models: Path, tmp_path: Path
) -> None:
    """Said before stage 1 is trained, whose adapter stage 2 shall take over; or of another run."""
    other = tiny.tiny_translator(tmp_path / "other" / "model").parent
    small = shrink("fla_llm", models)
    wide = [f"stages.llm_fine_tuning.language_model.source={models / 'wide'}"]
    told = ["stages.llm_fine_tuning.adapter.source", "width 32", "48", str(models / "wide")]
    for source in ("visual_initialing", str(other)):
        adapter: Any = [f"stages.llm_fine_tuning.adapter={{source: {source}}}"]
        result = train("fla_llm", corpus, tmp_path / "run", [*small, *wide, *adapter])
        assert_refused(result, tmp_path / "run", source, *told)


def test_a_text_encoder_of_another_width_is_one_line(
    corpus: str, models: Path, tmp_path: Path
) -> None:
    part = "stages.visual_language_pretraining.text_encoder"
    changes = [f"{part}={{config: {{model_type: mbart, d_model: 16, encoder_layers: 1}}}}"]

    result = train("gfslt_vlp", corpus, tmp_path / "run", [*shrink("gfslt_vlp", models), *changes])

    assert result.exit_code == 2
    assert "text_encoder: found width 16, expected the language model's 32" in result.stderr
    assert len([line for line in result.stderr.splitlines() if line]) == 1
