"""Trimmed models: same logits, same texts, no new <unk>, the same bytes, loadable as any other."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import sentencepiece
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE, WordPiece
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BartConfig,
    M2M100Config,
    MBartConfig,
    MBartForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    ResNetConfig,
    T5Config,
    T5ForConditionalGeneration,
)

import tiny
from planned import build_translator
from sentencepiece_models import (
    FAMILIES,
    GERMAN_LETTERS,
    PLANNED,
    SHAPE,
    T5_SHAPE,
    train_sentencepiece,
    write_mbart,
)
from unglossed.errors import InputError
from unglossed.models.processing import TranslatorProcessor, pad_labels, restore_rules
from unglossed.training.recipe import TokenizerSettings
from unglossed.training.settings import StageSettings
from unglossed.training.tokenizer import build_tokenizer
from unglossed.trimming import Selection
from unglossed.trimming.checks import (
    check_logits,
    check_texts,
    check_tokens,
    check_words,
    logits_of,
)
from unglossed.trimming.trim import TrimReport, trim_model

TEXTS = [text["de"] for text in PLANNED[:60]] + ["zwei  Abstände", "3 °C ☂ und Ж", "ﬁn de siècle"]
"""What the models are trimmed to: the last three are not, or not all, in the vocabularies."""

HELD_OUT = [
    "Quellwolken jagten vorbei",
    "Xylophonzwang, 98765 (sic!)",
    "süßer Äther über Öhningen",
    "der ヴ und Ω",
]


class Pair:
    """A whole model and the same one trimmed, with their tokenizers."""

    def __init__(self, source: Path, folder: Path, report: TrimReport) -> None:
        self.source, self.folder, self.report = source, folder, report
        self.whole_tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source)
        restore_rules(self.whole_tokenizer, source)
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        restore_rules(self.tokenizer, folder)
        self.whole: PreTrainedModel = AutoModelForSeq2SeqLM.from_pretrained(source).eval()
        self.model: PreTrainedModel = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
        kept = sorted(self.tokenizer.get_vocab().items(), key=lambda item: item[1])
        self.kept = self.whole_tokenizer.convert_tokens_to_ids([token for token, _ in kept])
        """Old id of each kept token."""


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp(request.param)
    source = folder / "whole"
    source.mkdir()
    torch.manual_seed(0)
    FAMILIES[request.param](source)
    return Pair(source, folder / "trimmed", trim_model(source, TEXTS, folder / "trimmed"))


@pytest.fixture(scope="module")
def mbart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole mBART-shaped model."""
    folder = tmp_path_factory.mktemp("mbart")
    torch.manual_seed(0)
    write_mbart(folder)
    return folder


