"""Each family of language models behind its face: loss, padding, generation, attention, saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CONFIG_MAPPING, PreTrainedModel

import tiny
from planned import language_model_part
from unglossed.models.language_model import (
    IGNORED,
    EncoderDecoder,
    LanguageModel,
    LightTConfig,
    build_language_model,
)
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.translator import Translator, TranslatorConfig
from unglossed.models.tuning import load_base_weights
from unglossed.training.build import LanguageModelPart
from unglossed.training.objectives.translation import text_loss
from unglossed.training.settings import LanguageModelSettings
from unglossed.training.tokenizer import train_tokenizer

START, END, WIDTH = 5, 2, 32
TOKENS = {"vocab_size": 50, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": END}
BART = {
    "d_model": WIDTH,
    **{f"{side}_layers": 2 for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
    **{f"{side}_ffn_dim": 64 for side in ("encoder", "decoder")},
    "max_position_embeddings": 64,
    "init_std": 0.3,
    "forced_eos_token_id": None,
    "decoder_start_token_id": START,
}
T5 = {
    "d_model": WIDTH,
    "d_kv": 16,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 2,
    "initializer_factor": 1.0,
    "decoder_start_token_id": START,
}
LLAMA = {
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.3,
    "max_position_embeddings": 64,
}
GEMMA = LLAMA | {"sliding_window": 4}  # shorter than the clips
FAMILIES: dict[str, dict[str, Any]] = {
    "light_t": BART,
    "mbart": BART,
    "bart": BART,
    "m2m_100": BART,  # NLLB
    "t5": T5,
    "t5-v1.1": T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},  # Flan-T5
    "mt5": T5,
    "umt5": T5,
    "longt5": T5,
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
    "gemma": LLAMA,
    "gemma2": GEMMA | {"final_logit_softcapping": 2.0, "query_pre_attn_scalar": 8},
    "gemma3_text": GEMMA
    | {"query_pre_attn_scalar": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "smollm3": LLAMA,
    "granite": LLAMA | {"logits_scaling": 3.0},
    "gpt2": {
        "n_embd": WIDTH,
        "n_layer": 2,
        "n_head": 2,
        "n_positions": 64,
        "initializer_range": 0.3,
    },  # learned positions
}
PROMPTS = {"": {}, " with a prompt": {"before": [1, 5], "after": [7, 8, 9]}}
LABELS = torch.tensor([[10, 11, END, IGNORED], [12, 13, 14, END], [END, *[IGNORED] * 3]])
LENGTHS = (6, 3, 1)
SMALL = TranslatorProcessor(train_tokenizer(["am abend"], "de", 40), start_token="<de>")
"""Of fewer tokens than the models have."""
TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
"""Sums in another order, of logits up to 30; the worst measured is 1.1e-5."""


@pytest.fixture(
    scope="module", params=[family + prompt for family in FAMILIES for prompt in PROMPTS]
)
def face(request: pytest.FixtureRequest) -> LanguageModel:
    family, space, prompt = request.param.partition(" ")
    torch.manual_seed(0)
    face = build_language_model(config_of(family), PROMPTS[space + prompt]).eval()
    assert isinstance(face, EncoderDecoder) is (
        "hidden_size" not in FAMILIES[family] and family != "gpt2"
    )
    return face


def config_of(family: str) -> dict[str, Any]:
    kind = LightTConfig if family == "light_t" else CONFIG_MAPPING[family.partition("-")[0]]
    config: dict[str, Any] = kind(**TOKENS, **FAMILIES[family]).to_dict()
    return config


def clips() -> tuple[Tensor, Tensor]:
    """Embeddings (3, 6, WIDTH) of clips of `LENGTHS`, 9 where padded, and their mask."""
    embeds = torch.randn(3, 6, WIDTH, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(6) < torch.tensor(LENGTHS)[:, None]
    return embeds.masked_fill(~mask[..., None], 9.0), mask


def alone(number: int) -> tuple[Tensor, Tensor]:
    """A clip as a batch of one, without padding."""
    return tuple(one[number : number + 1, : LENGTHS[number]] for one in clips())


def whole_model_loss(face: LanguageModel) -> Tensor:
    """Cross-entropy of the answers' tokens, each clip alone, by the model of transformers itself.

    Nothing of the face is used but its model and the prompt.
    """
    table, total, count = face.model.get_input_embeddings(), torch.tensor(0.0), 0
    for number, row in enumerate(LABELS):
        answer = row[row != IGNORED]
        before, after, words = (
            table(torch.tensor([ids], dtype=torch.long))
            for ids in (face.before, face.after, answer.tolist())
        )
        read = torch.cat([before, alone(number)[0], after], 1)
        if isinstance(face, EncoderDecoder):
            ids = torch.tensor([[START, *answer[:-1].tolist()]])
            logits = face.model(inputs_embeds=read, decoder_input_ids=ids).logits
        else:
            logits = face.model(inputs_embeds=torch.cat([read, words], 1)).logits
            logits = logits[:, read.shape[1] - 1 : -1]
        chosen = logits[0].log_softmax(-1)[torch.arange(len(answer)), answer]
        total, count = total - chosen.sum(), count + len(answer)
    return total / count


@torch.no_grad()
def test_the_loss_counts_the_answers_tokens_and_no_prompt_padding_or_feature(
    face: LanguageModel,
) -> None:
    embeds, mask = clips()
    expected = whole_model_loss(face)

    torch.testing.assert_close(text_loss(face(embeds, mask, LABELS), LABELS), expected)
    # More padding, of clips and of texts, and other values in it.
    wider = torch.nn.functional.pad(embeds, (0, 0, 0, 3), value=-4.0)
    longer = torch.nn.functional.pad(LABELS, (0, 2), value=IGNORED)
    logits = face(wider, torch.nn.functional.pad(mask, (0, 3)), longer)
    assert logits.shape == (3, 6, 50)
    torch.testing.assert_close(text_loss(logits, longer), expected)


def test_the_loss_leads_to_every_real_feature_and_to_no_padding(face: LanguageModel) -> None:
    embeds, mask = clips()
    embeds.requires_grad_()
    text_loss(face(embeds, mask, LABELS), LABELS).backward()
    face.zero_grad()

    assert embeds.grad is not None
    assert torch.equal(embeds.grad.abs().amax(-1) > 0, mask)


@torch.no_grad()
def test_a_clip_alone_and_padded_in_a_batch_gives_the_same(face: LanguageModel) -> None:
    embeds, mask = clips()
    settings = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}
    logits = face(embeds, mask, LABELS)
    greedy, beams = (face.generate(embeds, mask, num_beams=n, **settings) for n in (1, 3))
    weights = face.attend(embeds, mask, greedy)

    for number, row in enumerate(LABELS):
        answer = row[row != IGNORED][None]
        torch.testing.assert_close(
            face(*alone(number), answer)[0], logits[number, : answer.shape[1]], **TOLERANCE
        )
        for num_beams, found in ((1, greedy), (3, beams)):
            assert torch.equal(
                face.generate(*alone(number), num_beams=num_beams, **settings)[0], found[number]
            )
        torch.testing.assert_close(
            face.attend(*alone(number), greedy[number : number + 1])[0],
            weights[number, :, : LENGTHS[number]],
            **TOLERANCE,
        )


@torch.no_grad()
def test_beams_share_one_reading_of_a_clip(face: LanguageModel) -> None:
    embeds, mask = clips()
    inputs, real, _ = face._lay_out(embeds, mask)
    seq2seq = isinstance(face, EncoderDecoder)
    reader = face.model.get_encoder() if seq2seq else face.model.get_decoder()
    read: list[tuple[int, ...]] = []
    hook = reader.register_forward_hook(
        lambda _, __, output: read.append(tuple(output.last_hidden_state.shape[:2]))
    )
    settings = {"max_new_tokens": 5, "num_beams": 3, "num_return_sequences": 3, "do_sample": False}
    found = face.generate(embeds, mask, **settings)
    hook.remove()

    if seq2seq:
        assert read == [inputs.shape[:2]]
    else:
        assert read[0] == (3, inputs.shape[1] - 1)
        assert set(read[1:]) == {(9, 1)}
        apart = face.model.generate(inputs_embeds=inputs, attention_mask=real.long(), **settings)
        assert torch.equal(found, apart)


@torch.no_grad()
def test_greedy_generation_with_cache_equals_computing_every_step_anew(
    face: LanguageModel,
) -> None:
    embeds, mask = clips()
    found = face.generate(
        embeds, mask, max_new_tokens=7, no_repeat_ngram_size=1, suppress_tokens=[START, END]
    )

    assert face.model.generation_config.use_cache
    words = torch.empty(3, 0, dtype=torch.long)
    for _ in range(7):
        logits = face(embeds, mask, torch.nn.functional.pad(words, (0, 1)))[:, -1]
        logits[:, [START, END]] = -torch.inf
        words = torch.cat([words, logits.scatter(1, words, -torch.inf).argmax(-1)[:, None]], 1)
    assert torch.equal(found, words)


@torch.no_grad()
def test_each_token_looks_at_the_real_features_alone(face: LanguageModel) -> None:
    embeds, mask = clips()
    before = face.model.config._attn_implementation
    weights = face.attend(embeds, mask, LABELS.masked_fill(LABELS == IGNORED, 0))

    assert weights.shape == (3, 4, 6)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4))
    assert torch.equal((weights > 0).any(1), mask)
    assert weights[0].std(0).min() > 0  # another token, another look
    assert face.model.config._attn_implementation == before


@torch.no_grad()
def test_saved_and_loaded_it_says_the_same(face: LanguageModel, tmp_path: Path) -> None:
    config = TranslatorConfig(
        encoder=tiny.ENCODER,
        adapter={"hidden_dim": 8, "dropout": 0.0},
        language_model=face.model.config.to_dict(),
        prompt={"before": face.before, "after": face.after},
    )
    model = Translator(config).eval()
    model.language_model.load_state_dict(face.state_dict())
    model.save_pretrained(tmp_path)

    loaded = Translator.from_pretrained(tmp_path).language_model

    mine, theirs = face.state_dict(), loaded.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    assert torch.equal(loaded(*clips(), LABELS), face(*clips(), LABELS))
    settings = {"max_new_tokens": 5, "num_beams": 2}
    assert torch.equal(loaded.generate(*clips(), **settings), face.generate(*clips(), **settings))


@torch.no_grad()
def test_a_model_whose_cache_is_of_another_kind_searches_with_beams() -> None:
    torch.manual_seed(0)
    config = CONFIG_MAPPING["mamba"](
        **TOKENS, hidden_size=WIDTH, state_size=4, num_hidden_layers=2, initializer_range=0.3
    )
    face = build_language_model(config.to_dict()).eval()
    settings = {"max_new_tokens": 5, "num_beams": 3, "do_sample": False}
    embeds, mask = alone(0)
    apart = face.model.generate(inputs_embeds=embeds, attention_mask=mask.long(), **settings)
    assert torch.equal(face.generate(embeds, mask, **settings), apart)


TIES = {
    "": (),
    "a head of its own": ("lm_head.weight",),
    "a decoder of its own": ("decoder.embed_tokens.weight",),
    "all of their own": (
        "lm_head.weight",
        "decoder.embed_tokens.weight",
        "encoder.embed_tokens.weight",
    ),
}
"""Ends of the names of matrices which a file holds beside the word embedding, by what it has."""


def write_published(family: str, own: tuple[str, ...], folder: Path) -> dict[str, Tensor] | None:
    """Write a model as it is published: a file of random weights, some of them tied in its class.

    Returns:
        What the file holds; None where the family has no matrix of one of these names.
    """
    config = config_of(family)
    model = build_language_model(config).model
    shared = {id(weight): name for name, weight in model.named_parameters()}
    own_names = [
        name
        for name, weight in model.named_parameters(remove_duplicate=False)
        if shared[id(weight)] != name and name.endswith(own)
    ]
    if own and not all(any(name.endswith(end) for name in own_names) for end in own):
        return None
    held = {name: torch.randn_like(weight) for name, weight in model.named_parameters()}
    held |= {name: torch.randn_like(model.get_parameter(name)) for name in own_names}
    held |= dict(model.named_buffers())
    buffers = {name for name in held if name not in model.state_dict()}
    held = {name: weight.contiguous() for name, weight in held.items() if name not in buffers}
    model.config.save_pretrained(folder)
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    return held


@torch.no_grad()
@pytest.mark.parametrize("own", TIES)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_matrix_is_the_published_one_also_saved_resized_and_with_lora(
    family: str, own: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    held = write_published(family, TIES[own], tmp_path)
    if held is None:
        pytest.skip(f"{family} has no such matrices")
    face = load_face(tmp_path)
    theirs: PreTrainedModel = face.auto_class.from_pretrained(tmp_path)
    vocabulary = {name for name, one in theirs.state_dict().items() if 50 in one.shape}

    def check(model: PreTrainedModel) -> None:
        mine = {name.replace(".base_layer", ""): one for name, one in model.state_dict().items()}
        for name, weight in [*theirs.state_dict().items(), *held.items()]:
            found = mine[name]
            if name in vocabulary:
                found = found[..., :50] if found.shape[0] == 1 else found[:50]
            assert torch.equal(found, weight), name

    check(face.model)
    check(load_face(tmp_path, {"r": 2, "alpha": 2, "dropout": 0.0, "targets": "all-linear"}).model)
    config = TranslatorConfig(
        encoder=tiny.ENCODER,
        adapter={"hidden_dim": 8, "dropout": 0.0},
        language_model=face.model.config.to_dict(),
    )
    translator = Translator(config)
    load_base_weights(translator.language_model.model, face.model.state_dict())
    translator.save_pretrained(tmp_path / "translator")
    check(Translator.from_pretrained(tmp_path / "translator").language_model.model)
    if own not in ("", "a head of its own") or family == "light_t":
        return  # transformers cannot lengthen these
    face.model.resize_token_embeddings(60, mean_resizing=False)
    check(face.model)
    face.model.save_pretrained(tmp_path / "longer")
    check(load_face(tmp_path / "longer").model)


def load_face(folder: Path, lora: dict[str, Any] | None = None) -> LanguageModel:
    """A language model as a stage of a recipe loads it."""
    settings = LanguageModelSettings(source=str(folder), lora=lora)
    part = language_model_part(settings, {}, SMALL)
    assert isinstance(part, LanguageModelPart)
    face = build_language_model(part.config, part.prompt, part.lora)
    part.load_into(face.model)
    return face


def test_matrices_that_differ_are_not_made_one_by_a_recipe(tmp_path: Path) -> None:
    build_language_model(config_of("llama") | {"tie_word_embeddings": False}).model.save_pretrained(
        tmp_path
    )
    settings = LanguageModelSettings(source=str(tmp_path), config={"tie_word_embeddings": True})
    part = language_model_part(settings, {}, SMALL)

    with pytest.raises(RuntimeError, match=r"lm_head\.weight and .*embed_tokens\.weight differ"):
        part.load_into(build_language_model(part.config).model)
