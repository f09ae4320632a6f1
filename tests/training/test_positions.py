"""Texts that are longer than the language model that is to learn them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import MBartConfig

import tiny
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError
from unglossed.training.plan import plan_stages
from unglossed.training.settings import StageSettings
from unglossed.training.tokenizer import check_text_lengths

PROCESSOR = tiny.tiny_processor()
BACKBONE = tiny.ENCODER["backbone"]
SHAPE = {"light_t": {"layers": 1, "heads": 2, "width": 32, "ffn_dim": 64}}
LONG = "im norden schneit es " * 8
TOKENS = len(PROCESSOR.encode_text(LONG))


def stage(name: str, language_model: dict[str, Any], objective: str = "translation") -> Any:
    parts = {"language_model": language_model}
    if objective == "translation":
        parts |= {"encoder": {"config": {"backbone": BACKBONE}}, "adapter": {}}
    rates = dict.fromkeys(parts, 0.1)
    settings = {"name": name, "objective": objective, "learning_rates": rates, **parts}
    return StageSettings.model_validate(settings | {"epochs": 1, "batch_size": 1})


def check(*stages: StageSettings, text: str = LONG) -> None:
    clip = Sample(id="a7", media=Path("a7.mp4"), text=text, split="train", language="de")
    plans = plan_stages(stages, PROCESSOR)
    check_text_lengths([plans[stages[-1].name]], [clip], [text])


def test_a_text_may_fill_all_positions_and_no_more() -> None:
    check(stage("one", {"config": {**SHAPE, "max_position_embeddings": TOKENS}}))
    with pytest.raises(InputError) as caught:
        check(stage("one", {"config": {**SHAPE, "max_position_embeddings": TOKENS - 1}}))
    assert str(caught.value).startswith(
        f"stages.one.language_model: clip 'a7' has {TOKENS} tokens with the end token, expected at"
        f" most the {TOKENS - 1} positions"
    )


def test_a_stage_that_inherits_its_language_model_has_the_same_limit(tmp_path: Path) -> None:
    MBartConfig(max_position_embeddings=TOKENS - 1).save_pretrained(tmp_path)
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    first = stage("one", {"source": str(tmp_path)}, "denoising")
    for stages in ([first], [first, stage("two", {"source": "one"})]):
        with pytest.raises(InputError, match=f"stages.{stages[-1].name}.*{TOKENS - 1} positions"):
            check(*stages)
    check(first, text="im norden")


def test_a_model_with_relative_positions_has_no_limit() -> None:
    with pytest.raises(InputError, match="the 20 positions"):
        check(stage("one", {"config": {**SHAPE, "max_position_embeddings": 20}}), text=LONG * 9)
    check(stage("one", {"config": {"model_type": "t5"}}), text=LONG * 9)


def test_a_prompt_less_decoder_has_its_own() -> None:
    shape = {"model_type": "llama", "max_position_embeddings": 20, "num_hidden_layers": 1}
    with pytest.raises(InputError, match="the 20 positions"):
        check(stage("one", {"config": shape}))
