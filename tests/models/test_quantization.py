"""Weights in 4 bits: what they stand for, what is saved, and that LoRA trains beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM

import llama_gguf
from unglossed.models.tuning import QuantizedLinear, add_lora, is_lora, quantize_linear_layers

pytest.importorskip("bitsandbytes", reason="the extra quantization is not installed")

IDS = torch.tensor([[1, 20, 30, 40, 50, 2], [1, 21, 31, 2, 2, 2]])
LORA: dict[str, Any] = {"r": 4, "alpha": 8.0, "dropout": 0.0, "targets": "all-linear"}
CODE = (  # NormalFloat4, QLoRA's appendix E, rounded
    "-1 -0.6962 -0.5251 -0.3949 -0.2844 -0.1848 -0.0911 0"
    " 0.0796 0.1609 0.2461 0.3379 0.4407 0.5626 0.7230 1"
)


@pytest.mark.parametrize("shape", [(48, 128), (7, 64)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_quantised_layer_computes_with_the_nearest_of_16_values(
    shape: tuple[int, int], bias: bool
) -> None:
    """Per block of 64 numbers, scaled by the largest."""
    torch.manual_seed(0)
    plain = nn.Linear(shape[1], shape[0], bias=bias)
    layer = QuantizedLinear(plain)
    code = torch.tensor([float(value) for value in CODE.split()])

    blocks = plain.weight.detach().reshape(-1, 64)
    scales = blocks.abs().amax(1, keepdim=True)
    nearest = code[(blocks[..., None] / scales[..., None] - code).abs().argmin(-1)] * scales
    expected = nearest.reshape(shape)

    torch.testing.assert_close(layer.dequantized(), expected, atol=2e-5, rtol=0)
    inputs = torch.randn(3, 5, shape[1], requires_grad=True)
    twin = inputs.detach().clone().requires_grad_()
    found, wanted = layer(inputs), nn.functional.linear(twin, layer.dequantized(), plain.bias)
    torch.testing.assert_close(found, wanted)
    for output in (found, wanted):
        output.square().sum().backward()
    torch.testing.assert_close(inputs.grad, twin.grad)
    assert layer.packed.numel() * layer.packed.element_size() == plain.weight.numel() // 2


def test_saving_and_loading_changes_nothing() -> None:
    torch.manual_seed(0)
    layer = QuantizedLinear(nn.Linear(128, 64))
    state = layer.state_dict()
    assert {name: value.dtype for name, value in state.items()} == {
        "weight": torch.float32,
        "bias": torch.float32,
    }
    other = QuantizedLinear(nn.Linear(128, 64))
    other.load_state_dict(state)
    assert torch.equal(other.dequantized(), layer.dequantized())
    assert torch.equal(other.packed, layer.packed)
    plain = nn.Linear(128, 64)
    plain.load_state_dict(state)  # an ordinary layer takes it as well


def test_the_head_lora_and_narrow_layers_stay_as_they_are() -> None:
    model = llama_gguf.tiny_llama(60, tied=False, hidden_size=64)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    add_lora(model, LORA)

    quantize_linear_layers(model)

    quantized = [name for name, one in model.named_modules() if isinstance(one, QuantizedLinear)]
    # Inputs of the last layer of each block are 48 wide, of its output projection 32.
    assert len(quantized) == 2 * 5
    assert all(name.endswith(".base_layer") for name in quantized)
    after = {name.replace(".base_layer", ""): w for name, w in model.state_dict().items()}
    assert before.keys() <= after.keys()
    same = {name for name, weight in before.items() if torch.equal(weight, after[name])}
    kept = ("norm", "embed", "head", "down_proj", "o_proj")
    assert same == {name for name in before if any(part in name for part in kept)}
    assert all(is_lora(name) for name in after.keys() - before.keys())


def test_lora_trains_beside_quantised_weights_that_stay() -> None:
    model = llama_gguf.tiny_llama(60, hidden_size=64)
    add_lora(model, LORA)
    quantize_linear_layers(model)
    model.requires_grad_(True)  # there is nothing to train in a quantised layer
    for name, weight in model.named_parameters():
        weight.requires_grad_(is_lora(name))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    optimizer = torch.optim.Adam([w for w in model.parameters() if w.requires_grad], lr=0.01)
    losses = []
    for _ in range(20):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(IDS, labels=IDS).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))

    assert losses[-1] < losses[0] / 2
    after = model.state_dict()
    changed = {name for name, weight in before.items() if not torch.equal(weight, after[name])}
    assert changed == {name for name in before if is_lora(name)}


@torch.no_grad()
def test_a_saved_model_is_an_ordinary_one(tmp_path: Path) -> None:
    model = llama_gguf.tiny_llama(60, hidden_size=64)
    quantize_linear_layers(model)
    model.save_pretrained(tmp_path)

    loaded = LlamaForCausalLM.from_pretrained(tmp_path)

    torch.testing.assert_close(loaded(IDS).logits, model(IDS).logits, atol=1e-5, rtol=1e-5)
