"""Every layout the whole way: generated, checked, counted, trained on in both stages, evaluated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

import tiny
from unglossed.cli import app
from unglossed.corpora.registry import read_corpus
from unglossed.training.callbacks import read_metrics

pytestmark = pytest.mark.slow

NUM_SENTENCES = 20
NUM_TRAIN = 14
LAYOUTS = {
    "phoenix14t": "de",
    "csl_daily": "zh",
    "how2sign": "en",
    "openasl": "en",
    "folder": "de",
    "must_c": "en",
    "broadcast": "de",
    "youtube_sl_25": "en",
    "csl_news": "zh",
    "bobsl": "en",
    "wmt_slt": "de",
    "dgs": "de",
    "hub": "en",
}
MODEL = {"light_t": {"layers": 1, "heads": 2, "width": 32, "ffn_dim": 64}}
VIDEO_ENCODER = {"backbone": tiny.ENCODER["backbone"], "temporal_dim": 24}


def run(*words: object) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def write_recipe(path: Path, layout: str) -> Path:
    """Two stages of two steps each over the split's fourteen clips."""
    common = {"batch_size": NUM_TRAIN // 2, "epochs": 1, "precision": "float32"}
    adapter = {"config": {"hidden_dim": 32}}
    is_speech = layout == "must_c"
    stages = [
        {
            "name": "first",
            "encoder": {"config": {"frontend": tiny.FRONTEND} if is_speech else VIDEO_ENCODER},
            "adapter": adapter,
            "language_model": {"config": {**MODEL, "max_position_embeddings": 600}},
            "learning_rates": {"encoder": 0.01, "adapter": 0.01, "language_model": 0.01},
            **common,
        },
        {
            "name": "second",
            "encoder": {"source": "first"},
            "adapter": adapter,
            "language_model": {"config": {**MODEL, "max_position_embeddings": 600}},
            "frozen": ["encoder"],
            "feature_views": 1,
            "learning_rates": {"adapter": 0.01, "language_model": 0.01},
            **common,
        },
    ]
    recipe: dict[str, Any] = {
        "tokenizer": {"vocab_size": 300},
        "decoding": {"max_new_tokens": 8},
        "stages": stages,
    }
    if is_speech:
        recipe["audio"] = {"audio_rate": 16000, "max_seconds": 8}
    else:
        recipe["video"] = {"resize": 36, "crop": 32}
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


def assert_clean(spec: str) -> None:
    report = json.loads(run("corpus", "check", spec, "--deep", "--workers", 1, "--json").stdout)
    found = [fault for fault in report["faults"] if fault["severity"] != "note"]
    assert not found


def train_and_evaluate(spec: str, layout: str, folder: Path) -> None:
    output = folder / "run"
    run("train", write_recipe(folder / "recipe.yaml", layout), "--corpus", spec, "--output", output)
    for stage in ("1-first", "2-second"):
        rows = read_metrics(output / stage / "metrics.jsonl")
        assert [row["step"] for row in rows if "loss" in row] == [2]
    scores = folder / "scores"
    options = ("--corpus", spec, "--split", "test", "--output", scores)
    run("evaluate", output, *options, "--beams", 2, "--max-new-tokens", 8)
    metrics = json.loads((scores / "metrics.json").read_text(encoding="utf-8"))
    samples = read_corpus(spec).split("test")
    lines = (scores / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    predictions = [json.loads(line) for line in lines]
    assert metrics["num_samples"] == len(samples) > 0
    assert [row["reference"] for row in predictions] == [sample.text for sample in samples]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_from_generation_to_scores(layout: str, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    options = ("--sentences", NUM_SENTENCES, "--level", 1, "--size", "42x52", "--workers", 1)
    spec = run("synth", root, "--layout", layout, *options).stdout.strip()

    assert spec == f"{'folder' if layout == 'broadcast' else layout}:{root}"
    corpus = read_corpus(spec)
    assert corpus.language == LAYOUTS[layout]
    expected = {"train": NUM_TRAIN, "dev": 2, "test": 2, "test_seen": 2}
    if layout == "hub":  # of a hub's folders all that begin with test are one split
        expected = {"train": NUM_TRAIN, "dev": 2, "test": 4}
    assert {name: len(rows) for name, rows in corpus.splits.items()} == expected
    assert_clean(spec)
    counted = json.loads(run("corpus", "stats", spec, "--workers", 1, "--json").stdout)
    assert counted["splits"]["train"]["num_samples"] == NUM_TRAIN
    assert 0 < counted["splits"]["train"]["hours"] < 0.1
    train_and_evaluate(spec, layout, tmp_path)


def test_a_packed_corpus_from_generation_to_scores(tmp_path: Path) -> None:
    options = ("--sentences", NUM_SENTENCES, "--level", 1, "--size", "42x52", "--workers", 1)
    source = run("synth", tmp_path / "corpus", "--layout", "how2sign", *options).stdout.strip()
    spec = run("corpus", "pack", source, tmp_path / "packed", "--workers", 1).stdout.strip()

    assert spec == f"packed:{tmp_path / 'packed'}"
    before, after = read_corpus(source), read_corpus(spec)
    assert [s.text for s in after.split("train")] == [s.text for s in before.split("train")]
    assert_clean(spec)
    train_and_evaluate(spec, "packed", tmp_path)


def test_clips_within_parquet_files_from_generation_to_scores(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    options = ("--sentences", NUM_SENTENCES, "--level", 1, "--size", "42x52", "--workers", 1)
    source = run("synth", tmp_path / "corpus", "--layout", "hub", *options).stdout.strip()
    before = read_corpus(source)
    for split, samples in before.splits.items():
        clips = [{"bytes": row.media.read_bytes(), "path": row.media.name} for row in samples]
        columns = {"video": clips, "text": [row.text for row in samples]}
        path = tmp_path / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(exist_ok=True)
        parquet.write_table(pyarrow.table(columns), path, row_group_size=10)
    spec = f"hub:{tmp_path / 'data'}?language=en"

    after = read_corpus(spec)
    assert [s.text for s in after.split("train")] == [s.text for s in before.split("train")]
    assert_clean(spec)
    train_and_evaluate(spec, "hub", tmp_path)
