"""Names of control tokens in texts are letters, for every kind of tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import (
    AutoTokenizer,
    ByT5Tokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

import llama_gguf
import sentencepiece_models
import tiny
from unglossed.models.processing import TranslatorProcessor, encode_texts, pad_labels, restore_rules
from unglossed.training.tokenizer import train_tokenizer

SPELT = "< / > | _ e x t r a i d 0 1 2 m k p s u n b o M A S K [ ] q D E L t"
CONTROL = [
    *("</s>", "<s>", "<pad>", "<unk>", "<mask>", "<extra_id_0>", "<|im_end|>", "<|endoftext|>"),
    *("[SEP]", "[MASK]", "de_DE", "deu_Latn"),
]


def own(folder: Path) -> PreTrainedTokenizerBase:
    return train_tokenizer([*tiny.SENTENCES, SPELT, *CONTROL, "x</s>y", "</s> </s>"], "de", 300)


def sentencepiece(name: str) -> Callable[[Path], PreTrainedTokenizerBase]:
    def load(folder: Path) -> PreTrainedTokenizerBase:
        sentencepiece_models.FAMILIES[name](folder)
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        restore_rules(tokenizer, folder)
        return tokenizer

    return load


def byte_level(folder: Path) -> PreTrainedTokenizerBase:
    llama_gguf.write_llama(folder / "tiny.gguf")
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, gguf_file=str(folder / "tiny.gguf")
    )
    return tokenizer


def word_piece(folder: Path) -> PreTrainedTokenizerBase:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = sorted({letter for text in [*tiny.SENTENCES, *CONTROL] for letter in text})
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters)]
    core = Tokenizer(WordPiece({one: i for i, one in enumerate(pieces)}, unk_token="[UNK]"))
    core.normalizer = BertNormalizer(lowercase=False, strip_accents=False)
    core.pre_tokenizer = BertPreTokenizer()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        **{"pad_token": "[PAD]", "unk_token": "[UNK]", "eos_token": "[SEP]"},
        mask_token="[MASK]",
    )


KINDS: dict[str, Callable[[Path], PreTrainedTokenizerBase]] = {
    "own": own,
    **{name: sentencepiece(name) for name in sentencepiece_models.FAMILIES},
    "byte-level": byte_level,
    "bytes": lambda _: ByT5Tokenizer(),
    "wordpiece": word_piece,
}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> PreTrainedTokenizerBase:
    return KINDS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("text", ["heute {} regnet", "a{}b", "{}", "{} {}", "＜/s＞ {}"])
def test_no_text_becomes_a_control_token(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    control = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    for name in (*CONTROL, *tokenizer.all_special_tokens):
        (ids,) = encode_texts(tokenizer, [text.format(name, name)])
        assert ids
        assert control.isdisjoint(ids)
    # A piece in its place is as bad: more than one token is needed to spell it.
    assert len(encode_texts(tokenizer, [tokenizer.eos_token])[0]) > 1


def test_ordinary_texts_have_the_ids_that_they_always_had(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    texts = [*tiny.SENTENCES, "süß  mit ☂ und Ж", "1 < 2"]
    expected = tokenizer(texts, add_special_tokens=False)["input_ids"]
    assert encode_texts(tokenizer, texts) == expected
    assert encode_texts(tokenizer, ["</s>", *texts])[1:] == expected


@pytest.mark.parametrize("kind", ["own", "byte-level", "bytes"])
def test_they_come_back_as_they_were_written(kind: str, tmp_path: Path) -> None:
    processor = TranslatorProcessor(KINDS[kind](tmp_path), "de", "<de>")
    texts = [f"heute {name} im norden" for name in CONTROL] + ["x</s>y"]
    assert processor.decode(pad_labels(processor.encode_texts(texts))) == texts


def test_the_end_token_stands_at_the_end_alone(tokenizer: PreTrainedTokenizerBase) -> None:
    processor = TranslatorProcessor(tokenizer, "de", tokenizer.pad_token)
    end = tokenizer.eos_token_id
    ids = processor.encode_text(f"heute {tokenizer.eos_token} regnet es")
    assert ids.index(end) == len(ids) - 1


def test_a_trained_tokenizer_learns_no_control_token_from_texts() -> None:
    tokenizer = train_tokenizer(["regen</s>sonne <pad> wind"] * 20, "de", 200)
    pieces = [piece for piece, i in tokenizer.get_vocab().items() if i > 5]
    assert not [piece for piece in pieces if "</s>" in piece or "<pad>" in piece]
