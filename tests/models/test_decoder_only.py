"""Prompts, start tokens, attention and LoRA; what holds of every family: test_families.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig

from unglossed.models.language_model import (
    IGNORED,
    DecoderOnly,
    EncoderDecoder,
    build_language_model,
)
from unglossed.models.tuning import is_lora, load_base_weights

SHAPE = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
PROMPT = {"before": [1, 5], "after": [7, 8, 9]}
LORA = {"r": 4, "alpha": 8.0, "dropout": 0.0, "targets": "all-linear"}
LABELS = torch.tensor([[10, 11, 2, IGNORED], [12, 13, 14, 2]])


def build(**settings: Any) -> DecoderOnly:
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPE).to_dict()
    face = build_language_model(config, settings.pop("prompt", PROMPT), **settings)
    assert isinstance(face, DecoderOnly)
    return face.eval()


@pytest.fixture
def features() -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings (2, 6, 32) of clips with 6 and 3 positions, and their mask."""
    embeds = torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(1))
    return embeds, torch.arange(6) < torch.tensor([6, 3])[:, None]


@torch.no_grad()
def test_logits_are_those_of_the_whole_sequence_behind_the_prompt(
    features: tuple[torch.Tensor, torch.Tensor],
) -> None:
    model = build()
    embeds, _ = features
    table = model.model.get_input_embeddings()
    answer = LABELS[1:]
    words = [table(torch.tensor([ids])) for ids in (PROMPT["before"], PROMPT["after"])]
    whole = torch.cat([words[0], embeds[1:, :3], words[1], table(answer)], 1)
    expected = model.model(inputs_embeds=whole).logits[:, 2 + 3 + 3 - 1 : -1]
    found = model(embeds[1:, :3], torch.ones(1, 3, dtype=torch.bool), answer)
    torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_the_prompt_and_the_features_change_what_is_said(
    features: tuple[torch.Tensor, torch.Tensor],
) -> None:
    embeds, mask = features
    logits = build()(embeds, mask, LABELS)
    for prompt in ({"before": [1, 6], "after": [7, 8, 9]}, {"before": [1, 5], "after": [7, 8]}):
        assert not torch.allclose(build(prompt=prompt)(embeds, mask, LABELS), logits)
    assert not torch.allclose(build()(embeds + 1, mask, LABELS), logits)


@torch.no_grad()
def test_attention_lies_on_the_features_alone(
    features: tuple[torch.Tensor, torch.Tensor],
) -> None:
    model = build()
    embeds, mask = features
    weights = model.attend(embeds, mask, LABELS.clamp(min=0))
    assert weights.shape == (2, 4, 6)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4))
    assert not weights[1, :, 3:].any()
    alone = model.attend(embeds[1:, :3], mask[1:, :3], LABELS[1:])
    torch.testing.assert_close(alone, weights[1:, :, :3])


@torch.no_grad()
def test_an_encoder_decoder_reads_a_prompt_as_well(
    features: tuple[torch.Tensor, torch.Tensor],
) -> None:
    config = {
        "model_type": "mbart",
        "vocab_size": 50,
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "decoder_start_token_id": 4,
        "forced_eos_token_id": None,
        "dropout": 0.0,
    }
    torch.manual_seed(0)
    plain = build_language_model(config).eval()
    assert isinstance(plain, EncoderDecoder)
    prompted = build_language_model(config, PROMPT).eval()
    prompted.load_state_dict(plain.state_dict())
    embeds, mask = features
    table = plain.model.get_input_embeddings()
    sides = [table(torch.tensor(PROMPT[side])).expand(2, -1, -1) for side in ("before", "after")]
    surrounded = torch.cat([sides[0], embeds, sides[1]], 1)[:1]  # the clip without padding
    expected = plain(surrounded, mask.new_ones(1, 2 + 6 + 3), LABELS[:1])
    torch.testing.assert_close(prompted(embeds, mask, LABELS)[:1], expected)


@torch.no_grad()
def test_two_start_tokens_are_read_and_not_predicted(
    features: tuple[torch.Tensor, torch.Tensor],
) -> None:
    config = {
        "model_type": "t5",
        "vocab_size": 50,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 32,
        "num_layers": 1,
        "num_heads": 2,
        "decoder_start_token_id": 2,
        "pad_token_id": 0,
        "eos_token_id": 1,
    }
    torch.manual_seed(0)
    model = build_language_model(config, {"start": [2, 30]}).eval()
    plain = build_language_model(config).eval()
    plain.load_state_dict(model.state_dict())
    embeds, mask = features
    longer = torch.cat([torch.full((2, 1), 30), LABELS], 1)
    torch.testing.assert_close(model(embeds, mask, LABELS), plain(embeds, mask, longer)[:, 1:])
    found = model.generate(embeds, mask, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    assert found.shape == (2, 4)
    step = model(embeds, mask, found)[:, 0]
    step[:, 1] = -torch.inf
    assert torch.equal(found[:, 0], step.argmax(-1))


def test_lora_trains_beside_weights_that_stay(
    features: tuple[torch.Tensor, torch.Tensor],
) -> None:
    plain, tuned = build(), build(lora=LORA)
    load_base_weights(tuned.model, plain.model.state_dict())
    embeds, mask = features
    with torch.no_grad():  # LoRA starts as nothing
        torch.testing.assert_close(tuned(embeds, mask, LABELS), plain(embeds, mask, LABELS))
    trained = [name for name, weight in tuned.named_parameters() if weight.requires_grad]
    assert trained
    assert all(is_lora(name) for name in trained)
    layers = {name.split(".lora_")[0].split(".")[-1] for name in trained}
    assert layers == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_base_weights(tuned.model, {"lm_head.weight": torch.zeros(3, 3)})
