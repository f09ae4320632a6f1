"""A stage's language model: prompt, new tokens, random weights, LoRA, inheritance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    MBartConfig,
    MBartForConditionalGeneration,
    MT5Config,
    MT5ForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

import llama_gguf
import tiny
from planned import build_text_model, build_translator, language_model_part, plan
from unglossed.errors import InputError
from unglossed.models.language_model import DecoderOnly, build_language_model
from unglossed.models.processing import TranslatorProcessor, pad_labels
from unglossed.models.translator import PARTS, Translator
from unglossed.models.tuning import QuantizedLinear, is_lora
from unglossed.training.build import fit_vocabulary
from unglossed.training.objectives.translation import text_loss
from unglossed.training.optimizers import build_optimizer
from unglossed.training.parts import new_language_model_config
from unglossed.training.prompts import default_prompt, prompt_ids
from unglossed.training.recipe import Recipe, TokenizerSettings
from unglossed.training.settings import LanguageModelSettings, PromptSettings, StageSettings
from unglossed.training.tokenizer import (
    build_tokenizer,
    check_own_tokenizers,
    train_tokenizer,
)

NEW_TOKENS = ("<signs>", "</signs>")
LORA = {"r": 4, "alpha": 8.0, "dropout": 0.0}
WHERE = "stages.second.language_model"


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GGUF file of a Llama whose tokenizer has no new tokens."""
    path = tmp_path_factory.mktemp("gguf") / "llama.gguf"
    llama_gguf.write_llama(path)
    return path


def processor_for(gguf: Path, *new_tokens: str) -> TranslatorProcessor:
    """The processor of a run whose tokenizer is the file's."""
    settings = TokenizerSettings(pretrained=str(gguf), new_tokens=new_tokens)
    tokenizer, start = build_tokenizer(settings, [], "en")
    return TranslatorProcessor(
        tokenizer=tokenizer, language="en", start_token=start, new_tokens=new_tokens
    )


def stage(gguf: Path, name: str = "second", **changes: Any) -> StageSettings:
    """A stage with the file's language model, its encoder frozen, with changes."""
    settings: dict[str, Any] = {
        "name": name,
        "encoder": {"config": {"backbone": tiny.ENCODER["backbone"], "temporal_dim": 24}},
        "adapter": {"config": {"hidden_dim": 32}},
        "language_model": {"source": str(gguf), "lora": LORA},
        "frozen": ["encoder"],
        "learning_rates": {"adapter": 0.01, "language_model": 0.01},
        "epochs": 1,
        "batch_size": 2,
    }
    return StageSettings.model_validate(settings | changes)


def batch(processor: TranslatorProcessor) -> dict[str, torch.Tensor]:
    """Features of two clips with the first two sentences."""
    features = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(0))
    labels = [processor.encode_text(text) for text in llama_gguf.SENTENCES[:2]]
    mask = torch.arange(5) < torch.tensor([5, 3])[:, None]
    return {"features": features, "mask": mask, "labels": pad_labels(labels)}


def train_two_steps(model: Translator, settings: StageSettings, inputs: dict[str, Any]) -> None:
    optimizer = build_optimizer(settings, model)
    for _ in range(2):
        optimizer.zero_grad()
        text_loss(model(**inputs).logits, inputs["labels"]).backward()
        optimizer.step()


def copied(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in module.state_dict().items()}


