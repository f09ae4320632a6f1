"""Small real models with SentencePiece tokenizers: shaped like mBART, mBART-50, T5, mT5, NLLB."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from transformers import (
    AutoTokenizer,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MBartConfig,
    MBartForConditionalGeneration,
    MT5Config,
    MT5ForConditionalGeneration,
    NllbTokenizer,
    T5Config,
    T5ForConditionalGeneration,
)

from unglossed_synth.planning import plan_clips

PLANNED = [clip.text for clip in plan_clips(500, seed=0, level=3)]
RUSSIAN = ["завтра на севере дождь , вечером снег", "ветер с запада и туман у моря"] * 20
GERMAN_LETTERS = "abcdefghijklmnopqrstuvwxyzäöüßABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÜ0123456789,.!?"

SHAPE: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 128,
}
T5_SHAPE: dict[str, Any] = {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2}


def train_sentencepiece(**settings: Any) -> bytes:
    """A SentencePiece model of German, English, Chinese and Russian."""
    texts = [text[language] for text in PLANNED for language in ("de", "en", "zh")]
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*texts, *RUSSIAN, " ".join(GERMAN_LETTERS)]),
        model_writer=file,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
        **settings,
    )
    return file.getvalue()


def write_mbart(folder: Path, tokenizer_class: str = "MBartTokenizer") -> None:
    model = train_sentencepiece(model_type="unigram", vocab_size=900)
    (folder / "sentencepiece.bpe.model").write_bytes(model)
    config = {"tokenizer_class": tokenizer_class, "src_lang": "de_DE"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    MBartConfig(vocab_size=1).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert type(tokenizer).__name__ == tokenizer_class
    german, romanian = tokenizer.convert_tokens_to_ids(["de_DE", "ro_RO"])
    network = MBartForConditionalGeneration(
        MBartConfig(
            vocab_size=len(tokenizer),
            decoder_start_token_id=german,
            forced_bos_token_id=german,
            task_specific_params={"translation": {"decoder_start_token_id": romanian}},
            **SHAPE,
        )
    )
    network.final_logits_bias.normal_()
    network.save_pretrained(folder)


def write_mbart50(folder: Path) -> None:
    write_mbart(folder, "MBart50Tokenizer")


def write_nllb(folder: Path) -> None:
    """As NLLB is published: merges, language codes and mask added behind the vocabulary."""
    raw = folder / "raw"
    raw.mkdir()
    model = train_sentencepiece(model_type="bpe", vocab_size=900)
    (raw / "sentencepiece.bpe.model").write_bytes(model)
    codes = ["deu_Latn", "eng_Latn", "zho_Hans"]
    tokenizer = NllbTokenizer.from_pretrained(raw, extra_special_tokens=codes, src_lang="deu_Latn")
    (raw / "sentencepiece.bpe.model").unlink()
    raw.rmdir()
    tokenizer.save_pretrained(folder)
    network = M2M100ForConditionalGeneration(
        M2M100Config(
            vocab_size=len(tokenizer) + 2,
            forced_bos_token_id=tokenizer.convert_tokens_to_ids("deu_Latn"),
            **SHAPE,
        )
    )
    network.save_pretrained(folder)


def write_t5(folder: Path, *, multilingual: bool = False) -> None:
    """T5 with its tied head, or mT5: bytes in the vocabulary, a head of its own, spare rows."""
    model = train_sentencepiece(
        model_type="unigram",
        vocab_size=1100 if multilingual else 900,
        byte_fallback=multilingual,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
    )
    (folder / "spiece.model").write_bytes(model)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer"}')
    kind: Any = MT5Config if multilingual else T5Config
    kind(vocab_size=1).save_pretrained(folder)
    num_rows = len(AutoTokenizer.from_pretrained(folder)) + 12
    config = kind(vocab_size=num_rows, decoder_start_token_id=0, **T5_SHAPE)
    network = (MT5ForConditionalGeneration if multilingual else T5ForConditionalGeneration)(config)
    if multilingual:
        network.lm_head.weight = torch.nn.Parameter(torch.randn_like(network.lm_head.weight))
    network.save_pretrained(folder)


def write_mt5(folder: Path) -> None:
    write_t5(folder, multilingual=True)


FAMILIES: dict[str, Callable[[Path], None]] = {
    "mbart": write_mbart,
    "mbart50": write_mbart50,
    "t5": write_t5,
    "mt5": write_mt5,
    "nllb": write_nllb,
}
