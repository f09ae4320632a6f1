"""Tokens to words, for tokenizers that cut differently."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tiny import tiny_processor
from unglossed.inference.words import merge_words
from unglossed.models.processing import TranslatorProcessor
from unglossed.training.tokenizer import train_tokenizer


def one_frame_a_token(num_tokens: int) -> torch.Tensor:
    """Attention in which token i looks at frame i alone."""
    return torch.eye(num_tokens)


def test_pieces_of_a_word_share_its_mean_attention() -> None:
    processor = tiny_processor()
    text = "sonne nordabend am"  # the second is no word of the tokenizer
    tokens = processor.encode_text(text)
    words = merge_words(processor, tokens, one_frame_a_token(len(tokens)))
    assert [word.word for word in words] == text.split()
    looked_at = [[frame for frame, weight in enumerate(word.weights) if weight] for word in words]
    # Every token but the end token belongs to one word, in order, and each weighs alike.
    assert [frame for frames in looked_at for frame in frames] == list(range(len(tokens) - 1))
    for word, frames in zip(words, looked_at, strict=True):
        assert [word.weights[frame] for frame in frames] == pytest.approx(
            [1 / len(frames)] * len(frames)
        )
    assert [len(frames) > 1 for frames in looked_at] == [False, True, False]


def test_padding_and_special_tokens_are_no_words() -> None:
    processor = tiny_processor()
    tokens = [*processor.encode_text("am abend"), processor.tokenizer.pad_token_id]
    words = merge_words(processor, tokens, one_frame_a_token(len(tokens)))
    assert [word.word for word in words] == ["am", "abend"]
    assert merge_words(processor, tokens[-2:], one_frame_a_token(2)) == ()


def test_chinese_has_a_word_a_token() -> None:
    text = "明天北部下雨"
    tokenizer = train_tokenizer([text, "明天晴"], "zh", 17)  # room for two merges
    processor = TranslatorProcessor(tokenizer=tokenizer, language="zh", start_token="<zh>")
    tokens = processor.encode_text(text)
    words = merge_words(processor, tokens, one_frame_a_token(len(tokens)))
    assert "".join(word.word for word in words) == text
    assert len(words) > 1


def test_bytes_of_one_character_stay_together() -> None:
    # A tokenizer with a token a byte: an umlaut takes two, and half of it is no character.
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate(letters)} | {
        "<pad>": 256,
        "</s>": 257,
    }
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>"
    )
    processor = TranslatorProcessor(tokenizer=tokenizer, language="de", start_token="</s>")
    tokens = processor.encode_text("schön süß")
    words = merge_words(processor, tokens, one_frame_a_token(len(tokens)))
    assert [word.word for word in words] == ["schön", "süß"]
    # s c h o: with umlaut 6 bytes; the space leads the second word: 1 + 5 bytes.
    assert [sum(weight > 0 for weight in word.weights) for word in words] == [6, 6]
