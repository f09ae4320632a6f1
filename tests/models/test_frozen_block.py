"""A frozen layer of a language model behind the visual encoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MBartConfig,
    Qwen2Config,
    Qwen3Config,
)

import tiny
from unglossed.errors import InputError
from unglossed.inference.export import SignalReader
from unglossed.inference.web.parts import FrameReader
from unglossed.models.frozen_block import FrozenBlock, block_config, block_weights
from unglossed.models.segmenter import Segmenter, SegmenterConfig
from unglossed.models.temporal import real_positions
from unglossed.models.translator import Translator, TranslatorConfig
from unglossed.models.visual import VisualEncoder

SIZES = {
    "vocab_size": 30,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
}
CONFIGS = [
    LlamaConfig(**SIZES),
    Qwen2Config(**SIZES, use_sliding_window=True, max_window_layers=1, sliding_window=2),
    Qwen3Config(**SIZES, head_dim=4),
]
DIM = 6


def language_model(config: Any = CONFIGS[0]) -> Any:
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(config).eval()


def block(config: Any = CONFIGS[0], layer: int = -1) -> FrozenBlock:
    """A block with the weights of a layer."""
    model = language_model(config)
    torch.manual_seed(2)
    found = FrozenBlock(DIM, {"model": block_config(config, layer)})
    found.model.load_state_dict(block_weights(model, layer))
    return found


def clips(lengths: list[int], time: int | None = None) -> tuple[Tensor, Tensor]:
    mask = real_positions(torch.tensor(lengths), time)
    torch.manual_seed(3)
    rows = [torch.randn(length, DIM) for length in lengths]
    features = torch.zeros(*mask.shape, DIM)
    for row, values in zip(features, rows, strict=True):
        row[: len(values)] = values
    return features, mask


@pytest.mark.parametrize("layer", [0, 1, -1])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_it_is_that_layer_of_the_model(config: Any, layer: int) -> None:
    """What a layer and the norm give of states without position or causality."""
    model, found = language_model(config).get_decoder(), block(config, layer)
    features, mask = clips([5])
    inner = found.into(features)
    nowhere = torch.zeros(1, 5, dtype=torch.long)
    states = model.layers[layer](
        inner,
        attention_mask=torch.ones(1, 1, 5, 5, dtype=torch.bool),
        position_ids=nowhere,
        position_embeddings=model.rotary_emb(inner, nowhere),
    )

    expected = found.back(model.norm(states))

    torch.testing.assert_close(found(features, mask), expected)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_padding_changes_nothing_and_is_zero(config: Any) -> None:
    found = block(config)
    together = found(*clips([5, 2], time=9))

    for row, length in enumerate([5, 2]):
        features, mask = clips([5, 2])
        alone = found(features[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(together[row, :length], alone[0])
    assert not together[0, 5:].any()
    assert not together[1, 2:].any()


def test_a_position_sees_those_before_and_behind_and_not_where_they_are() -> None:
    found = block()
    features, mask = clips([4])
    before = found(features, mask)
    changed = features.clone()
    changed[:, 3] += 1

    assert not torch.isclose(found(changed, mask)[0, 0], before[0, 0]).all()
    turned = found(features.flip(1), mask)
    torch.testing.assert_close(turned, before.flip(1))


def encoder(**changes: Any) -> dict[str, Any]:
    return {**tiny.ENCODER, "frozen_block": {"model": block_config(CONFIGS[0], -1)}, **changes}


def translator(**changes: Any) -> Translator:
    torch.manual_seed(0)
    plain = tiny.tiny_model(tiny.tiny_processor()).config.to_diff_dict()
    return Translator(TranslatorConfig(**plain | {"encoder": encoder(**changes)}))


def test_its_weights_have_no_gradient_and_stay_in_eval_mode() -> None:
    model = translator()
    model.freeze(())
    model.train()

    found = model.encoder.frozen_block
    assert found.into.weight.requires_grad
    assert found.back.weight.requires_grad
    assert not any(weight.requires_grad for weight in found.model.parameters())
    assert not any(module.training for module in found.model.modules())
    assert found.training


def test_gradients_go_through_it_to_the_backbone_and_move_no_weight_of_it() -> None:
    model = translator()
    model.freeze(())
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([w for w in model.parameters() if w.requires_grad], lr=0.1)
    frames = torch.randint(0, 256, (7, 32, 32, 3), dtype=torch.uint8)
    labels = torch.tensor([[5, 6, 2], [7, 8, 2]])

    logits = model(frames, torch.tensor([4, 3]), labels=labels).logits
    nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()).backward()
    optimizer.step()

    moved = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    inside = {name for name in before if name.startswith("encoder.frozen_block.model.")}
    assert len(inside) == 10
    assert not moved & inside
    assert {"encoder.frozen_block.into.weight", "encoder.frozen_block.back.weight"} <= moved
    assert "encoder.temporal.conv.weight" in moved
    assert any(name.startswith("encoder.backbone.") for name in moved)


def test_it_is_saved_with_the_model_and_loaded_without_the_source(tmp_path: Any) -> None:
    model = translator().eval()
    model.save_pretrained(tmp_path)

    loaded, found = Translator.from_pretrained(tmp_path, output_loading_info=True)

    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    frames = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    lengths = torch.tensor([4])
    torch.testing.assert_close(
        loaded.encoder(frames, lengths)[0], model.encoder(frames, lengths)[0]
    )


def test_without_it_an_encoder_is_as_it_was() -> None:
    torch.manual_seed(0)
    without = VisualEncoder(tiny.ENCODER).state_dict()
    torch.manual_seed(0)
    null = VisualEncoder({**tiny.ENCODER, "frozen_block": None}).state_dict()

    assert without.keys() == null.keys()
    assert all(value.equal(null[name]) for name, value in without.items())
    assert VisualEncoder(encoder(features="frame_wise")).frozen_block is None


def test_other_models_are_refused() -> None:
    with pytest.raises(ValueError, match=r"found layer 3, expected one from -3 to 2"):
        block_config(CONFIGS[0], 3)
    with pytest.raises(ValueError, match="found a model of the type 'mbart', expected a decoder"):
        block_config(MBartConfig(), 0)
    with pytest.raises(ValueError, match="type 'gpt2', whose layers are not known, expected one"):
        FrozenBlock(DIM, {"model": block_config(GPT2Config(n_layer=2, n_embd=8, n_head=2), 0)})
    with pytest.raises(ValueError, match="found source, expected what the encoder that is taken"):
        FrozenBlock(DIM, {"source": "elsewhere"})


def test_what_cannot_have_it_says_so() -> None:
    with pytest.raises(ValueError, match="an encoder with a frozen_block, expected one without"):
        SignalReader(translator())
    with pytest.raises(InputError, match="an encoder with a frozen_block, expected one without"):
        FrameReader(translator())
    with pytest.raises(InputError, match="frozen_block: found one, expected none"):
        Segmenter(SegmenterConfig(encoder=encoder()))
