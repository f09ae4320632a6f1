"""Published tokenizers keep the rules of their files, however they are loaded and saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sentencepiece
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from sentencepiece_models import FAMILIES, train_sentencepiece, write_mbart, write_mt5
from unglossed.models.processing import TranslatorProcessor, encode_texts, pad_labels
from unglossed.training.sources import load
from unglossed.trimming.trim import trim_model

WIDE = "Regen！ １２ Ｇｒａｄ，ﬁn"
FOLDED = "Regen! 12 Grad,fin"


def back(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    ids = encode_texts(tokenizer, [text])[0]
    return str(tokenizer.decode(ids, skip_special_tokens=True)).strip()


@pytest.mark.parametrize("family", FAMILIES)
def test_wide_marks_are_folded_as_sentencepiece_does(family: str, tmp_path: Path) -> None:
    FAMILIES[family](tmp_path)
    tokenizer = load(AutoTokenizer, str(tmp_path))
    assert back(tokenizer, WIDE) == FOLDED

    start = str(tokenizer.pad_token)
    TranslatorProcessor(tokenizer, "de", start).save_pretrained(tmp_path / "saved")
    saved = TranslatorProcessor.from_pretrained(tmp_path / "saved")
    assert saved.decode(pad_labels([saved.encode_text(WIDE)])) == [FOLDED]
    saved.save_pretrained(tmp_path / "again")
    again = TranslatorProcessor.from_pretrained(tmp_path / "again")
    assert again.encode_text(WIDE) == saved.encode_text(WIDE)


def test_the_pieces_are_sentencepieces(tmp_path: Path) -> None:
    write_mbart(tmp_path)
    tokenizer = load(AutoTokenizer, str(tmp_path))
    pieces = sentencepiece.SentencePieceProcessor(str(tmp_path / "sentencepiece.bpe.model"))
    for text in (WIDE, "morgen  regnet es", "①②　Ⅳ"):
        found = [one for one in tokenizer.tokenize(text) if one != "<unk>"]
        known = [one for one in pieces.encode(text, out_type=str) if pieces.piece_to_id(one)]
        assert found == known


@pytest.mark.parametrize("beside", [True, False])
def test_rules_that_a_saved_mbart_tokenizer_lacks_come_back(beside: bool, tmp_path: Path) -> None:
    write_mbart(tmp_path)
    AutoTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "tokenizer.json").read_text())["normalizer"] is None
    if not beside:
        (tmp_path / "sentencepiece.bpe.model").unlink()
    assert back(load(AutoTokenizer, str(tmp_path)), WIDE) == FOLDED


def test_rules_of_ones_own_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "sentencepiece.bpe.model").write_bytes(
        train_sentencepiece(
            model_type="unigram", vocab_size=900, normalization_rule_name="nmt_nfkc_cf"
        )
    )
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "MBartTokenizer"}')
    (tmp_path / "config.json").write_text('{"model_type": "mbart"}')
    assert back(load(AutoTokenizer, str(tmp_path)), "REGEN！") == "regen!"


def test_mt5_spells_an_unknown_character_by_its_bytes(tmp_path: Path) -> None:
    write_mt5(tmp_path)
    text = "Regen ☂ und Ж"
    tokenizer = load(AutoTokenizer, str(tmp_path))
    assert back(tokenizer, text) == text
    tokenizer.save_pretrained(tmp_path / "saved")
    assert back(load(AutoTokenizer, str(tmp_path / "saved")), text) == text


def test_a_trimmed_model_keeps_them(tmp_path: Path) -> None:
    for write, text in ((write_mbart, WIDE), (write_mt5, "Regen ☂！")):
        folder = tmp_path / write.__name__
        folder.mkdir()
        write(folder)
        trim_model(folder, ["Regen am Morgen", "12 Grad"] * 3 + [WIDE], folder / "trimmed")
        trimmed = load(AutoTokenizer, str(folder / "trimmed"))
        assert back(trimmed, text) == back(load(AutoTokenizer, str(folder)), text)


@pytest.mark.parametrize("name", ["GPT2Tokenizer", "GemmaTokenizer", "Qwen2Tokenizer"])
def test_a_file_says_how_texts_are_cut_not_the_class(name: str, tmp_path: Path) -> None:
    """SmolLM2 is published as GPT-2's class with digits cut one by one."""
    written = Tokenizer(BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    written.pre_tokenizer = pre_tokenizers.Sequence(
        [digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    written.decoder = decoders.ByteLevel()
    texts = ["12 Grad", "Ende 12"] * 5
    plain = Tokenizer(BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(
        special_tokens=["<eos>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    plain.train_from_iterator(texts, trainer)
    written.model = plain.model  # has a piece for 12
    written.save(str(tmp_path / "tokenizer.json"))
    config = {"tokenizer_class": name, "eos_token": "<eos>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')

    tokenizer = load(AutoTokenizer, str(tmp_path))
    for text in ("12 Grad", "heute 2024 Ende", "süß 明天"):
        assert encode_texts(tokenizer, [text]) == [written.encode(text).ids]
        assert back(tokenizer, text) == text
