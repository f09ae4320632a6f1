"""A language model learns that wordings of a text are alike, and teaches the contrast."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import normalize, pad
from transformers import LlamaConfig, MBartConfig

import tiny
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError
from unglossed.models.language_model import IGNORED
from unglossed.models.text_reader import TextReader, TextReaderConfig
from unglossed.training.callbacks import read_metrics
from unglossed.training.objectives.text_contrast import ParaphraseDataset, paraphrase_loss
from unglossed.training.train import train_recipe

PROCESSOR = tiny.tiny_processor()
TEXTS = torch.tensor([[5, 6, 2, IGNORED], [7, 8, 9, 2], [7, 2, IGNORED, IGNORED]])
LLAMA = LlamaConfig(
    vocab_size=20,
    hidden_size=8,
    intermediate_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    initializer_range=0.3,
)
MBART = MBartConfig(
    vocab_size=20,
    d_model=8,
    max_position_embeddings=16,
    init_std=0.3,
    **{f"{side}_layers": 1 for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
    **{f"{side}_ffn_dim": 16 for side in ("encoder", "decoder")},
)


def reader(config: Any, both_ways: bool = False) -> TextReader:
    torch.manual_seed(0)
    fields = {"language_model": config.to_dict(), "both_ways": both_ways}
    return TextReader(TextReaderConfig(**fields)).eval()


@pytest.mark.parametrize(("config", "both_ways"), [(LLAMA, False), (LLAMA, True), (MBART, False)])
def test_an_embedding_is_the_mean_of_states_and_padding_changes_nothing(
    config: Any, both_ways: bool
) -> None:
    model = reader(config, both_ways)
    found = model(TEXTS)

    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(model(pad(TEXTS, (0, 5), value=IGNORED)), found)
    torch.testing.assert_close(model(TEXTS[:1, :3]), found[:1])
    whole = model.language_model.model
    inner = whole.get_encoder() if config is MBART else whole.get_decoder()
    if not both_ways:
        states = inner(input_ids=TEXTS[1:2]).last_hidden_state
        torch.testing.assert_close(found[1], normalize(states[0].mean(0), dim=0))


def test_the_loss_is_the_cross_entropy_of_pairs_both_ways() -> None:
    torch.manual_seed(0)
    one, other = (normalize(torch.randn(3, 8), dim=1) for _ in range(2))
    cosines = one @ other.T / 0.1
    pairs = torch.arange(3)
    entropy = torch.nn.functional.cross_entropy
    expected = (entropy(cosines, pairs) + entropy(cosines.T, pairs)) / 2

    torch.testing.assert_close(paraphrase_loss(one, other, TEXTS, 0.1), expected)
    alike = paraphrase_loss(one, other, TEXTS[[0, 1, 1]], 0.1)  # two clips say the same
    assert not torch.isclose(alike, expected)


def sample(number: int, text: str, *references: str) -> Sample:
    return Sample(
        id=f"clip {number}",
        media=Path("x.mp4"),
        text=text,
        split="train",
        language="de",
        references=references,
    )


def test_pairs_are_a_text_and_another_wording_drawn_by_epoch_and_clip() -> None:
    first, second, third = tiny.SENTENCES
    samples = [sample(0, first), sample(1, first, second, first, third), sample(2, first, first)]
    pairs = ParaphraseDataset(samples, PROCESSOR, seed=0)

    assert [one.id for one in pairs.samples] == ["clip 1"]
    drawn = [pairs[epoch, 0] for epoch in range(12)]
    assert drawn == [pairs[epoch, 0] for epoch in range(12)]
    assert all(item["labels"] == PROCESSOR.encode_text(first) for item in drawn)
    wordings = {tuple(item["others"][0]) for item in drawn}
    assert wordings == {tuple(PROCESSOR.encode_text(text)) for text in (second, third)}


def write_table(folder: Path, *, paraphrases: bool = True) -> str:
    """A table over the frames of the miniature corpus, each text in two wordings."""
    tiny.write_corpus(folder, num_train=4, num_dev=2)
    rows = ["id,media,text,split,language,text_2"]
    for split, size in (("train", 4), ("dev", 2), ("test", 2)):
        for number in range(size):
            media = f"PHOENIX-2014-T/features/fullFrame-210x260px/{split}/{split}-{number}"
            text = f"{['regen', 'schnee', 'sonne', 'wind'][number]} im norden {split}"
            other = f"im norden {number} {text.split()[0]}" if paraphrases else ""
            rows.append(f"{split}-{number},{media},{text},{split},de,{other}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return f"table:{folder / 'clips.csv'}"


SHAPE = (
    "{model_type: llama, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1,"
    " num_attention_heads: 2, num_key_value_heads: 2, initializer_range: 0.3}"
)
BACKBONE = json.dumps(tiny.ENCODER["backbone"])
RECIPE = f"""
seed: 3
tokenizer: {{vocab_size: 120}}
video: {{frame_share: 0.5, resize: 36, crop: 32}}
decoding: {{max_new_tokens: 8}}
stages:
  - name: teacher
    objective: text_contrast
    language_model: {{config: {SHAPE}}}
    text_contrast: {{temperature: 0.05}}
    learning_rates: {{language_model: 0.01}}
    precision: float32
    batch_size: 4
    epochs: 12
  - name: visual_initialing
    encoder:
      config:
        backbone: {BACKBONE}
        temporal_dim: 24
    adapter: {{config: {{hidden_dim: 32}}}}
    language_model: {{config: {{light_t: {{layers: 1, heads: 2, width: 32, ffn_dim: 64}}}}}}
    alignment: {{source: teacher, states: true}}
    learning_rates: {{encoder: 0.01, adapter: 0.01, language_model: 0.01, alignment: 0.01}}
    precision: float32
    batch_size: 4
    epochs: 1
