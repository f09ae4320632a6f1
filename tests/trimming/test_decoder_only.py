"""Trimmed decoder-only models: the same logits, texts, words and generation, whatever the kind."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

import tiny
from decoder_only_models import FAMILIES, SHAPE, byte_level, save, seeded
from planned import build_translator
from sentencepiece_models import PLANNED
from unglossed.errors import InputError
from unglossed.models.processing import TranslatorProcessor, encode_texts, restore_rules
from unglossed.training.parts import plan_language_model
from unglossed.training.recipe import TokenizerSettings
from unglossed.training.settings import LanguageModelSettings, StageSettings
from unglossed.training.tokenizer import build_tokenizer
from unglossed.trimming.trim import TrimReport, trim_model

TEXTS = [
    *(text["de"] for text in PLANNED[:60]),
    "zwei  Abstände\n\n\nund Zeilen",
    "3 °C ☂ und Ж, 明天 Quellwolken",
    "a <unused3> b <|repo_name|> c </s>",
]
"""What the models are trimmed to; the last three hold what is in no vocabulary as a whole."""

CHAT = [
    {"role": "user", "content": TEXTS[0]},
    {"role": "assistant", "content": TEXTS[1]},
    {"role": "user", "content": TEXTS[2]},
]


class Pair:
    """A whole model and the same one trimmed, with their tokenizers."""

    def __init__(self, source: Path, folder: Path, report: TrimReport) -> None:
        self.source, self.folder, self.report = source, folder, report
        self.whole_tokenizer, self.tokenizer = map(load_tokenizer, (source, folder))
        self.whole: PreTrainedModel = AutoModelForCausalLM.from_pretrained(source).eval()
        self.model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder).eval()
        kept = sorted(self.tokenizer.get_vocab().items(), key=lambda item: item[1])
        self.kept = self.whole_tokenizer.convert_tokens_to_ids([token for token, _ in kept])
        """Old id of each kept token."""

    def old(self, ids: list[int]) -> list[int]:
        return [self.kept[token] for token in ids]


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    restore_rules(tokenizer, folder)
    return tokenizer


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp(request.param)
    source = seeded(request.param, folder / "whole")
    return Pair(source, folder / "trimmed", trim_model(source, TEXTS, folder / "trimmed"))


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return seeded("qwen", tmp_path_factory.mktemp("models") / "qwen")


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return seeded("gemma", tmp_path_factory.mktemp("models") / "gemma")


def trim_error(source: Path, output: Path, texts: list[str] = TEXTS) -> str:
    """The one line with which trimming ends; no folder is left."""
    with pytest.raises(InputError) as caught:
        trim_model(source, texts, output)
    message = str(caught.value)
    assert message.startswith(str(source))
    assert "\n" not in message
    assert not output.exists()
    return message


def edit(path: Path, **fields: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | fields), encoding="utf-8")


def test_kept_tokens_have_the_logits_of_the_whole_model(pair: Pair) -> None:
    for text in TEXTS:
        new = pair.tokenizer(text)["input_ids"]
        with torch.no_grad():
            found = pair.model(input_ids=torch.tensor([new])).logits
            wanted = pair.whole(input_ids=torch.tensor([pair.old(new)])).logits

        assert found.shape[-1] == len(pair.kept) < wanted.shape[-1]
        torch.testing.assert_close(found, wanted[..., pair.kept], rtol=1e-5, atol=1e-5)
    assert pair.kept == sorted(pair.kept)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_it_generates_the_text_of_the_whole_model(pair: Pair, num_beams: int) -> None:
    """After tokens, and after features in their place."""
    kept = set(pair.kept)
    settings: dict[str, Any] = {
        "num_beams": num_beams,
        "do_sample": False,
        "max_new_tokens": 12,
        "no_repeat_ngram_size": 1,
        "renormalize_logits": True,  # a beam's score counts the tokens that it might have been
    }
    dropped = [i for i in range(pair.report.tokens_before) if i not in kept]
    features = torch.randn(1, 6, 32, generator=torch.Generator().manual_seed(1))
    new = pair.tokenizer(TEXTS[0])["input_ids"]
    read: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"input_ids": torch.tensor([new])}, {"input_ids": torch.tensor([pair.old(new)])}),
    ]
    if "gemma_multimodal" not in str(pair.source):  # transformers' does not generate after features
        read.append(({"inputs_embeds": features}, {"inputs_embeds": features}))
    for ours, theirs in read:
        found = pair.model.generate(**ours, **settings)[0].tolist()
        wanted = pair.whole.generate(**theirs, suppress_tokens=dropped, **settings)[0].tolist()

        assert pair.old(found) == wanted
        assert len(set(found)) > 5
        assert pair.tokenizer.decode(found) == pair.whole_tokenizer.decode(wanted)


def test_texts_have_the_same_pieces_and_come_back(pair: Pair) -> None:
    new, old = (encode_texts(one, TEXTS) for one in (pair.tokenizer, pair.whole_tokenizer))

    assert [pair.old(row) for row in new] == old
    assert [text.strip() for text in pair.tokenizer.batch_decode(new)] == TEXTS
    assert pair.report.round_trip_before == pair.report.round_trip_after == 1
    for text in TEXTS[:-1]:  # and with what begins a text
        new_ids, old_ids = (
            one(text)["input_ids"] for one in (pair.tokenizer, pair.whole_tokenizer)
        )
        assert pair.old(new_ids) == old_ids


def test_each_word_has_the_same_pieces_with_and_without_a_space_before_it(pair: Pair) -> None:
    words = sorted({word for text in TEXTS for word in text.split()})
    spaced = [*words, *(f" {word}" for word in words)]
    new, old = (encode_texts(one, spaced) for one in (pair.tokenizer, pair.whole_tokenizer))

    assert [pair.old(row) for row in new] == old


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_no_text_is_lost(pair: Pair, text: str) -> None:
    new, old = (encode_texts(one, [text])[0] for one in (pair.tokenizer, pair.whole_tokenizer))

    assert pair.tokenizer.decode(new) == pair.whole_tokenizer.decode(old)
    assert pair.report.scripts is None


def test_chats_have_the_same_pieces(pair: Pair) -> None:
    assert pair.tokenizer.chat_template == pair.whole_tokenizer.chat_template
    if pair.tokenizer.chat_template is None:
        return
    new, old = (
        one.apply_chat_template(CHAT, add_generation_prompt=True, return_dict=False)
        for one in (pair.tokenizer, pair.whole_tokenizer)
    )

    assert pair.old(new) == old
    assert pair.tokenizer.decode(new) == pair.whole_tokenizer.decode(old)


def test_special_tokens_keep_their_names_and_places(pair: Pair) -> None:
    ours, theirs = pair.tokenizer.special_tokens_map, pair.whole_tokenizer.special_tokens_map
    assert {**theirs} == {**ours, **{k: v for k, v in theirs.items() if k == "image_token"}}
    assert {type(pair.tokenizer)} == {type(pair.whole_tokenizer)}
    assert len(pair.tokenizer) == len(pair.kept) == pair.report.tokens_after
    assert pair.model.get_input_embeddings().weight.shape[0] == len(pair.kept)
    assert pair.model.config.get_text_config().vocab_size == len(pair.kept)

    num_ids = 0
    for name in ("config", "generation_config"):
        before, after = (
            json.loads((folder / f"{name}.json").read_text())
            for folder in (pair.source, pair.folder)
        )
        nested = [(before, after)]
        nested += [(value, after[key]) for key, value in before.items() if isinstance(value, dict)]
        for one, other in nested:
            for key in one:
                if key.endswith(("_token_id", "_token_index")) and one[key] is not None:
                    ids = other[key] if isinstance(other[key], list) else [other[key]]
                    assert pair.old(ids) == (one[key] if isinstance(one[key], list) else [one[key]])
                    num_ids += len(ids)
    assert num_ids >= 4
    if "gemma_multimodal" in str(pair.source):
        index = pair.model.config.image_token_index
        assert pair.tokenizer.convert_ids_to_tokens(index) == "<image_soft_token>"


def test_tied_tables_stay_one_and_others_two(pair: Pair) -> None:
    saved = load_file(pair.folder / "model.safetensors")
    tables = [name for name, weight in saved.items() if weight.shape[0] == len(pair.kept)]
    tied = pair.whole.get_input_embeddings().weight is pair.whole.get_output_embeddings().weight

    assert tied == ("llama2" not in str(pair.source))
    assert len(tables) == (1 if tied else 2)
    assert pair.report.parameters_before == pair.whole.num_parameters()
    assert pair.report.parameters_after == sum(one.numel() for one in saved.values())
    rows = pair.report.tokens_before - pair.report.tokens_after
    cut = pair.report.parameters_before - pair.report.parameters_after
    assert cut == len(tables) * rows * SHAPE["hidden_size"]


def test_the_report_is_beside_it(pair: Pair) -> None:
    told = json.loads((pair.folder / "trim.json").read_text())

    assert told["tokens_before"] > 1.35 * told["tokens_after"]
    assert told["scripts"] is None
    assert told["num_words"] > 200
    assert told["lacking"] == ""
    text = str(pair.report)
    assert "of them for safety: every byte\n" in text
    assert ("left out    <image_soft_token>: no row in the model" in text) == (
        pair.source.parent.name.startswith("gemma0")
    )


def test_two_runs_give_identical_files(pair: Pair, tmp_path: Path) -> None:
    trim_model(pair.source, TEXTS, tmp_path / "again")

    first, second = (
        {path.name: path.read_bytes() for path in folder.iterdir()}
        for folder in (pair.folder, tmp_path / "again")
    )
    assert first == second


def test_trimming_again_to_the_same_texts_changes_nothing(pair: Pair, tmp_path: Path) -> None:
    trim_model(pair.folder, TEXTS, tmp_path / "again")

    for name in ("model.safetensors", "tokenizer.json", "config.json", "generation_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (pair.folder / name).read_bytes()


def test_the_trimmed_folder_serves_a_stage_as_tokenizer_and_language_model(pair: Pair) -> None:
    tokenizer, start = build_tokenizer(
        TokenizerSettings(pretrained=str(pair.folder)), TEXTS[:60], "de"
    )
    processor = TranslatorProcessor(tokenizer=tokenizer, language="de", start_token=start)
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
    if "gemma_multimodal" in str(pair.source):
        with pytest.raises(InputError, match="'gemma3', which writes no text after features"):
            build_translator(stage, {}, processor)
        return
    translator = build_translator(stage, {}, processor).eval()
    labels = torch.tensor([processor.encode_text(TEXTS[0])])
    embeds = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(1))
    words = pair.model.get_input_embeddings()(labels[:, :-1])
    starts = [] if tokenizer.bos_token is None else [processor.start_token_id]
    start = pair.model.get_input_embeddings()(torch.tensor([starts], dtype=torch.long))
    with torch.no_grad():
        found = translator.language_model(embeds, torch.ones(1, 5, dtype=torch.bool), labels)
        read = torch.cat([start, embeds, words], dim=1)
        wanted = pair.model(inputs_embeds=read).logits[:, -labels.shape[1] :]

    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert processor.decode(labels) == [TEXTS[0]]


def test_added_tokens_stay_where_something_uses_them(
    qwen: Path, gemma: Path, tmp_path: Path
) -> None:
    trim_model(qwen, TEXTS, tmp_path / "qwen")
    trim_model(gemma, TEXTS, tmp_path / "gemma")
    words = AutoTokenizer.from_pretrained(tmp_path / "qwen").get_vocab().keys()
    lines = AutoTokenizer.from_pretrained(tmp_path / "gemma").get_vocab().keys()

    assert {"<think>", "</think>", "<|endoftext|>"} <= words  # named by the template, or special
    assert "<|repo_name|>" not in words
    assert {"\n\n\n", "\n", "<start_of_turn>", "<mask>"} <= lines
    assert not {"\n\n", "<unused3>", "<image_soft_token>"} & lines


def test_a_piece_that_no_merge_reaches_is_still_found_whole(tmp_path: Path) -> None:
    source = seeded("llama3", tmp_path / "whole")
    trim_model(source, ["Quellwolken im Abendrot"], tmp_path / "trimmed")

    for folder in (source, tmp_path / "trimmed"):
        tokens = AutoTokenizer.from_pretrained(folder).tokenize("Quellwolken im Abendrot")
        assert tokens[0] == "Quellwolken"
        assert tokens[-1] == "\u0120Abendrot"


def test_kept_texts_keep_their_pieces(qwen: Path, tmp_path: Path) -> None:
    prompt = PLANNED[70]["en"]
    less = trim_model(qwen, TEXTS, tmp_path / "without")
    more = trim_model(qwen, TEXTS, tmp_path / "with", kept_texts=[prompt])

    whole, without, extended = map(load_tokenizer, (qwen, tmp_path / "without", tmp_path / "with"))
    assert extended.tokenize(prompt) == whole.tokenize(prompt) != without.tokenize(prompt)
    assert less.tokens_after < more.tokens_after
    assert less.num_texts == more.num_texts == len(TEXTS)


def test_a_template_that_is_not_jinja_is_left_as_it_is(qwen: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(qwen, source)
    edit(source / "tokenizer_config.json", chat_template="{{ 'open")
    trim_model(source, TEXTS, tmp_path / "trimmed")

    assert load_tokenizer(tmp_path / "trimmed").chat_template == "{{ 'open"


def test_a_template_never_runs(qwen: Path, tmp_path: Path) -> None:
    """One that would count for years is read in no time."""
    source = tmp_path / "source"
    shutil.copytree(qwen, source)
    loops = "{% for i in range(99999) %}" * 4 + "wetter" + "{% endfor %}" * 4
    edit(source / "tokenizer_config.json", chat_template=loops)

    assert trim_model(source, TEXTS, tmp_path / "trimmed").num_texts == len(TEXTS)


def test_a_byte_level_encoder_decoder_goes_the_same_way(tmp_path: Path) -> None:
    core = byte_level(r"\s?\S+|\s+", 900)
    core.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    ids = {name: core.token_to_id(name) for name in ("<s>", "<pad>", "</s>")}
    config = BartConfig(
        vocab_size=core.get_vocab_size(),
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        bos_token_id=ids["<s>"],
        pad_token_id=ids["<pad>"],
        eos_token_id=ids["</s>"],
        decoder_start_token_id=ids["</s>"],
        forced_eos_token_id=ids["</s>"],
    )
    (tmp_path / "bart").mkdir()
    model = BartForConditionalGeneration(config)
    save(tmp_path / "bart", core, "TokenizersBackend", model, eos_token="</s>", pad_token="<pad>")
    report = trim_model(tmp_path / "bart", TEXTS, tmp_path / "trimmed")

    assert report.tokens_after < report.tokens_before
    assert report.scripts is None


def few_bytes(folder: Path, letters: str) -> Path:
    """A Llama whose byte-level tokenizer knows no other bytes than those of some letters."""
    core = Tokenizer(BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator([letters], BpeTrainer(vocab_size=300, show_progress=False))
    core.add_special_tokens([AddedToken("<eos>")])
    size = core.get_vocab_size()
    config = LlamaConfig(vocab_size=size, bos_token_id=size - 1, eos_token_id=size - 1, **SHAPE)
    folder.mkdir()
    save(folder, core, "TokenizersBackend", LlamaForCausalLM(config), eos_token="<eos>")
    return folder


def test_letters_whose_bytes_are_missing_are_told_or_refused(tmp_path: Path) -> None:
    """Byte-level merges drop them without a trace."""
    source = few_bytes(tmp_path / "model", "regen am abend ü")
    assert load_tokenizer(source).unk_token is None
    texts = ["regen am abend", "regen", "abends"]
    report = trim_model(source, texts, tmp_path / "trimmed")
    assert report.round_trip_before == report.round_trip_after == pytest.approx(2 / 3)
    assert report.lacking == "'s' (once)"
    assert "not written 's' (once): the whole tokenizer lacks it, too" in str(report)
    assert report.scripts is None  # every byte that it has stays

    told = trim_error(source, tmp_path / "other", ["regen", "ხვალ წვიმა"])
    assert "found 60.0% of the texts' characters to be lost, as in text 2: 'ხვალ წვიმა'" in told
    assert told.endswith("expected 10% at most: the model lacks the letters of GEORGIAN")


def test_a_token_with_a_role_needs_a_row(gemma: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(gemma, source)
    edit(source / "tokenizer_config.json", eos_token="<image_soft_token>")
    assert "with token 1500 and a model of 1500 tokens" in trim_error(source, tmp_path / "out")
    edit(source / "tokenizer_config.json", eos_token="<eos>")
    edit(source / "generation_config.json", eos_token_id=[1, 1500])
    assert "with token 1500 and a model of 1500 tokens" in trim_error(source, tmp_path / "out")
    edit(source / "generation_config.json", eos_token_id=[1, 1600])
    told = trim_error(source, tmp_path / "out")
    assert "found token 1600 in the model's configuration, which the tokenizer does not" in told


def test_faults_of_a_folder_are_one_line(qwen: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(qwen, source)
    tokenizer, config = source / "tokenizer.json", source / "config.json"
    written = {path: path.read_bytes() for path in source.iterdir()}

    def told(fault: str) -> None:
        assert fault in trim_error(source, tmp_path / "out")
        for path, content in written.items():
            path.write_bytes(content)

    tokenizer.write_bytes(written[tokenizer][:5000])
    told("tokenizer.json")
    state = json.loads(written[tokenizer])
    del state["added_tokens"][0]["rstrip"]  # which the class does without
    tokenizer.write_text(json.dumps(state))
    told("tokenizer.json: cannot be read as a tokenizer: missing field `rstrip`")
    state = json.loads(written[tokenizer])
    state["model"]["vocab"]["o"] = 10_000_001  # no published one has as many
    tokenizer.write_text(json.dumps(state))
    told("/tokenizer.json: found 'o' at 10000001, expected ids up to 10000000")
    state = json.loads(written[tokenizer])
    vocab = state["model"]["vocab"]
    vocab[max(vocab, key=vocab.__getitem__)] += 1  # a hole, which moves the added tokens
    tokenizer.write_text(json.dumps(state))
    told("tokenizer.json: found ")
    state = json.loads(written[tokenizer])
    state["model"]["merges"].append(["Wolke", "nbruch"])
    tokenizer.write_text(json.dumps(state))
    told("cannot be loaded as a tokenizer")
    edit(source / "generation_config.json", sequence_bias=[[[1], 2.0]])
    told("generation_config.json: sequence_bias: found tokens by their ids, which trimming does")
    (source / "generation_config.json").write_text("{")
    told("generation_config.json: is not JSON: ")
    edit(source / "tokenizer_config.json", chat_template={"default": 5})
    told("tokenizer_config.json: chat_template: found 5, expected a text")
    edit(config, quantization_config={"quant_method": "gptq", "bits": 4})
    told("config.json: quantization_config: found quantised weights (gptq), expected plain ones")
    edit(config, vocab_size=900)
    told("no model can be built from it")
    edit(config, vocab_size=1472)
    told("cannot be loaded as a language model")
    edit(config, eos_token_id=1407)
    told("found token 1407 in the model's configuration, which the tokenizer does not have")


def test_missing_weights_are_never_made_up(qwen: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(qwen, source)
    model = AutoModelForCausalLM.from_pretrained(qwen)
    model.save_pretrained(source, max_shard_size="60KB")
    (source / "model.safetensors").unlink()
    index = source / "model.safetensors.index.json"
    trim_model(source, TEXTS, tmp_path / "trimmed")

    shard = next(source.glob("model-00002*"))
    weights = load_file(shard)
    lost = weights.popitem()[0]
    save_file(weights, shard)
    assert f"lacks weights: 1, as {lost}" in trim_error(source, tmp_path / "out")
    shard.unlink()
    assert "cannot be loaded as a language model" in trim_error(source, tmp_path / "out")
    index.write_text("{")
    assert "cannot be loaded as a language model" in trim_error(source, tmp_path / "out")


def test_a_gguf_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    told = trim_error(file, tmp_path / "out")
    assert told == f"{file}: found a file, expected a model folder or a hub name"


def test_training_points_a_pair_with_a_token_without_a_row_to_trimming(
    gemma: Path, tmp_path: Path
) -> None:
    """As Gemma 3's text models are published; any other pair is told to name the model's own."""
    tokenizer, start = build_tokenizer(TokenizerSettings(pretrained=str(gemma)), TEXTS[:3], "de")
    processor = TranslatorProcessor(tokenizer=tokenizer, language="de", start_token=start)
    part = LanguageModelSettings(source=str(gemma))
    with pytest.raises(InputError) as caught:
        plan_language_model(part, {}, processor)
    rows = len(tokenizer) - 1
    assert str(caught.value) == (
        f"source: found a model of {rows} tokens, expected at least the tokenizer's {rows + 1}, of"
        " which '<image_soft_token>' was added and has no row: if both are of one model, make both"
        " anew by `unglossed trim`, which leaves out such tokens; else name the model's own in"
        " tokenizer.pretrained"
    )
    trim_model(gemma, TEXTS, tmp_path / "trimmed")
    part = LanguageModelSettings(source=str(tmp_path / "trimmed"))
    with pytest.raises(InputError, match=r"tokenizer's \d+: name the model's own in tokenizer"):
        plan_language_model(part, {}, processor)
    own = AutoTokenizer.from_pretrained(tmp_path / "trimmed")
    processor = TranslatorProcessor(tokenizer=own, language="de", start_token=own.bos_token)
    assert plan_language_model(part, {}, processor).config["vocab_size"] == len(own)
