"""New tokens trained alone, beside a language model that stays: LST's first stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import llama_gguf
import tiny
from planned import build_translator
from unglossed.errors import InputError
from unglossed.models.language_model import IGNORED, build_language_model
from unglossed.models.processing import TranslatorProcessor, pad_labels
from unglossed.models.translator import Translator
from unglossed.models.tuning import is_lora
from unglossed.training.objectives.translation import text_loss
from unglossed.training.optimizers import build_optimizer
from unglossed.training.recipe import TokenizerSettings
from unglossed.training.settings import StageSettings
from unglossed.training.tokenizer import build_tokenizer

NEW_TOKENS = ("<speech>", "</speech>")
LORA = {"r": 4, "alpha": 8.0, "dropout": 0.0}
ADAPTER = {"channels": 8, "layers": 1, "kernel": 3, "stride": 2}
TABLE = "model.model.embed_tokens.weight"
HEAD = "model.lm_head.weight"


def processor_of(source: Path) -> TranslatorProcessor:
    settings = TokenizerSettings(pretrained=str(source), new_tokens=NEW_TOKENS)
    tokenizer, start = build_tokenizer(settings, [], "en")
    return TranslatorProcessor(
        tokenizer=tokenizer, language="en", start_token=start, new_tokens=NEW_TOKENS
    )


def stage_of(source: Path, lora: bool, **changes: Any) -> StageSettings:
    """A stage that trains an adapter and new tokens, and LoRA if asked to."""
    rates = {"adapter": 0.05, "new_tokens": 0.02} | ({"language_model": 0.01} if lora else {})
    settings: dict[str, Any] = {
        "name": "modality_adjustment",
        "encoder": {"config": {"backbone": tiny.ENCODER["backbone"], "temporal_dim": 24}},
        "adapter": {"config": ADAPTER},
        "language_model": {
            "source": str(source),
            "lora": LORA if lora else None,
            "prompt": {"before": "<speech>", "after": "</speech>today"},
        },
        "frozen": ["encoder"] if lora else ["encoder", "language_model"],
        "learning_rates": rates,
        "epochs": 1,
        "batch_size": 2,
    }
    return StageSettings.model_validate(settings | changes)


def backward(model: Translator, processor: TranslatorProcessor) -> None:
    """Gradients of the loss of two sentences, added to those that are there."""
    features = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(5) < torch.tensor([5, 3])[:, None]
    labels = pad_labels([processor.encode_text(text) for text in llama_gguf.SENTENCES[:2]])
    text_loss(model(features=features, mask=mask, labels=labels).logits, labels).backward()


def copied(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in model.state_dict().items()}


@pytest.mark.parametrize("decay", [0.0, 0.5])
@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("tied", [True, False])
def test_only_the_rows_of_new_tokens_move_and_as_they_would_in_full_training(
    tied: bool, lora: bool, decay: float, tmp_path: Path
) -> None:
    llama_gguf.write_llama(tmp_path / "llama.gguf", tied=tied)
    processor = processor_of(tmp_path / "llama.gguf")
    optimizer_settings = {"name": "adamw", "weight_decay": decay}
    stage = stage_of(tmp_path / "llama.gguf", lora, optimizer=optimizer_settings)
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(build_translator(stage, {}, processor).train())
    model, whole = models
    start = copied(model.language_model)
    first = len(processor.tokenizer) - 2
    # The yardstick: an optimiser over the whole table, of which the new rows are looked at.
    table = whole.language_model.model.get_input_embeddings().weight.requires_grad_(True)
    adapter = list(whole.adapter.parameters())
    groups = [
        {"params": [table], "lr": 0.02},
        {"params": [p for p in adapter if p.ndim > 1], "lr": 0.05},
        {"params": [p for p in adapter if p.ndim < 2], "lr": 0.05, "weight_decay": 0.0},
    ]
    if lora:
        matrices = [p for name, p in whole.named_parameters() if is_lora(name)]
        groups.append({"params": matrices, "lr": 0.01})
    yardstick = torch.optim.AdamW(groups, weight_decay=decay, fused=True)

    optimizer = build_optimizer(stage, model)
    for _ in range(3):
        for one, step in ((model, optimizer), (whole, yardstick)):
            backward(one, processor)
            step.step()
            one.zero_grad()
        with torch.no_grad():
            table[:first] = start[TABLE][:first]

    after = model.language_model.state_dict()
    assert after.keys() == start.keys()
    for name, before in start.items():
        if name == TABLE or (name == HEAD and tied):
            assert torch.equal(after[name][:first], before[:first])
            assert (after[name][first:] != before[first:]).all()
            torch.testing.assert_close(after[name][first:], table[first:])
        elif lora and is_lora(name):
            assert not torch.equal(after[name], before), name
        else:
            assert torch.equal(after[name], before), name
    assert any(is_lora(name) for name in start) is lora
    mine, theirs = model.adapter.state_dict(), whole.adapter.state_dict()
    for name, value in mine.items():
        torch.testing.assert_close(value, theirs[name])


def test_gradients_of_a_step_add_up_and_the_table_has_none(tmp_path: Path) -> None:
    llama_gguf.write_llama(tmp_path / "llama.gguf")
    processor = processor_of(tmp_path / "llama.gguf")
    stage = stage_of(tmp_path / "llama.gguf", lora=False)
    model = build_translator(stage, {}, processor)
    face = model.language_model
    rows = face.new_rows_parameter()
    backward(model, processor)
    table = face.model.get_input_embeddings().weight
    first = len(table) - 2
    once = rows.grad.clone()
    assert once.abs().sum(1).min() > 0
    backward(model, processor)

    torch.testing.assert_close(rows.grad, 2 * once)
    assert table.grad is None
    assert any(parameter is rows for parameter in model.parameters())  # clipped, set to zero
    assert face.new_rows_parameter() is rows
    with torch.no_grad():
        rows += 1
    assert torch.equal(rows, table[first:])


@pytest.mark.parametrize("kind", ["mbart", "gemma3_text"])
def test_rows_of_a_table_that_multiplies_get_their_gradient_multiplied(kind: str) -> None:
    shape = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "scale_embedding": True}
    if kind == "gemma3_text":
        shape = {"hidden_size": 16, "num_hidden_layers": 1, "head_dim": 8}
    config = {
        "model_type": kind,
        "vocab_size": 30,
        "pad_token_id": 1,
        "decoder_start_token_id": 2,
        **shape,
    }
    config |= (
        {"encoder_attention_heads": 2, "decoder_attention_heads": 2} if kind == "mbart" else {}
    )
    torch.manual_seed(0)
    face = build_language_model(config, {"before": [28], "after": [29]}).eval()
    draw = torch.Generator().manual_seed(0)
    embeds = torch.randn(2, 5, face.width, generator=draw)
    mask = torch.arange(5) < torch.tensor([5, 3])[:, None]
    labels = torch.tensor([[7, 8, 2], [9, 2, IGNORED]])
    table = face.model.get_input_embeddings().weight
    text_loss(face(embeds, mask, labels), labels).backward()
    whole = table.grad[28:].clone()
    face.zero_grad()
    before = face(embeds, mask, labels)

    face.train_rows([28, 29])
    rows = face.new_rows_parameter()
    after = face(embeds, mask, labels)
    text_loss(after, labels).backward()

    assert torch.equal(after, before)
    torch.testing.assert_close(rows.grad, whole)


def test_a_resumed_run_reads_the_rows_into_the_table(tmp_path: Path) -> None:
    source = tmp_path / "llama.gguf"
    llama_gguf.write_llama(source)
    processor = processor_of(source)
    model = build_translator(stage_of(source, lora=False), {}, processor)
    rows = model.language_model.new_rows_parameter()
    saved = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}

    told = model.load_state_dict(saved)

    assert told.missing_keys == []
    assert not rows.any()


def test_what_is_trained_is_saved_and_read_by_the_next_stage(tmp_path: Path) -> None:
    source = tmp_path / "llama.gguf"
    llama_gguf.write_llama(source)
    processor = processor_of(source)
    stage = stage_of(source, lora=False)
    model = build_translator(stage, {}, processor)
    optimizer = build_optimizer(stage, model)
    backward(model, processor)
    optimizer.step()
    model.save_pretrained(tmp_path / "first")

    later = stage_of(
        source,
        lora=False,
        name="later",
        **{
            part: {"source": "modality_adjustment"}
            for part in ("encoder", "adapter", "language_model")
        },
        frozen=["encoder"],
        learning_rates={"adapter": 0.01, "language_model": 0.01},
    )
    inherited = build_translator(later, {"modality_adjustment": tmp_path / "first"}, processor)

    mine, theirs = model.state_dict(), inherited.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    assert inherited.language_model.before == model.language_model.before
    assert inherited.language_model.trained_rows is None
    assert all(p.requires_grad for p in inherited.language_model.parameters())


def test_a_language_model_that_is_trained_has_no_rate_for_new_tokens() -> None:
    with pytest.raises(ValueError, match=r"new_tokens needs language_model frozen, or lora"):
        stage_of(
            Path("llama"),
            lora=False,
            frozen=["encoder"],
            learning_rates={"adapter": 1, "language_model": 1, "new_tokens": 1},
        )


def test_a_token_that_is_there_is_not_new(tmp_path: Path) -> None:
    source = tmp_path / "llama.gguf"
    llama_gguf.write_llama(source)
    for tokens in (("<|im_end|>",), ("<speech>", "<speech>")):
        settings = TokenizerSettings(pretrained=str(source), new_tokens=tokens)
        with pytest.raises(InputError) as raised:
            build_tokenizer(settings, [], "en")
        told = f"tokenizer.new_tokens: found {tokens[0]!r}, which the tokenizer has"
        assert str(raised.value) == told