"""


@pytest.mark.slow
def test_a_teacher_is_tuned_and_teaches_the_contrast(tmp_path: Path) -> None:
    corpus = write_table(tmp_path / "corpus")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    lora = "{r: 2, alpha: 4, dropout: 0}"
    found = {}
    for name, changes in {
        "plain": [],
        "temperature": ["stages.teacher.text_contrast.temperature=1"],
        "both_ways": [
            "stages.teacher.text_contrast.both_ways=true",
            "stages.visual_initialing.alignment.both_ways=true",
        ],
        "lora": [f"stages.teacher.language_model.lora={lora}"],
    }.items():
        run = tmp_path / name
        train_recipe(recipe, corpus, run, overrides=changes)
        found[name] = [
            load_file(run / stage / "model" / "model.safetensors")
            for stage in ("1-teacher", "2-visual_initialing")
        ]
        rows = read_metrics(run / "1-teacher" / "metrics.jsonl")
        losses = [row["loss"] for row in rows if "loss" in row]
        if name in ("plain", "both_ways"):
            assert losses[-1] < losses[0] / 2

    plain = found["plain"]
    for name in ("temperature", "both_ways"):
        for mine, theirs in zip(found[name], plain, strict=True):
            assert mine.keys() == theirs.keys()
            assert any(not value.equal(theirs[key]) for key, value in mine.items())
    assert any(".lora_A." in key for key in found["lora"][0])
    assert found["lora"][1].keys() == plain[1].keys()


def test_a_corpus_without_paraphrases_is_refused(tmp_path: Path) -> None:
    corpus = write_table(tmp_path / "corpus", paraphrases=False)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")

    with pytest.raises(InputError, match=r"stages\.teacher: found 0 clips of train with another"):
        train_recipe(recipe, corpus, tmp_path / "run")


def test_a_paraphrase_that_is_too_long_is_told(tmp_path: Path) -> None:
    corpus = write_table(tmp_path / "corpus")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    table = tmp_path / "corpus" / "clips.csv"
    longer = table.read_text(encoding="utf-8").replace("im norden 1 schnee", "schnee " * 90)
    table.write_text(longer, encoding="utf-8")
    short = "stages.teacher.language_model.config.max_position_embeddings=40"

    with pytest.raises(InputError, match=r"stages\.teacher\.language_model: found a reference of"):
        train_recipe(recipe, corpus, tmp_path / "run", overrides=[short])
