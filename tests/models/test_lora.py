"""LoRA on layers whose weight is another's as well is refused, whatever the family."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from unglossed.models.language_model import build_language_model
from unglossed.models.tuning import is_lora

SHAPES: dict[str, dict[str, Any]] = {
    "llama": {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "tie_word_embeddings": True,
    },
    "mbart": {
        "d_model": 16,
        **{f"{side}_layers": 1 for side in ("encoder", "decoder")},
        **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
        **{f"{side}_ffn_dim": 16 for side in ("encoder", "decoder")},
    },
    "t5": {"d_model": 16, "num_layers": 1, "num_heads": 2, "d_ff": 16, "d_kv": 8},
}
LORA = {"r": 2, "alpha": 4.0, "dropout": 0.0}


def build(family: str, *targets: str, **changes: Any) -> Any:
    config = {"model_type": family, "vocab_size": 30, **SHAPES[family], **changes}
    with torch.device("meta"):
        return build_language_model(config, lora={**LORA, "targets": list(targets)})


@pytest.mark.parametrize("family", SHAPES)
@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_a_tied_table_is_refused_by_name(family: str, target: str) -> None:
    inner = "q" if family == "t5" else "q_proj"
    with pytest.raises(ValueError, match=rf"^lora\.targets: found '{target}', whose weight \("):
        build(family, inner, target)
    tuned = {name for name, _ in build(family, inner).named_parameters() if is_lora(name)}
    assert tuned


def test_a_whole_name_and_a_shared_table_are_refused_too() -> None:
    for target in ("decoder.embed_tokens", "model.shared"):
        with pytest.raises(ValueError, match=rf"found '{target}', whose weight"):
            build("mbart", target)


def test_a_head_of_its_own_can_have_lora() -> None:
    model = build("llama", "lm_head", tie_word_embeddings=False)
    assert any("lm_head.lora_A" in name for name, _ in model.named_parameters())
