"""A Llama of a few thousand weights with a byte-level tokenizer, and the GGUF file of it."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import gguf
import torch
from gguf import GGUFWriter
from tokenizers import ByteLevelBPETokenizer
from transformers import LlamaConfig, LlamaForCausalLM

SENTENCES = ["tomorrow it will rain in the north", "today the sun is shining", "a cold night"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def tiny_tokenizer() -> ByteLevelBPETokenizer:
    """Byte-pair encoding over bytes, its special tokens first."""
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(SENTENCES, 300, show_progress=False, special_tokens=SPECIAL)
    return tokenizer


def tiny_llama(vocab_size: int, *, tied: bool = True, hidden_size: int = 32) -> LlamaForCausalLM:
    """A Llama with random weights, the same ones each time, in eval mode."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=128,
        rope_parameters={"rope_type": "default", "rope_theta": 20000.0},
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config).eval()


def write_llama(
    path: Path, *, tied: bool = True, without: Collection[str] = ()
) -> LlamaForCausalLM:
    """Write a tiny Llama and its tokenizer as a GGUF file with float32 weights.

    Args:
        path: the file.
        tied: whether the output head is the word embedding.
        without: tensors that are left out, by their names in the file.

    Returns:
        The model that was written.
    """
    tokenizer = tiny_tokenizer()
    model = tiny_llama(tokenizer.get_vocab_size(), tied=tied)
    config = model.config
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    _add_tokenizer(writer, tokenizer)
    for name, weight in model.state_dict().items():
        stem = name.removesuffix(".weight")
        if stem == "lm_head" and tied:
            continue
        if stem in _OUTSIDE:
            target = f"{_OUTSIDE[stem]}.weight"
        else:
            _, _, number, part = stem.split(".", 3)
            target = f"blk.{number}.{_LAYER[part]}.weight"
            if _LAYER[part] in ("attn_q", "attn_k"):
                weight = _interleaved(weight, config.head_dim)
        if target not in without:
            writer.add_tensor(target, weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _interleaved(weight: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Rows in GGUF's order, which has the two halves of a rotated pair side by side."""
    heads = weight.shape[0] // head_dim
    halves = weight.reshape(heads, 2, head_dim // 2, -1)
    return halves.transpose(1, 2).reshape(weight.shape).contiguous()


def _add_tokenizer(writer: GGUFWriter, tokenizer: ByteLevelBPETokenizer) -> None:
    tokens = [tokenizer.id_to_token(number) for number in range(tokenizer.get_vocab_size())]
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([control if token in SPECIAL else normal for token in tokens])
    # The library hands its merges out in its JSON alone.
    writer.add_token_merges(
        [" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    )
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