def encode(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return ids


def test_kept_tokens_have_the_logits_of_the_whole_model(pair: Pair) -> None:
    prompt = [pair.tokenizer.eos_token_id, len(pair.kept) - 1]  # a decoder prompt: two specials
    whole_prompt = [pair.kept[token] for token in prompt]
    for text in TEXTS[:20]:
        new, old = encode(pair.tokenizer, [text])[0], encode(pair.whole_tokenizer, [text])[0]
        with torch.no_grad():
            found = pair.model(
                input_ids=torch.tensor([new]), decoder_input_ids=torch.tensor([prompt + new])
            ).logits
            wanted = pair.whole(
                input_ids=torch.tensor([old]), decoder_input_ids=torch.tensor([whole_prompt + old])
            ).logits

        assert found.shape[-1] == len(pair.kept) < wanted.shape[-1]
        torch.testing.assert_close(found, wanted[..., pair.kept], rtol=1e-5, atol=1e-5)


def test_features_in_the_place_of_words_give_the_same_logits(pair: Pair) -> None:
    embeds = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(9) < torch.tensor([[9], [4]])
    new = pad_labels(encode(pair.tokenizer, TEXTS[:2])).clamp(min=0)
    old = torch.tensor(pair.kept)[new]
    with torch.no_grad():
        found, wanted = (
            model(inputs_embeds=embeds, attention_mask=mask.long(), decoder_input_ids=ids).logits
            for model, ids in ((pair.model, new), (pair.whole, old))
        )

    torch.testing.assert_close(found, wanted[..., pair.kept], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_generation_is_the_whole_models_restricted_to_kept_tokens(
    pair: Pair, num_beams: int
) -> None:
    embeds = torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 6, dtype=torch.long)
    kept = set(pair.kept)
    dropped = [i for i in range(pair.report.tokens_before) if i not in kept]
    settings = {
        "num_beams": num_beams,
        "max_new_tokens": 12,
        "no_repeat_ngram_size": 1,
        "renormalize_logits": True,  # a beam's score counts the tokens that it might have been
    }
    found = pair.model.generate(inputs_embeds=embeds, attention_mask=mask, **settings)
    wanted = pair.whole.generate(
        inputs_embeds=embeds, attention_mask=mask, suppress_tokens=dropped, **settings
    )

    assert torch.tensor(pair.kept)[found].tolist() == wanted.tolist()
    assert len(set(found[0].tolist())) > 5


def test_training_texts_have_the_same_pieces_and_come_back_where_they_did(pair: Pair) -> None:
    new, old = encode(pair.tokenizer, TEXTS), encode(pair.whole_tokenizer, TEXTS)

    assert [[pair.kept[token] for token in row] for row in new] == old
    before = pair.whole_tokenizer.batch_decode(old, skip_special_tokens=True)
    after = pair.tokenizer.batch_decode(new, skip_special_tokens=True)
    assert after == before
    identical = [text == decoded for text, decoded in zip(TEXTS, after, strict=True)]
    assert all(identical[:60])
    assert not all(identical)  # Ж is in no text, and so on: the whole tokenizer loses it as well
    assert pair.report.num_texts == len(TEXTS)
    share = sum(identical) / len(TEXTS)
    assert pair.report.round_trip_before == pair.report.round_trip_after == share


def test_a_held_out_text_has_no_new_unknown_piece(pair: Pair) -> None:
    new, old = encode(pair.tokenizer, HELD_OUT), encode(pair.whole_tokenizer, HELD_OUT)

    assert not {token for row in old for token in row} <= set(pair.kept)  # words that were cut
    for new_ids, old_ids in zip(new, old, strict=True):
        num_unknown = old_ids.count(pair.whole_tokenizer.unk_token_id)
        assert new_ids.count(pair.tokenizer.unk_token_id) == num_unknown
    assert pair.tokenizer.batch_decode(new) == pair.whole_tokenizer.batch_decode(old)


@given(st.lists(st.text(GERMAN_LETTERS, min_size=1, max_size=12), min_size=1, max_size=4))
def test_every_word_in_the_texts_script_can_be_written(pair: Pair, words: list[str]) -> None:
    text = " ".join(words)
    new, old = encode(pair.tokenizer, [text])[0], encode(pair.whole_tokenizer, [text])[0]

    assert pair.whole_tokenizer.unk_token_id not in old
    assert pair.tokenizer.unk_token_id not in new
    assert pair.tokenizer.decode(new) == pair.whole_tokenizer.decode(old) == text


def test_two_runs_give_identical_files(pair: Pair, tmp_path: Path) -> None:
    trim_model(pair.source, TEXTS, tmp_path / "again")

    first = {path.name: path.read_bytes() for path in pair.folder.iterdir()}
    second = {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert first == second
    assert {"config.json", "model.safetensors", "tokenizer.json", "trim.json"} <= first.keys()


def test_special_tokens_and_language_codes_stay_with_their_names_in_the_configurations(
    pair: Pair,
) -> None:
    whole_special = pair.whole_tokenizer.added_tokens_encoder
    assert list(pair.tokenizer.added_tokens_encoder) == list(whole_special)
    assert pair.tokenizer.special_tokens_map == pair.whole_tokenizer.special_tokens_map
    assert pair.kept == sorted(pair.kept)
    num_ids = 0
    for name in ("config", "generation_config"):
        before = getattr(pair.whole, name).to_dict()
        after = getattr(pair.model, name).to_dict()
        for key in (key for key in before if key.endswith("_token_id") and before[key] is not None):
            assert pair.kept[after[key]] == before[key]
            num_ids += 1
    assert num_ids >= 5
    assert pair.model.config.vocab_size == len(pair.tokenizer) == len(pair.kept)


def test_ids_deep_in_the_configuration_are_renumbered(mbart: Path, tmp_path: Path) -> None:
    trim_model(mbart, TEXTS, tmp_path / "trimmed")

    config = json.loads((tmp_path / "trimmed" / "config.json").read_text())
    token_id = config["task_specific_params"]["translation"]["decoder_start_token_id"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "trimmed")
    assert tokenizer.convert_ids_to_tokens(token_id) == "ro_RO"


def test_the_report_says_what_was_cut(pair: Pair) -> None:
    report = pair.report
    saved = load_file(pair.folder / "model.safetensors")
    num_saved = sum(one.numel() for name, one in saved.items() if name != "final_logits_bias")

    assert json.loads((pair.folder / "trim.json").read_text()) == {
        **report.to_dict(),
        "scripts": list(report.scripts or ()),
        "without_row": [],
    }
    assert report.model == str(pair.source)
    assert report.tokens_before == pair.whole.get_input_embeddings().num_embeddings
    assert report.tokens_after == len(pair.tokenizer) < report.tokens_before / 1.5
    assert report.scripts == ("CYRILLIC", "LATIN")
    assert report.parameters_before == pair.whole.num_parameters()
    assert report.parameters_after == num_saved
    assert report.megabytes_after == pytest.approx(4e-6 * num_saved)
    assert report.num_words > 50
    assert 10 < report.num_safety < report.tokens_after
    lines = str(report).splitlines()
    assert f"{report.tokens_before} -> {report.tokens_after}" in lines[0]
    assert "CYRILLIC, LATIN" in lines[0]
    assert f"{report.round_trip_before:.2%} -> {report.round_trip_after:.2%}" in lines[3]


def test_the_trimmed_folder_serves_a_stage_as_tokenizer_and_language_model(pair: Pair) -> None:
    codes = {"MBartTokenizer": "de_DE", "MBart50Tokenizer": "de_DE", "NllbTokenizer": "deu_Latn"}
    settings = TokenizerSettings(
        pretrained=str(pair.folder), start_token=codes.get(type(pair.tokenizer).__name__)
    )
    tokenizer, start_token = build_tokenizer(settings, TEXTS, "de")
    processor = TranslatorProcessor(tokenizer=tokenizer, language="de", start_token=start_token)
    stage = StageSettings.model_validate(
        {
            "name": "second",
            "encoder": {"config": tiny.ENCODER},
            "adapter": {"config": {"hidden_dim": 32}},
            "language_model": {"source": str(pair.folder)},
            "learning_rates": {"encoder": 0.1, "adapter": 0.1, "language_model": 0.1},
            "epochs": 1,
            "batch_size": 2,
        }
    )
    translator = build_translator(stage, {}, processor).eval()
    labels = torch.tensor([processor.encode_text(TEXTS[0])])
    embeds, mask = torch.randn(1, 5, 32), torch.ones(1, 5, dtype=torch.bool)
    read = torch.tensor([[processor.start_token_id, *labels[0, :-1].tolist()]])
    with torch.no_grad():
        found = translator.language_model(embeds, mask, labels)
        wanted = pair.model(inputs_embeds=embeds, decoder_input_ids=read).logits

    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert processor.decode(labels) == [TEXTS[0]]


def test_trimming_again_to_the_same_texts_changes_nothing(pair: Pair, tmp_path: Path) -> None:
    report = trim_model(pair.folder, TEXTS, tmp_path / "again")

    # A character of the lowest score, kept for it before, may be the first of that score now.
    assert report.tokens_after == report.tokens_before
    for name in ("model.safetensors", "tokenizer.json", "config.json", "generation_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (pair.folder / name).read_bytes()


def test_safety_texts_add_their_scripts_but_not_their_words(mbart: Path, tmp_path: Path) -> None:
    chinese = [text["zh"] for text in PLANNED[:50]]
    trim_model(mbart, TEXTS, tmp_path / "without")
    report = trim_model(mbart, TEXTS, tmp_path / "with", safety_texts=chinese)

    without, extended, whole = (
        AutoTokenizer.from_pretrained(folder)
        for folder in (tmp_path / "without", tmp_path / "with", mbart)
    )
    assert report.scripts == ("CJK", "CYRILLIC", "LATIN")
    for text in chinese:
        decoded, decoded_extended, decoded_without = (
            tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True)
            for tokenizer in (whole, extended, without)
        )
        assert decoded == decoded_extended != decoded_without
    longer = {token for token in extended.get_vocab() if re.fullmatch("▁?[一-鿿]{2,}", token)}
    assert not longer
    assert any(re.fullmatch("▁?[一-鿿]{2,}", token) for token in whole.get_vocab())


def test_weights_keep_their_number_format(mbart: Path, tmp_path: Path) -> None:
    source = tmp_path / "half"
    shutil.copytree(mbart, source)
    model = AutoModelForSeq2SeqLM.from_pretrained(source).to(torch.bfloat16)
    model.save_pretrained(source)

    report = trim_model(source, TEXTS, tmp_path / "trimmed")

    weights = load_file(tmp_path / "trimmed" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert report.megabytes_after == pytest.approx(2e-6 * report.parameters_after)


def test_an_empty_folder_is_filled_and_a_full_one_is_refused(mbart: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    trim_model(mbart, TEXTS, tmp_path / "empty")
    assert (tmp_path / "empty" / "trim.json").is_file()

    with pytest.raises(
        InputError, match=r"empty: exists already, expected a new or an empty folder"
    ):
        trim_model(mbart, TEXTS, tmp_path / "empty")
    (tmp_path / "file").write_text("text")
    with pytest.raises(
        InputError, match=r"file: exists already, expected a new or an empty folder"
    ):
        trim_model(mbart, TEXTS, tmp_path / "file")


@pytest.mark.parametrize("texts", [[], ["", "  "]])
def test_no_texts_are_refused(mbart: Path, tmp_path: Path, texts: list[str]) -> None:
    with pytest.raises(InputError, match="found no texts to trim it to"):
        trim_model(mbart, texts, tmp_path / "trimmed")


def test_a_word_piece_tokenizer_is_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer(WordPiece({"[UNK]": 0, "a": 1, "##b": 2}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(tmp_path / "bart")
    BartConfig(vocab_size=3).save_pretrained(tmp_path / "bart")

    with pytest.raises(InputError, match=r"bart: found a WordPiece tokenizer, expected Sentence"):
        trim_model(tmp_path / "bart", TEXTS, tmp_path / "trimmed")
    assert not (tmp_path / "trimmed").exists()


def test_a_tokenizer_outside_the_tokenizers_library_is_refused(tmp_path: Path) -> None:
    file = train_sentencepiece(model_type="bpe", vocab_size=600)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=file)
    vocab = ["<s>", "<pad>", "</s>", "<unk>", *map(pieces.id_to_piece, range(3, len(pieces)))]
    (tmp_path / "sentencepiece.bpe.model").write_bytes(file)
    ids = {piece: i for i, piece in enumerate(vocab)}
    (tmp_path / "vocab.json").write_text(json.dumps(ids))
    M2M100Config(vocab_size=len(vocab)).save_pretrained(tmp_path)

    with pytest.raises(InputError, match="found M2M100Tokenizer, expected a tokenizer of the tok"):
        trim_model(tmp_path, TEXTS, tmp_path / "trimmed")


def test_a_model_that_cannot_be_loaded_is_one_line(mbart: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such folder, expected a m") as caught:
        trim_model(tmp_path / "nowhere", TEXTS, tmp_path / "trimmed")
    assert "\n" not in str(caught.value)

    source = tmp_path / "no_weights"
    shutil.copytree(mbart, source)
    (source / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"no_weights: cannot be loaded as an encoder-decoder: "):
        trim_model(source, TEXTS, tmp_path / "trimmed")


def test_a_model_and_a_tokenizer_of_different_sizes_are_refused(
    mbart: Path, tmp_path: Path
) -> None:
    source = tmp_path / "other"
    shutil.copytree(mbart, source)
    MBartForConditionalGeneration(MBartConfig(vocab_size=500, **SHAPE)).save_pretrained(source)
    with pytest.raises(InputError, match="with token 926 and a model of 500 tokens"):
        trim_model(source, TEXTS, tmp_path / "trimmed")

    config = MBartConfig(vocab_size=990, decoder_start_token_id=980, **SHAPE)
    MBartForConditionalGeneration(config).save_pretrained(source)
    with pytest.raises(InputError, match="found token 980 in the model's configuration"):
        trim_model(source, TEXTS, tmp_path / "trimmed")


def test_a_failed_comparison_leaves_no_folder(tmp_path: Path) -> None:
    """A tokenizer that leaves merges out by chance cuts no text twice into the same pieces."""
    source = tmp_path / "odd"
    core = Tokenizer(BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    core.train_from_iterator(
        TEXTS[:60], BpeTrainer(vocab_size=400, special_tokens=["<pad>", "</s>", "<unk>"])
    )
    core.model.dropout = 0.5
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.save_pretrained(source)
    config = T5Config(vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=1, **T5_SHAPE)
    T5ForConditionalGeneration(config).save_pretrained(source)

    with pytest.raises(InputError, match=r"odd: text \d+: '.*': found pieces .*, expected "):
        trim_model(source, TEXTS[:60], tmp_path / "trimmed")
    assert [path.name for path in tmp_path.iterdir()] == ["odd"]


def test_a_lost_piece_is_an_error_that_names_the_text(pair: Pair) -> None:
    """The comparison itself, given a tokenizer that lacks what a text needs."""
    state = json.loads(pair.whole_tokenizer.backend_tokenizer.to_str())
    text = PLANNED[0]["en"]
    words = set(encode(pair.whole_tokenizer, [text])[0]) - set(pair.kept)
    assert words
    selection = Selection(tuple(pair.kept), (), 0, ("LATIN",))

    with pytest.raises(InputError, match=re.escape(f"text 2: {text!r}: found pieces [")):
        check_texts(pair.whole_tokenizer, pair.tokenizer, [TEXTS[0], text], selection)
    assert check_words(state, pair.whole_tokenizer, pair.tokenizer, selection) > 50
    if state["model"]["byte_fallback"]:  # what has no piece is spelt by its bytes
        return
    with pytest.raises(InputError, match="would become <unk>"):
        check_words(
            state,
            pair.whole_tokenizer,
            pair.tokenizer,
            replace(selection, scripts=("CJK", "LATIN")),
        )


def test_another_decoded_text_is_an_error_that_names_the_text() -> None:
    backend = Tokenizer(BPE(vocab={"▁": 0, "a": 1}, merges=[]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    whole = PreTrainedTokenizerFast(tokenizer_object=backend)
    backend.decoder = decoders.Fuse()
    other = PreTrainedTokenizerFast(tokenizer_object=backend)

    with pytest.raises(InputError, match="text 1: 'a': decodes to '▁a', expected 'a'"):
        check_texts(whole, other, ["a"], Selection((0, 1), (), 0, ()))


def test_exchanged_rows_are_an_error(pair: Pair) -> None:
    ids = encode(pair.whole_tokenizer, TEXTS[:1])
    wanted = [logits_of(pair.whole, ids[0])[:, pair.kept]]
    selection = Selection(tuple(pair.kept), (), 0, ())
    check_logits(pair.model, ids, wanted, selection)

    wanted[0][:, [3, 4]] = wanted[0][:, [4, 3]]
    with pytest.raises(InputError, match="the logits of kept tokens change by"):
        check_logits(pair.model, ids, wanted, selection)


def test_a_moved_token_is_an_error(pair: Pair) -> None:
    state = json.loads(pair.whole_tokenizer.backend_tokenizer.to_str())
    one_less = Selection(tuple(pair.kept[:-1]), (), 0, ())

    check_tokens(state, pair.tokenizer, Selection(tuple(pair.kept), (), 0, ()))
    with pytest.raises(InputError, match=r"cannot be trimmed: found '.*' at \d+, expected None"):
        check_tokens(state, pair.tokenizer, one_less)


def test_texts_of_a_script_that_the_model_lacks_are_refused(mbart: Path, tmp_path: Path) -> None:
    georgian = ["ხვალ წვიმა", "დღეს ქარი და თოვლი"]
    with pytest.raises(InputError) as caught:
        trim_model(mbart, [TEXTS[0], *georgian], tmp_path / "trimmed")
    message = str(caught.value)
    assert message.startswith(f"{mbart}: found ")
    assert f"the texts' tokens to be <unk>, as in text 2: {georgian[0]!r}" in message
    assert message.endswith("expected 10% at most: the model lacks the letters of GEORGIAN")
    assert "\n" not in message
    assert not (tmp_path / "trimmed").exists()


def test_what_is_no_encoder_decoder_is_refused_in_one_line(tmp_path: Path) -> None:
    ResNetConfig().save_pretrained(tmp_path / "resnet")
    for source, told in (
        (tmp_path / "nothing", "no such folder, expected a model folder or a hub name"),
        (tmp_path / "resnet", "found a model of the type 'resnet', expected an encoder-decoder"),
    ):
        with pytest.raises(InputError) as caught:
            trim_model(source, TEXTS, tmp_path / "trimmed")
        assert str(caught.value).startswith(f"{source}: {told}")
        assert "\n" not in str(caught.value)