def changed(module: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    after = module.state_dict()
    assert after.keys() == before.keys()
    return {name for name, weight in before.items() if not torch.equal(weight, after[name])}


def test_a_prompt_is_made_of_the_tokenizers_tokens(gguf: Path) -> None:
    processor = processor_for(gguf, *NEW_TOKENS)
    tokenizer = processor.tokenizer
    prompt = PromptSettings(before="<|im_start|>today<signs>", after="</signs><|im_end|>")

    found = prompt_ids(prompt, processor)

    today = tokenizer("today", add_special_tokens=False)["input_ids"]
    opens, closes = tokenizer.convert_tokens_to_ids(list(NEW_TOKENS))
    assert found == {"before": [1, *today, opens], "after": [closes, 2]}
    model = build_translator(
        stage(gguf, language_model={"source": str(gguf), "prompt": prompt.model_dump()}),
        {},
        processor,
    )
    face = model.language_model
    assert (face.before, face.after) == (found["before"], found["after"])


def test_without_a_prompt_a_decoder_only_model_reads_its_begin_token(gguf: Path) -> None:
    processor = processor_for(gguf)
    part = language_model_part(LanguageModelSettings(source=str(gguf)), {}, processor)
    assert part.prompt == {"before": [1], "after": []}
    processor.tokenizer.bos_token = None
    assert default_prompt(part.config, processor) is None
    mbart = {"model_type": "mbart", "d_model": 16}
    assert default_prompt(mbart, tiny.tiny_processor()) is None


def assert_new_rows_are_means(model: PreTrainedModel, before: dict[str, torch.Tensor]) -> None:
    """Of the word embedding and of the head; all other rows are as they were."""
    tables = (model.get_input_embeddings().weight, model.get_output_embeddings().weight)
    for table, name in zip(tables, ("model.embed_tokens.weight", "lm_head.weight"), strict=True):
        old = before[name]
        assert torch.equal(table[: len(old)], old)
        assert len(table) == len(old) + 2
        for row in table[len(old) :]:
            torch.testing.assert_close(row, old.mean(0))


@pytest.mark.parametrize("tied", [True, False])
def test_new_tokens_start_as_the_mean_embedding(tied: bool, tmp_path: Path) -> None:
    path = tmp_path / "llama.gguf"
    source = llama_gguf.write_llama(path, tied=tied)
    before = copied(source)

    model = build_translator(
        stage(path, language_model={"source": str(path)}), {}, processor_for(path, *NEW_TOKENS)
    )

    written = model.language_model.model
    assert_new_rows_are_means(written, before)
    assert (written.lm_head.weight is written.model.embed_tokens.weight) is tied
    tables = {"model.embed_tokens.weight", "lm_head.weight"}
    others = {name: weight for name, weight in before.items() if name not in tables}
    after = written.state_dict()
    assert all(torch.equal(weight, after[name]) for name, weight in others.items())


def test_new_tokens_take_rows_that_the_model_has_to_spare(gguf: Path) -> None:
    """A vocabulary that was rounded up: the tokens fit in, nothing is enlarged."""
    processor = processor_for(gguf, *NEW_TOKENS)
    model = llama_gguf.tiny_llama(len(processor.tokenizer) + 6)
    before = copied(model)

    fit_vocabulary(model, processor)

    table = model.get_input_embeddings().weight
    old = before["model.embed_tokens.weight"]
    new = processor.tokenizer.convert_tokens_to_ids(list(NEW_TOKENS))
    assert table.shape == old.shape
    for row in new:
        torch.testing.assert_close(table[row], old[: min(new)].mean(0))
    others = [row for row in range(len(old)) if row not in new]
    assert torch.equal(table[others], old[others])


def test_a_tokenizer_that_is_not_the_models_is_refused(gguf: Path, tmp_path: Path) -> None:
    llama_gguf.tiny_llama(100).save_pretrained(tmp_path / "small")
    with pytest.raises(InputError, match=r"100 tokens.*tokenizer\.pretrained") as caught:
        plan(stage(tmp_path / "small"), processor_for(gguf))
    assert str(caught.value).startswith(f"{WHERE}.source")
    # Tokens that the recipe adds are no fault.
    plan(stage(gguf), processor_for(gguf, *NEW_TOKENS))


def recipe_with(source: Path, pretrained: Path, **changes: Any) -> Recipe:
    return Recipe(
        tokenizer=TokenizerSettings(pretrained=str(pretrained), new_tokens=NEW_TOKENS),
        stages=(stage(source, language_model={"source": str(source), **changes}),),
    )


def test_a_gguf_file_is_known_to_be_a_language_model(gguf: Path) -> None:
    plan(stage(gguf), processor_for(gguf))
    told = rf"^{WHERE}\.source: .*model\.gguf begins with b'PK.*expected a GGUF file"
    other = gguf.with_name("model.gguf")
    other.write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match=told):
        plan(stage(other), processor_for(gguf))


