"""Visual-language pre-training: embeddings, restoration, gradients, and that it is kept."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, LlamaConfig

import tiny
from unglossed.models.language_model import IGNORED
from unglossed.models.vlp import VisualLanguageConfig, VisualLanguageModel
from unglossed.training.objectives.alignment import alignment_loss
from unglossed.training.objectives.translation import text_loss
from unglossed.training.parts import new_language_model_config

PROCESSOR = tiny.tiny_processor()
MASK_ID = PROCESSOR.tokenizer.mask_token_id


def mbart(width: int = 32, layers: int = 1) -> dict[str, Any]:
    """An mBART-shaped network without dropout."""
    sides = {f"{side}_layers": layers for side in ("encoder", "decoder")}
    heads = {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
    sizes = {f"{side}_ffn_dim": 64 for side in ("encoder", "decoder")}
    settings = {"model_type": "mbart", "d_model": width, "dropout": 0.0, "init_std": 0.2}
    return new_language_model_config(settings | sides | heads | sizes, PROCESSOR)


def build(**changes: Any) -> VisualLanguageModel:
    torch.manual_seed(0)
    config = {
        "encoder": tiny.ENCODER,
        "adapter": {"hidden_dim": 32, "dropout": 0.0},
        "language_model": mbart(),
        "text_encoder": mbart(layers=2),
    }
    return VisualLanguageModel(VisualLanguageConfig(**{**config, **changes})).eval()


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Three clips' features with a sentence each, whole and masked."""
    labels = [[7, 8, 9, 2], [8, 10, 2, IGNORED], [11, 2, IGNORED, IGNORED]]
    masked = [[7, MASK_ID, 2], [MASK_ID, 2, 1], [11, 2, 1]]
    torch.manual_seed(1)
    return {
        "features": torch.randn(3, 5, 24),
        "mask": torch.arange(5) < torch.tensor([5, 3, 4])[:, None],
        "labels": torch.tensor(labels),
        "input_ids": torch.tensor(masked),
        "attention_mask": (torch.tensor(masked) != 1).long(),
    }


def test_similarities_are_cosines_over_the_temperature(batch: dict[str, torch.Tensor]) -> None:
    model = build()
    output = model(**batch)

    clips = model.embed_clips(batch["features"], batch["mask"])
    texts = model.embed_texts(batch["labels"])
    cosines = torch.nn.functional.cosine_similarity(clips[:, None], texts[None], dim=-1)
    torch.testing.assert_close(output.similarities, cosines / 0.07)
    torch.testing.assert_close(clips.norm(dim=1), torch.ones(3))
    with torch.no_grad():
        model.alignment.log_scale += 1.0
    torch.testing.assert_close(model(**batch).similarities, cosines / 0.07 * torch.e)


def test_similarities_are_not_rounded_to_bfloat16(batch: dict[str, torch.Tensor]) -> None:
    model = build()
    clips = torch.nn.functional.normalize(torch.randn(3, 32), dim=1)
    exact = model.alignment(clips, clips)

    with torch.autocast("cpu", torch.bfloat16):
        found = model.alignment(clips, clips)
        output = model(**batch)

    assert torch.equal(found, exact)
    assert output.similarities.dtype == torch.float32
    # Embeddings in bfloat16: worst seen 0.3 of similarities up to 14.
    worst = float((output.similarities - model(**batch).similarities).abs().max().detach())
    assert 0 < worst < 1


def test_padding_changes_no_embedding_and_no_logit(batch: dict[str, torch.Tensor]) -> None:
    model = build()
    together = model(**batch)
    row = slice(1, 2)

    clip = model.embed_clips(batch["features"][row, :3], batch["mask"][row, :3])
    text = model.embed_texts(batch["labels"][row, :3])
    logits = model.restore(
        batch["input_ids"][row, :2], batch["attention_mask"][row, :2], batch["labels"][row, :3]
    )

    alone = model.alignment(clip, text)
    # Float32, another batch: worst seen 1e-5 at similarities of 14.
    torch.testing.assert_close(together.similarities[1, 1], alone[0, 0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(together.logits[1, :3], logits[0], atol=1e-4, rtol=1e-4)


def test_a_sentence_is_restored_from_its_masked_form(batch: dict[str, torch.Tensor]) -> None:
    model = build()
    logits = model(**batch).logits

    other = dict(batch, input_ids=batch["input_ids"].clone())
    other["input_ids"][0, 0] = 12
    changed = model(**other).logits
    assert logits.shape == (3, 4, len(PROCESSOR.tokenizer))
    assert not torch.allclose(changed[0], logits[0], atol=1e-3)
    torch.testing.assert_close(changed[1:], logits[1:])
    clips = model(**dict(batch, features=torch.randn(3, 5, 24))).logits
    torch.testing.assert_close(clips, logits)  # the clip tells nothing about the words


def trained_by(model: VisualLanguageModel, loss: torch.Tensor) -> set[str]:
    """Parts that a loss has gradients for, the language model's two sides apart."""
    model.zero_grad()
    loss.backward(retain_graph=True)
    named = model.named_parameters()
    trained = {name for name, p in named if p.grad is not None and p.grad.any()}
    sides = {"language_model.model.model.encoder.l": "lm encoder", "decoder.l": "lm decoder"}
    return {
        next((side for part, side in sides.items() if part in name), name.partition(".")[0])
        for name in trained
        if "embed" not in name and "shared" not in name and "lm_head" not in name
    }


def test_each_loss_trains_its_own_parts(batch: dict[str, torch.Tensor]) -> None:
    model = build()
    output = model(**batch)

    aligned = trained_by(model, alignment_loss(output.similarities))
    restored = trained_by(model, text_loss(output.logits, batch["labels"]))

    assert aligned == {"adapter", "lm encoder", "text_encoder", "alignment"}
    assert restored == {"lm decoder"}
    frames = torch.randint(0, 256, (9, 32, 32, 3), dtype=torch.uint8)
    rest = {name: batch[name] for name in ("labels", "input_ids", "attention_mask")}
    seen = model(frames=frames, lengths=torch.tensor([4, 3, 2]), **rest)
    assert "encoder" in trained_by(model, alignment_loss(seen.similarities))


def test_it_is_saved_and_loaded_whole(batch: dict[str, torch.Tensor], tmp_path: Path) -> None:
    model = build()
    model.save_pretrained(tmp_path)

    again = AutoModel.from_pretrained(tmp_path).eval()

    assert isinstance(again, VisualLanguageModel)
    for name in ("logits", "similarities"):
        assert torch.equal(model(**batch)[name], again(**batch)[name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_encoder": mbart(width=16)}, "text_encoder: found width 16, expected .* 32"),
        ({"text_encoder": LlamaConfig(hidden_size=32).to_dict()}, "decoder-only"),
        ({"language_model": {**LlamaConfig(hidden_size=32).to_dict()}}, "decoder-only"),
    ],
)
def test_models_that_do_not_go_together_are_refused(changes: dict[str, Any], message: str) -> None:
    small = {"num_hidden_layers": 1, "vocab_size": 64, "intermediate_size": 32}
    for part in changes.values():
        if part["model_type"] == "llama":
            part.update(small, num_attention_heads=2, num_key_value_heads=2)

    with pytest.raises(ValueError, match=message):
        build(**changes)
