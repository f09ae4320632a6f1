"""Tokens to words, for tokenizers that cut differently."""

import base64

import cv2
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tiny import tiny_decoder_only, tiny_processor
from unglossed.config import DecodingSettings
from unglossed.inference.output import merge_words
from unglossed.inference.translator import translate_features
from unglossed.models.processing import TranslatorProcessor
from unglossed.plots import heat_map
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
    processor = TranslatorProcessor(tokenizer=tokenizer, language="de", start_token="<zh>")
    assert len(merge_words(processor, tokens, one_frame_a_token(len(tokens)))) == 1
    assert merge_words(processor, tokens, one_frame_a_token(len(tokens)), "zh") == words


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


@pytest.mark.parametrize("pads_with_end", [False, True])
@pytest.mark.parametrize(
    ("settings", "n_best"), [({"beams": 1}, 1), ({"beams": 3}, 2), ({"sample": True}, 4)]
)
def test_words_of_a_decoder_only_model_look_at_their_own_clip(
    pads_with_end, settings, n_best
) -> None:
    processor = tiny_processor()
    if pads_with_end:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    model = tiny_decoder_only(processor, seed=3, before="am ", after=" abend")
    generator = torch.Generator().manual_seed(4)
    clips = [torch.randn(length, 24, generator=generator) for length in (5, 14, 9, 1)]
    decoding = DecodingSettings(max_new_tokens=20, **settings)
    together, alone = (
        translate_features(
            *(model, processor, clips, decoding), n_best=n_best, attention=True, batch_size=size
        )
        for size in (4, 1)
    )
    for clip, row, other in zip(clips, together, alone, strict=True):
        assert row.num_frames == len(clip)
        assert " ".join(word.word for word in row.attention).split() == row.text.split()
        for word, same in zip(row.attention, other.attention, strict=True):
            assert sum(word.weights) == pytest.approx(1, abs=1e-4)
            assert word.weights == pytest.approx(same.weights, abs=1e-5)
            assert len(word.weights) == len(clip)
        if row.attention:
            data = base64.b64decode(heat_map(row.attention).partition(",")[2])
            drawn = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            assert drawn.shape == (len(row.attention), len(clip), 4)
    assert len({len(row.attention) for row in together}) > 1


def test_attention_of_a_decoder_only_model_is_that_of_the_whole_sequence() -> None:
    processor = tiny_processor()
    model = tiny_decoder_only(processor, before="am ", after=" abend")
    clip = torch.randn(1, 6, 24, generator=torch.Generator().manual_seed(4))
    mask = torch.ones(1, 6, dtype=torch.bool)
    text = processor.encode_text("morgen regnet es im norden")
    writer = model.language_model
    table = writer.model.get_input_embeddings()
    ids = [torch.tensor([side]) for side in (writer.before, writer.after, text)]
    writer.model.set_attn_implementation("eager")
    with torch.no_grad():
        before, after, words = (table(one) for one in ids)
        whole = torch.cat([before, model.adapter(clip, mask)[0], after, words], 1)
        layers = writer.model(inputs_embeds=whole, output_attentions=True).attentions
        found = merge_words(processor, text, model.attend(clip, mask, ids[2])[0])
    weights = torch.stack(layers).mean((0, 2))[0]
    first = len(writer.before)
    start = first + 6 + len(writer.after) - 1  # the position that says the text's first token
    looked = weights[start : start + len(text), first : first + 6]
    expected = merge_words(processor, text, looked / looked.sum(-1, keepdim=True))
    assert [word.word for word in found] == "morgen regnet es im norden".split()
    for word, other in zip(found, expected, strict=True):
        assert word.weights == pytest.approx(other.weights, abs=1e-6)