@pytest.fixture(scope="module")
def folders(gguf: Path) -> dict[str, Path]:
    """The same model with its own tokenizer, with the same of other ids, and with none."""
    tokenizer = processor_for(gguf).tokenizer
    model = llama_gguf.tiny_llama(len(tokenizer) + 40)
    found = {name: gguf.parent / name for name in ("own", "other", "bare")}
    for folder in found.values():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(found["own"])
    train_tokenizer(llama_gguf.SENTENCES, "en", 90).save_pretrained(found["other"])
    return found


def test_a_tokenizer_of_other_ids_than_the_models_own_is_refused(
    gguf: Path, folders: dict[str, Path]
) -> None:
    """Though the model has rows for all of its tokens."""
    processor = processor_for(gguf, *NEW_TOKENS)
    with pytest.raises(InputError) as caught:
        check_own_tokenizers(recipe_with(folders["other"], gguf), processor)
    assert str(caught.value) == (
        f"{WHERE}.source: its tokenizer differs from tokenizer.pretrained (id 0 is '<s>' here and"
        " '<|endoftext|>' there): name the model's own"
    )

    trained = recipe_with(folders["own"], gguf).model_copy(
        update={"tokenizer": TokenizerSettings()}
    )
    mine = tiny.tiny_processor()
    with pytest.raises(InputError, match=r"the run's.*name it in tokenizer\.pretrained$"):
        check_own_tokenizers(trained, mine)


def test_a_tokenizer_like_the_models_own_passes(gguf: Path, folders: dict[str, Path]) -> None:
    """With the recipe's new tokens, from a file or a folder; or where there is none to compare."""
    processor = processor_for(gguf, *NEW_TOKENS)
    for source in (folders["own"], folders["bare"], gguf):
        check_own_tokenizers(recipe_with(source, folders["own"]), processor)
    check_own_tokenizers(recipe_with(folders["other"], gguf, random_init=True), processor)
    with pytest.raises(InputError, match="differs"):
        check_own_tokenizers(recipe_with(folders["other"], gguf), processor)


def test_random_init_takes_the_shape_but_not_the_weights(gguf: Path) -> None:
    processor = processor_for(gguf)
    taken = build_translator(
        stage(gguf, language_model={"source": str(gguf)}), {}, processor
    ).language_model.model
    torch.manual_seed(4)

    random = build_translator(
        stage(gguf, language_model={"source": str(gguf), "random_init": True}), {}, processor
    ).language_model.model

    source, drawn = taken.state_dict(), random.state_dict()
    assert {name: w.shape for name, w in source.items()} == {
        name: w.shape for name, w in drawn.items()
    }
    same = {name for name, weight in source.items() if torch.equal(weight, drawn[name])}
    assert all("norm" in name for name in same)  # these start as ones everywhere
    assert len(same) < len(source) / 2


def test_random_init_of_an_earlier_stages_model(gguf: Path, tmp_path: Path) -> None:
    processor = processor_for(gguf)
    build_translator(stage(gguf, "first"), {}, processor).save_pretrained(tmp_path)
    for random_init in (False, True):
        settings = LanguageModelSettings(source="first", random_init=random_init)
        part = language_model_part(settings, {"first": tmp_path}, processor)
        assert (part.weights is None) is random_init


def test_a_loaded_configuration_can_be_changed(gguf: Path) -> None:
    settings = {"attention_dropout": 0.3, "_attn_implementation": "eager"}
    model = build_translator(
        stage(gguf, language_model={"source": str(gguf), "config": settings}),
        {},
        processor_for(gguf),
    ).language_model.model
    assert model.config.attention_dropout == 0.3
    assert model.model.layers[0].self_attn.attention_dropout == 0.3
    assert model.config._attn_implementation == "eager"


