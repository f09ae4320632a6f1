"""Number formats of a model that translates: what is rounded, and what that leaves unchanged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import MBartConfig, MBartForConditionalGeneration, T5Config

import unglossed
from tiny import tiny_decoder_only, tiny_model, tiny_processor, tiny_translator, write_frames
from unglossed.config import DecodingSettings
from unglossed.errors import InputError
from unglossed.inference import precision as formats
from unglossed.inference.precision import (
    Int8Linear,
    PackedLinear,
    Precision,
    lower_precision,
    packs_bfloat16,
    quantize,
)
from unglossed.inference.search import text_scores, write_texts
from unglossed.inference.translator import SignTranslator, translate_features
from unglossed.models.processing import TranslatorProcessor, pad_features
from unglossed.models.translator import Translator, TranslatorConfig
from unglossed.models.tuning import is_lora


def tiny_with_lora(processor: TranslatorProcessor) -> Translator:
    """A decoder-only translator whose LoRA matrices change what it says."""
    plain = tiny_decoder_only(processor)
    lora = {"r": 4, "alpha": 8.0, "dropout": 0.0, "targets": "all-linear"}
    config = TranslatorConfig(**{**plain.config.to_dict(), "lora": lora})
    torch.manual_seed(0)
    model = Translator(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if is_lora(name):
                weight.normal_(std=0.1)
    return model


NEEDS_PACKING = pytest.mark.skipif(
    not packs_bfloat16(), reason="this CPU has no instructions for bfloat16 or AVX-512"
)
KINDS = (tiny_model, tiny_decoder_only, tiny_with_lora)
LOWER = (Precision.BFLOAT16, Precision.INT8)
SCORE_TOLERANCE = 0.15
"""Of untrained models; measured worst case 0.11, on a processor without VNNI."""


def rows(*lengths: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(length, 24, generator=generator) for length in lengths]


@pytest.mark.parametrize("bias", [True, False])
def test_an_8_bit_layer_rounds_each_row_of_weights_and_of_inputs(bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(96, 50, bias=bias)
    inputs = torch.randn(3, 7, 96) * torch.logspace(-3, 3, 7)[:, None]
    layer = Int8Linear(linear)

    def rounded(values: torch.Tensor, steps: int) -> torch.Tensor:
        scale = values.abs().amax(-1, keepdim=True) / steps
        return torch.floor(values / scale + 0.5) * scale

    expected = rounded(inputs, layer.steps) @ rounded(linear.weight.detach(), 127).T
    if bias:
        expected = expected + linear.bias
    torch.testing.assert_close(layer(inputs), expected, rtol=1e-4, atol=1e-6)


def test_zeros_stay_zeros_in_8_bits() -> None:
    layer = Int8Linear(nn.Linear(8, 4, bias=False))
    assert not layer(torch.zeros(2, 8)).any()


@pytest.mark.parametrize("shape", [(64, 32), (37, 50), (300, 17)])
def test_in_8_bits_a_row_follows_from_the_row_alone(shape: tuple[int, int]) -> None:
    """Also on processors whose kernels for many rows are others than those for few."""
    torch.manual_seed(0)
    layer = Int8Linear(nn.Linear(*shape))
    inputs = torch.randn(70, shape[0]) * torch.arange(1, 71)[:, None]
    together = layer(inputs)
    for many in (1, 5, 8, 9, 16, 33):
        for first in range(0, 70 - many, many):
            assert torch.equal(layer(inputs[first : first + many]), together[first : first + many])


def test_an_8_bit_layer_asks_for_nothing_but_sums_of_whole_numbers() -> None:
    """They are the same on every processor; what follows is arithmetic on single numbers."""
    torch.manual_seed(0)
    linear = nn.Linear(40, 6, bias=False)
    layer, inputs = Int8Linear(linear), torch.randn(3, 40)
    largest = inputs.abs().amax(1, keepdim=True)
    whole = torch.floor(inputs / largest * layer.steps + 0.5)
    scale = linear.weight.detach().abs().amax(1) / 127
    sums = whole @ torch.round(linear.weight.detach() / scale[:, None]).T
    assert torch.equal(layer(inputs), sums * (scale / layer.steps) * largest)


@NEEDS_PACKING
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(64, 32), (37, 50), (7, 5), (256, 1024)])
@torch.no_grad()
def test_a_packed_layer_gives_the_numbers_of_the_plain_one(
    shape: tuple[int, int], bias: bool
) -> None:
    """To the last bit on the CPUs tried; another kernel may add up in another order."""
    torch.manual_seed(0)
    linear = nn.Linear(*shape, bias=bias).to(torch.bfloat16)
    layer = PackedLinear(linear)
    for size in ((), (1,), (5,), (40,), (2, 0), (0,), (3, 9), (3, 200)):
        inputs = torch.randn(*size, shape[0]).to(torch.bfloat16)
        torch.testing.assert_close(layer(inputs), linear(inputs), rtol=2**-7, atol=2**-7)


@NEEDS_PACKING
@pytest.mark.parametrize("make", KINDS)
def test_packed_layers_change_no_text_and_hold_all_weights_but_loras(
    make, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = tiny_processor()
    decoding = DecodingSettings(max_new_tokens=8, beams=3)
    packed = make(processor)
    lower_precision(packed, Precision.BFLOAT16)
    monkeypatch.setattr(formats, "packs_bfloat16", lambda: False)
    plain = make(processor)
    lower_precision(plain, Precision.BFLOAT16)

    layers = dict(plain.language_model.named_modules())
    for name, one in packed.language_model.named_modules():
        is_plain = type(layers[name]) is nn.Linear and not is_lora(f"{name}.")
        assert isinstance(one, PackedLinear) is is_plain
    features, mask = pad_features([row.bfloat16() for row in rows(4, 9)])
    with torch.no_grad():
        texts = write_texts(plain, features, mask, decoding)
        found, expected = (text_scores(one, features, mask, texts) for one in (packed, plain))
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0)
    words = (one.language_model.model.get_input_embeddings().weight for one in (packed, plain))
    torch.testing.assert_close(*words, rtol=0, atol=0)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("precision", LOWER)
@pytest.mark.parametrize("changed", [{}, {"language_contrast": 0.5}, {"beams": 1}])
def test_a_lower_precision_gives_nearly_the_same_scores(make, precision, changed) -> None:
    """Of one text: of two that an untrained model likes alike, rounding picks either."""
    processor = tiny_processor()
    decoding = DecodingSettings(max_new_tokens=8, **changed)
    model = make(processor)
    features, mask = pad_features(rows(4, 9))
    with torch.no_grad():
        texts = write_texts(model, features, mask, decoding)
        before = text_scores(model, features, mask, texts)
        lower_precision(model, precision)
        features = features.to(next(model.adapter.parameters()).dtype)
        after = text_scores(model, features, mask, texts)
    torch.testing.assert_close(after.float(), before, atol=SCORE_TOLERANCE, rtol=0)
    assert (after != before).all()
    for one in translate_features(model, processor, rows(4, 9), decoding, attention=True):
        assert sum(one.attention[0].weights) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("make", KINDS)
def test_8_bits_take_less_room(make) -> None:
    model = make(tiny_processor())
    lower_precision(model, Precision.INT8)
    named = model.language_model.named_modules()
    assert not [name for name, one in named if type(one) is nn.Linear and not is_lora(f"{name}.")]
    words = model.language_model.model.get_input_embeddings()
    assert words.weight.dtype == torch.bfloat16
    assert words(torch.tensor([3])).dtype == torch.float32
    assert next(model.encoder.parameters()).dtype == torch.float32


def test_a_model_that_looks_at_the_weights_of_its_layers_runs_in_8_bits() -> None:
    processor = tiny_processor()
    plain = tiny_model(processor).config
    t5 = T5Config(
        vocab_size=len(processor.tokenizer),
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=1,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        decoder_start_token_id=0,
    )
    config = TranslatorConfig(
        encoder=plain.encoder, adapter=plain.adapter, language_model=t5.to_dict()
    )
    torch.manual_seed(0)
    model = Translator(config).eval()
    lower_precision(model, Precision.INT8)
    (found,) = translate_features(model, processor, rows(6), DecodingSettings(max_new_tokens=4))
    assert np.isfinite(found.score)


@torch.no_grad()
def test_scaled_words_are_scaled_in_float32() -> None:
    torch.manual_seed(0)
    config = MBartConfig(
        vocab_size=20,
        d_model=24,
        scale_embedding=True,
        **{f"{side}_layers": 1 for side in ("encoder", "decoder")},
        **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
    )
    model = MBartForConditionalGeneration(config).eval()
    ids = torch.arange(20)[None]
    expected = model.get_input_embeddings().weight.bfloat16().float() * 24**0.5
    quantize(model)
    found = model.get_decoder().embed_tokens(ids)
    assert found.dtype == torch.float32
    assert torch.equal(found[0], expected)


@pytest.mark.parametrize("precision", LOWER)
def test_a_clip_is_translated_from_a_folder_in_each_precision(tmp_path: Path, precision) -> None:
    tiny_translator(tmp_path / "model")
    clip = write_frames(tmp_path / "clip", 12)
    plain = unglossed.load(tmp_path / "model")
    lower = unglossed.load(tmp_path / "model", precision=precision)
    frames = plain.read(clip)
    features = lower.encode(frames)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, plain.encode(frames), rtol=0.05, atol=0.05)
    (one,) = plain.translate(clip, max_new_tokens=6)
    (other,) = unglossed.translate(tmp_path / "model", clip, precision=precision, max_new_tokens=6)
    assert np.isfinite(other.score)
    assert other.score != one.score


def test_an_unknown_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="precision: found 'int4', expected one of float32"):
        SignTranslator.from_pretrained(tmp_path, precision="int4")
