"""Small decoder-only models with random weights, and tokenizers of their kinds trained here.

Shaped as published: Llama 2 (SentencePiece's merges, bytes for what they lack), Llama 3
(byte-level, `ignore_merges`), Qwen 3 (byte-level, spare rows), Gemma 3 alone (tied, blank lines and
`<unused>` as added tokens, one token more than rows) and in its multimodal form (nested
configuration).
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import ByteLevel, TemplateProcessing
from tokenizers.processors import Sequence as Processors
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoTokenizer,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from sentencepiece_models import GERMAN_LETTERS, PLANNED, RUSSIAN, train_sentencepiece

SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
}
QWEN_CUTS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA_3_CUTS = QWEN_CUTS.replace(r"\p{N}|", r"\p{N}{1,3}|")
"""How the two cut texts into words; digits one by one, or three at a time."""

CHATML = (
    "{%- for message in messages -%}{{- '<|im_start|>' + message.role + '\\n' + message.content"
    " + '<|im_end|>\\n' }}{%- endfor -%}{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
)
GEMMA_CHAT = (
    "{{ bos_token }}{%- for message in messages -%}<start_of_turn>{{ message.role }}\n"
    "{{ message.content }}<end_of_turn>\n{%- endfor -%}"
    "{%- if add_generation_prompt %}<start_of_turn>model\n{%- endif %}"
)


def texts() -> list[str]:
    """What the tokenizers are trained on: German, English, Chinese, Russian."""
    planned = [text[language] for text in PLANNED for language in ("de", "en", "zh")]
    return [*planned, *RUSSIAN, " ".join(GERMAN_LETTERS)]


def save(
    folder: Path, core: Tokenizer, kind: str, model: PreTrainedModel, **fields: Any
) -> PreTrainedTokenizerBase:
    """Write tokenizer and model as the hub has them; gives the tokenizer as it loads."""
    core.save(str(folder / "tokenizer.json"))
    content = json.dumps({"tokenizer_class": kind, **fields})
    (folder / "tokenizer_config.json").write_text(content)
    model.save_pretrained(folder)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    assert type(tokenizer).__name__ == kind
    return tokenizer


def byte_level(cuts: str, vocab_size: int, **options: Any) -> Tokenizer:
    """Byte-level merges over words that an expression cuts; no special tokens yet."""
    core = Tokenizer(BPE(**options))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(cuts), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        texts(), BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    )
    return core


def write_llama2(folder: Path) -> None:
    """With generation settings as Llama 2's chat models have them, which transformers blames."""
    raw = train_sentencepiece(model_type="bpe", vocab_size=1200, byte_fallback=True)
    (folder / "tokenizer.model").write_bytes(raw)
    config = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "legacy": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    LlamaConfig(vocab_size=1).save_pretrained(folder)
    core = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    core.pre_tokenizer = None
    (folder / "tokenizer.model").unlink()
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=core.get_vocab_size(),
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
            tie_word_embeddings=False,
            **SHAPE,
        )
    )
    save(
        folder,
        core,
        "LlamaTokenizer",
        model,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        add_bos_token=True,
    )
    settings = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "temperature": 0.6}
    (folder / "generation_config.json").write_text(json.dumps(settings | {"do_sample": False}))


def write_llama3(folder: Path) -> None:
    """Some of its pieces are reached by no merge: `ignore_merges` finds them whole."""
    core = byte_level(LLAMA_3_CUTS, 1400, ignore_merges=True)
    state = json.loads(core.to_str())
    unreached = ("Quellwolken", "\u0120Abendrot")
    for piece in unreached:
        state["model"]["vocab"][piece] = len(state["model"]["vocab"])
    core = Tokenizer.from_str(json.dumps(state))
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|eot_id|>"]
    core.add_special_tokens(names)
    begin, end, eot = (core.token_to_id(names[i]) for i in (0, 1, 3))
    core.post_processor = Processors(
        [
            ByteLevel(trim_offsets=False),
            TemplateProcessing(single=f"{names[0]} $A", special_tokens=[(names[0], begin)]),
        ]
    )
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=core.get_vocab_size(),
            bos_token_id=begin,
            eos_token_id=[end, eot],
            tie_word_embeddings=True,
            **SHAPE,
        )
    )
    save(folder, core, "TokenizersBackend", model, bos_token=names[0], eos_token=names[3])