@torch.no_grad()
def test_lora_starts_as_nothing(gguf: Path) -> None:
    processor = processor_for(gguf)
    plain = build_translator(stage(gguf, language_model={"source": str(gguf)}), {}, processor)
    tuned = build_translator(stage(gguf), {}, processor)
    tuned.adapter.load_state_dict(plain.adapter.state_dict())

    inputs = batch(processor)
    torch.testing.assert_close(tuned.eval()(**inputs).logits, plain.eval()(**inputs).logits)
    matrices = {name: weight for name, weight in tuned.state_dict().items() if is_lora(name)}
    assert all(weight.any() == (".lora_A." in name) for name, weight in matrices.items())


def test_lora_trains_two_steps_beside_base_weights_that_stay(gguf: Path) -> None:
    processor = processor_for(gguf)
    settings = stage(gguf)
    model = build_translator(settings, {}, processor).train()
    assert isinstance(model.language_model, DecoderOnly)
    source = llama_gguf.tiny_llama(len(processor.tokenizer)).state_dict()
    before = copied(model)

    train_two_steps(model, settings, batch(processor))

    moved = changed(model, before)
    prefix = "language_model."
    assert {name for name in moved if not name.startswith("adapter.")} == {
        name for name in before if is_lora(name)
    }
    assert not any(name.startswith("encoder.") for name in moved)
    assert any(name.startswith("adapter.") for name in moved)
    plain = {
        name.removeprefix(f"{prefix}model.").replace(".base_layer", ""): weight
        for name, weight in model.state_dict().items()
        if name.startswith(prefix) and not is_lora(name)
    }
    assert plain.keys() == source.keys()
    assert all(torch.equal(weight, plain[name]) for name, weight in source.items())


def test_every_setting_of_lora_changes_the_model(gguf: Path) -> None:
    processor = processor_for(gguf)

    def build(**changes: Any) -> Translator:
        torch.manual_seed(0)
        part = {"source": str(gguf), "lora": {**LORA, **changes}}
        return build_translator(stage(gguf, language_model=part), {}, processor)

    def layers(model: Translator) -> set[str]:
        return {
            name.split(".lora_")[0].rpartition(".")[2]
            for name in model.state_dict()
            if is_lora(name)
        }

    plain = build()
    assert layers(plain) == set("q_proj k_proj v_proj o_proj gate_proj up_proj down_proj".split())
    assert layers(build(targets=("q_proj", "v_proj"))) == {"q_proj", "v_proj"}
    matrix = "language_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight"
    assert len(build(r=2).state_dict()[matrix]) == 2
    inputs = batch(processor)
    logits = []
    for model in (plain, build(alpha=80.0), build(dropout=0.9)):
        for name, weight in model.named_parameters():
            if ".lora_B." in name:
                nn.init.constant_(weight, 0.1)
        torch.manual_seed(1)
        logits.append(model.train()(**inputs).logits)
    assert not torch.allclose(logits[0], logits[1])
    assert not torch.allclose(logits[0], logits[2])


@torch.no_grad()
def test_a_translator_with_lora_is_saved_and_loaded(gguf: Path, tmp_path: Path) -> None:
    processor = processor_for(gguf, *NEW_TOKENS)
    settings = stage(gguf)
    model = build_translator(settings, {}, processor)
    inputs = batch(processor)
    with torch.enable_grad():
        train_two_steps(model, settings, inputs)
    model.eval().save_pretrained(tmp_path)

    loaded = Translator.from_pretrained(tmp_path).eval()

    assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)
    assert not changed(loaded, copied(model))


