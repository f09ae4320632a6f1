"""Tokenizers for a run: a published one, or byte-pair encoding trained on the run's own text."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from unglossed.errors import InputError
from unglossed.training.recipe import TokenizerSettings
from unglossed.training.sources import load

SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def build_tokenizer(
    settings: TokenizerSettings, texts: Sequence[str], language: str
) -> tuple[PreTrainedTokenizerBase, str]:
    """Load or train the tokenizer of a run.

    Args:
        settings: where it comes from.
        texts: what a trained one is trained on.
        language: of the texts; a trained tokenizer's start token is `<language>`.

    Returns:
        The tokenizer and the token with which the decoder starts.

    Raises:
        InputError: the folder or hub name cannot be loaded, or lacks the start token.
    """
    if settings.pretrained is None:
        tokenizer = train_tokenizer(texts, language, settings.vocab_size)
        tokenizer.add_tokens(list(settings.new_tokens), special_tokens=True)
        return tokenizer, f"<{language}>"
    tokenizer = load(AutoTokenizer, settings.pretrained, "tokenizer.pretrained")
    tokenizer.add_tokens(list(settings.new_tokens), special_tokens=True)
    if tokenizer.pad_token is None:  # as many decoder-only models: nothing is ever padded with it
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    start = settings.start_token or tokenizer.bos_token or tokenizer.pad_token
    if tokenizer.convert_tokens_to_ids(start) in (None, tokenizer.unk_token_id):
        raise InputError(f"tokenizer.start_token: {settings.pretrained} has no token {start!r}")
    return tokenizer, start


def train_tokenizer(
    texts: Sequence[str], language: str, vocab_size: int
) -> PreTrainedTokenizerFast:
    """Train byte-pair encoding whose decoding gives every text of `texts` back, NFC-normalised.

    Spaces are kept as part of the tokens, repeated ones included, so that nothing is lost.
    """
    language_token = f"<{language}>"
    tokenizer = Tokenizer(BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(" "), "merged_with_next"),
            pre_tokenizers.Metaspace(split=False),
        ]
    )
    tokenizer.decoder = decoders.Metaspace()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL_TOKENS, language_token],
        show_progress=False,
    )
    tokenizer.train_from_iterator((unicodedata.normalize("NFC", text) for text in texts), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        extra_special_tokens=[language_token],
        clean_up_tokenization_spaces=False,
    )