def write_qwen(folder: Path) -> None:
    """NFC, added tokens of both sorts behind the pieces, more rows than tokens, a chat template."""
    core = byte_level(QWEN_CUTS, 1400)
    core.normalizer = normalizers.NFC()
    core.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    core.add_tokens(
        [AddedToken(name, special=False) for name in ("<think>", "</think>", "<|repo_name|>")]
    )
    end = core.token_to_id("<|im_end|>")
    pad = core.token_to_id("<|endoftext|>")
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=math.ceil((core.get_vocab_size() + 1) / 64) * 64,
            eos_token_id=end,
            pad_token_id=pad,
            tie_word_embeddings=True,
            **SHAPE,
        )
    )
    model.generation_config = GenerationConfig(
        eos_token_id=[end, pad], pad_token_id=pad, do_sample=True, top_k=20
    )
    save(
        folder,
        core,
        "Qwen2Tokenizer",
        model,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        add_bos_token=False,
        chat_template=CHATML,
    )


def gemma_tokenizer() -> Tokenizer:
    """Special tokens first, then added ones; merges over whole texts, not over words."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    added = [*(f"<unused{i}>" for i in range(20)), "\n", "\n\n", "\n\n\n", "\u2581\u2581"]
    turns = ["<start_of_turn>", "<end_of_turn>"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    core = Tokenizer(BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    core.normalizer = normalizers.Replace(" ", "\u2581")
    core.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    core.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    words = (text.replace(" ", " \u2581") for text in texts())
    learner = Tokenizer(BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    learner.train_from_iterator(
        words,
        BpeTrainer(
            vocab_size=1500,
            special_tokens=[*special, *added, *turns, *bytes_],
            show_progress=False,
        ),
    )
    state = json.loads(core.to_str())
    learnt = json.loads(learner.to_str())["model"]
    state["model"] |= {"vocab": learnt["vocab"], "merges": learnt["merges"]}
    core = Tokenizer.from_str(json.dumps(state))
    core.add_special_tokens([*special, *turns])
    core.add_tokens([AddedToken(name, special=False, normalized=False) for name in added])
    core.add_special_tokens(["<image_soft_token>"])  # which the text models have no row for
    core.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", core.token_to_id("<bos>"))]
    )
    return core


GEMMA_FIELDS: dict[str, Any] = {
    "bos_token": "<bos>",
    "eos_token": "<eos>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "add_bos_token": True,
    "image_token": "<image_soft_token>",
    "extra_special_tokens": {"image_token": "<image_soft_token>"},
    "chat_template": GEMMA_CHAT,
}
GEMMA_SHAPE = SHAPE | {
    "sliding_window": 16,
    "query_pre_attn_scalar": 8,
    "layer_types": ["sliding_attention", "full_attention"],
}


def write_gemma(folder: Path) -> None:
    core = gemma_tokenizer()
    config = Gemma3TextConfig(
        vocab_size=core.get_vocab_size() - 1,
        eos_token_id=[1, core.token_to_id("<end_of_turn>")],
        **GEMMA_SHAPE,
    )
    save(folder, core, "GemmaTokenizer", Gemma3ForCausalLM(config), **GEMMA_FIELDS)


def write_gemma_multimodal(folder: Path) -> None:
    core = gemma_tokenizer()
    image = core.token_to_id("<image_soft_token>")
    config = Gemma3Config(
        text_config={"vocab_size": core.get_vocab_size() + 30, **GEMMA_SHAPE},
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        mm_tokens_per_image=4,
        image_token_index=image,
        boi_token_index=core.token_to_id("<start_of_turn>"),
        eoi_token_index=core.token_to_id("<end_of_turn>"),
    )
    save(folder, core, "GemmaTokenizer", Gemma3ForConditionalGeneration(config), **GEMMA_FIELDS)


FAMILIES: dict[str, Callable[[Path], None]] = {
    "llama2": write_llama2,
    "llama3": write_llama3,
    "qwen": write_qwen,
    "gemma": write_gemma,
    "gemma_multimodal": write_gemma_multimodal,
}


def seeded(family: str, folder: Path) -> Path:
    """The folder of such a model, the same each time."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    FAMILIES[family](folder)
    return folder


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts, without those that begin and end them."""
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return ids