def test_lora_trains_beside_base_weights_in_4_bits(gguf: Path, tmp_path: Path) -> None:
    """They stay bit-equal; what is saved is an ordinary translator that says the same."""
    pytest.importorskip("bitsandbytes", reason="the extra quantization is not installed")
    processor = processor_for(gguf)
    wide = llama_gguf.tiny_llama(len(processor.tokenizer), hidden_size=64)
    wide.save_pretrained(tmp_path / "wide")
    part = {"source": str(tmp_path / "wide"), "lora": LORA, "quantization": "4bit"}
    settings = stage(gguf, language_model=part)
    model = build_translator(settings, {}, processor).train()
    layers = [one for one in model.modules() if isinstance(one, QuantizedLinear)]
    assert len(layers) == 2 * 5
    before = copied(model)
    inputs = batch(processor)

    train_two_steps(model, settings, inputs)

    moved = {name for name in changed(model, before) if not name.startswith("adapter.")}
    assert moved == {name for name in before if is_lora(name)}
    model.eval().save_pretrained(tmp_path / "saved")
    loaded = Translator.from_pretrained(tmp_path / "saved").eval()
    assert not any(isinstance(one, QuantizedLinear) for one in loaded.modules())
    assert not changed(loaded, copied(model))
    with torch.no_grad():
        found, expected = loaded(**inputs).logits, model(**inputs).logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_without_bitsandbytes_quantisation_is_refused_before_anything_is_built(
    gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unglossed.models.tuning.PACKAGE", "no_such_package")
    part = {"source": str(gguf), "lora": LORA, "quantization": "4bit"}
    for check in (
        lambda: plan(stage(gguf, language_model=part), processor_for(gguf)),
        lambda: build_translator(stage(gguf, language_model=part), {}, processor_for(gguf)),
    ):
        with pytest.raises(
            InputError, match=r"no_such_package.*unglossed\[quantization\]"
        ) as caught:
            check()
        assert str(caught.value).startswith(f"{WHERE}.quantization")
        assert "\n" not in str(caught.value)


def test_what_is_trained_itself_cannot_be_quantised(gguf: Path) -> None:
    part = {"source": str(gguf), "quantization": "4bit"}
    with pytest.raises(ValueError, match="quantization needs lora"):
        stage(gguf, language_model=part)
    frozen = ["encoder", "language_model"]
    stage(gguf, language_model=part, frozen=frozen, learning_rates={"adapter": 0.1})


@pytest.mark.parametrize("lora", [None, LORA])
@torch.no_grad()
def test_a_later_stage_inherits_lora(
    lora: dict[str, Any] | None, gguf: Path, tmp_path: Path
) -> None:
    """Whether or not it says so itself, and with the prompt."""
    processor = processor_for(gguf)
    prompt = {"before": "<|im_start|>", "after": "today"}
    settings = stage(
        gguf, "first", language_model={"source": str(gguf), "lora": LORA, "prompt": prompt}
    )
    model = build_translator(settings, {}, processor)
    inputs = batch(processor)
    with torch.enable_grad():
        train_two_steps(model, settings, inputs)
    model.eval().save_pretrained(tmp_path)
    parts = {part: {"source": "first"} for part in PARTS}
    parts["language_model"]["lora"] = lora  # type: ignore[assignment]

    later = build_translator(stage(gguf, **parts), {"first": tmp_path}, processor)

    assert not changed(later, copied(model))
    assert torch.equal(later.eval()(**inputs).logits, model(**inputs).logits)
    trained = {name for name, weight in later.named_parameters() if weight.requires_grad}
    assert {name for name in trained if not name.startswith("adapter.")} == {
        name for name in later.state_dict() if is_lora(name)
    }


@torch.no_grad()
def test_lora_can_be_put_on_an_inherited_model_that_had_none(gguf: Path, tmp_path: Path) -> None:
    processor = processor_for(gguf)
    plain = build_translator(
        stage(gguf, "first", language_model={"source": str(gguf)}), {}, processor
    ).eval()
    plain.save_pretrained(tmp_path)
    part = {"source": "first", "lora": LORA}
    settings = stage(
        gguf, encoder={"source": "first"}, adapter={"source": "first"}, language_model=part
    )

    tuned = build_translator(settings, {"first": tmp_path}, processor).eval()

    inputs = batch(processor)
    torch.testing.assert_close(tuned(**inputs).logits, plain(**inputs).logits)
    assert any(is_lora(name) for name in tuned.state_dict())


def test_a_language_model_of_another_width_than_the_inherited_adapter_is_one_line(
    gguf: Path, tmp_path: Path
) -> None:
    """The adapter leads to 32 dimensions; the second model has 48."""
    processor = processor_for(gguf)
    build_translator(stage(gguf, "first"), {}, processor).save_pretrained(tmp_path)
    wide = llama_gguf.tiny_llama(len(processor.tokenizer), hidden_size=48)
    wide.save_pretrained(tmp_path / "wide")
    settings = stage(
        gguf,
        encoder={"source": "first"},
        adapter={"source": "first"},
        language_model={"source": str(tmp_path / "wide")},
    )

    with pytest.raises(InputError) as caught:
        build_translator(settings, {"first": tmp_path}, processor)

    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("stages.second.adapter")
    assert all(piece in message for piece in ("leads to width 32", "has 48")), message


@pytest.mark.parametrize("source", ["gguf", "first"])
def test_a_changed_configuration_that_cannot_be_is_one_line(
    source: str, gguf: Path, tmp_path: Path
) -> None:
    processor = processor_for(gguf)
    build_translator(stage(gguf, "first"), {}, processor).save_pretrained(tmp_path)
    part = {"source": str(gguf) if source == "gguf" else source}
    settings = stage(gguf, language_model={**part, "config": {"num_attention_heads": 5}})
    with pytest.raises(
        InputError, match=r"^stages\.second\.language_model\.config.*heads"
    ) as caught:
        build_translator(settings, {"first": tmp_path}, processor)
    assert "\n" not in str(caught.value)


def test_lora_on_layers_that_are_not_there_is_one_line(gguf: Path) -> None:
    part = {"source": str(gguf), "lora": {**LORA, "targets": ("query",)}}
    with pytest.raises(InputError, match=r"stages\.second.*query") as caught:
        build_translator(stage(gguf, language_model=part), {}, processor_for(gguf))
    assert "\n" not in str(caught.value)


def test_a_published_encoder_decoder_starts_with_the_runs_language(tmp_path: Path) -> None:
    processor = tiny.tiny_processor()
    config = MBartConfig(
        vocab_size=len(processor.tokenizer),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        decoder_start_token_id=3,
        eos_token_id=5,
    )
    MBartForConditionalGeneration(config).save_pretrained(tmp_path)

    part = language_model_part(LanguageModelSettings(source=str(tmp_path)), {}, processor)

    assert part.prompt is None
    assert part.config["decoder_start_token_id"] == processor.start_token_id
    assert part.config["eos_token_id"] == processor.tokenizer.eos_token_id
    assert part.config["pad_token_id"] == processor.tokenizer.pad_token_id
    face = build_language_model(part.config).eval()
    with torch.no_grad():
        face.model.final_logits_bias[:, processor.tokenizer.eos_token_id] = -100
    embeds, mask = torch.randn(1, 4, 16), torch.ones(1, 4, dtype=torch.bool)
    text = face.generate(embeds, mask, max_new_tokens=3, do_sample=False)
    assert text.shape == (1, 3)  # cut where it is too long: no end is forced on it
    assert torch.equal(text, face(embeds, mask, text).argmax(-1))


def test_a_new_decoder_only_model_takes_the_tokenizers_tokens(gguf: Path) -> None:
    processor = processor_for(gguf)
    assert isinstance(processor.tokenizer, PreTrainedTokenizerFast)
    shape = {"model_type": "llama", "hidden_size": 16, "num_attention_heads": 2}
    config = new_language_model_config(shape, processor)
    assert config["vocab_size"] == len(processor.tokenizer)
    assert (config["bos_token_id"], config["eos_token_id"]) == (1, 2)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ({"model_type": "llama", "hiden_size": 16}, "config.hiden_size: no such key"),
        ({"model_type": "llama", "hidden_size": 30, "num_attention_heads": 4}, "not a multiple"),
        ({"model_type": "lama"}, "lama"),
        ({"model_type": "llama", "hidden_size": "wide"}, "wide"),
    ],
)
def test_a_wrong_configuration_is_one_line(shape: dict[str, Any], told: str, gguf: Path) -> None:
    with pytest.raises(InputError) as caught:
        new_language_model_config(shape, processor_for(gguf))
    message = str(caught.value)
    assert message.startswith("config")
    assert told in message
    assert "\n" not in message


@pytest.fixture(scope="module")
def own_head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An mT5 whose output head is not its word embedding, as all published ones."""
    folder = tmp_path_factory.mktemp("mt5")
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 2}
    network = MT5ForConditionalGeneration(MT5Config(vocab_size=150, pad_token_id=1, **sizes))
    network.lm_head.weight = nn.Parameter(torch.randn_like(network.lm_head.weight))
    network.save_pretrained(folder)
    return folder


def tables(model: PreTrainedModel) -> list[torch.Tensor]:
    """Word embedding and output head."""
    return [model.get_input_embeddings().weight, model.get_output_embeddings().weight]


def test_a_head_of_its_own_stays_one_through_the_stages_of_a_run(
    own_head: Path, tmp_path: Path
) -> None:
    processor = tiny.tiny_processor()
    part = {"source": str(own_head)}
    first = stage(own_head, "first", language_model=part)
    published = tables(MT5ForConditionalGeneration.from_pretrained(own_head))
    model = build_translator(first, {}, processor)
    found = tables(model.language_model.model)
    assert all(torch.equal(one, other) for one, other in zip(found, published, strict=True))

    train_two_steps(model, first, batch(processor))
    model.save_pretrained(tmp_path / "first")
    for lora in (None, LORA):
        later = stage(own_head, language_model={"source": "first", "lora": lora})
        again = build_translator(later, {"first": tmp_path / "first"}, processor)
        trained = zip(tables(again.language_model.model), found, published, strict=True)
        for mine, theirs, before in trained:
            assert torch.equal(mine, theirs)
            assert not torch.equal(mine, before)


def test_a_head_of_its_own_stays_one_where_text_alone_is_trained(
    own_head: Path, tmp_path: Path
) -> None:
    processor = tiny.tiny_processor()
    published = tables(MT5ForConditionalGeneration.from_pretrained(own_head))
    for number, lora in enumerate((None, LORA)):
        part = {"source": str(own_head), "lora": lora}
        alone = {"objective": "denoising", "encoder": None, "adapter": None, "frozen": []}
        rates = {"language_model": 0.01}
        first = stage(own_head, "first", **alone, language_model=part, learning_rates=rates)
        build_text_model(first, {}, processor).save_pretrained(tmp_path / str(number))
        earlier = {"first": tmp_path / str(number)}
        later = build_translator(
            stage(own_head, language_model={"source": "first"}), earlier, processor
        )
        found = tables(later.language_model.model)
        assert all(torch.equal(one, other) for one, other in zip(found, published, strict=True))


def test_new_tokens_leave_a_head_of_its_own_as_it_was(own_head: Path) -> None:
    published = tables(MT5ForConditionalGeneration.from_pretrained(own_head))
    tokenizer = tiny.tiny_processor().tokenizer
    new = [f"<n{i}>" for i in range(80)]
    tokenizer.add_tokens(new, special_tokens=True)
    processor = TranslatorProcessor(tokenizer, "de", "<de>", new_tokens=new)
    part = {"source": str(own_head)}
    model = build_translator(stage(own_head, language_model=part), {}, processor)
    first = min(tokenizer.convert_tokens_to_ids(new))
    for mine, theirs in zip(tables(model.language_model.model), published, strict=True):
        assert len(mine) == len(tokenizer) > len(theirs)
        assert torch.equal(mine[:first], theirs[:first])
        torch.testing.assert_close(mine[-1], theirs[:first].mean(0))
