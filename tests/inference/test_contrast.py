"""Language-contrastive decoding: one step by hand, the model without signal, whole searches."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import LlamaConfig, LogitsProcessorList, MBartConfig, MT5Config

from tiny import tiny_decoder_only, tiny_model, tiny_processor
from unglossed.config import DecodingSettings
from unglossed.inference.search import IMPLAUSIBLE, LanguageContrast, WithoutSignal, contrast
from unglossed.inference.translator import translate_features
from unglossed.models.language_model import EncoderDecoder, LanguageModel, build_language_model

STRENGTH = 0.3
END = 2
TOKENS = {"vocab_size": 7, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": END}
CONFIGS = {
    "mbart": MBartConfig(
        **TOKENS,
        d_model=16,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        decoder_start_token_id=3,
        forced_eos_token_id=None,
        init_std=0.7,
    ),
    "t5": MT5Config(
        **TOKENS,
        d_model=16,
        d_kv=8,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=0,
        initializer_factor=0.3,
    ),
    "llama": LlamaConfig(
        **TOKENS,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.5,
    ),
}
PROMPTS = {"none": None, "around": {"before": [1, 5], "after": [4]}, "start": {"start": [3, 6]}}
FACES = ["mbart", "mbart around", "mbart start", "t5", "llama", "llama around"]


def build(name: str) -> LanguageModel:
    kind, _, prompt = name.partition(" ")
    torch.manual_seed(1)
    return build_language_model(CONFIGS[kind].to_dict(), PROMPTS[prompt or "none"]).eval()


def clips(num: int = 2) -> tuple[Tensor, Tensor]:
    """Embeddings (num, 5, 16) of clips with 5, 4, ... positions, and their mask."""
    embeds = torch.randn(num, 5, 16, generator=torch.Generator().manual_seed(2))
    return embeds, torch.arange(5) < 5 - torch.arange(num)[:, None]


def next_logits(writer: LanguageModel, embeds: Tensor, mask: Tensor, texts: Tensor) -> Tensor:
    """Logits (rows, vocabulary) behind texts (rows, tokens), everything computed anew."""
    dummy = torch.zeros(len(texts), 1, dtype=torch.long)
    return writer(embeds, mask, torch.cat([texts, dummy], 1))[:, -1]


def unseen(writer: LanguageModel, texts: Tensor) -> Tensor:
    """Logits (rows, vocabulary) behind texts without a signal: the prompt alone, or one zero."""
    num_positions = 0 if writer.before or writer.after else 1
    nothing = torch.zeros(len(texts), num_positions, 16)
    return next_logits(writer, nothing, nothing[..., 0] == 0, texts)


def log_probabilities(*shares: float) -> Tensor:
    return torch.tensor([shares]).log()


def entropy(log_p: Tensor) -> Tensor:
    return torch.special.entr(log_p.exp()).sum(-1)


def test_a_step_by_hand() -> None:
    p, q = (0.5, 0.3, 0.16, 0.04), (0.7, 0.1, 0.1, 0.1)
    weight = 0.3 / -(0.7 * math.log(0.7) + 3 * 0.1 * math.log(0.1))
    raised = [one * (one / other) ** weight for one, other in zip(p, q, strict=True)][:3]
    found = contrast(log_probabilities(*p), log_probabilities(*q), 0.3)[0]
    # The fourth has less than a tenth of the first's probability.
    expected = [one / sum(raised) for one in raised]
    torch.testing.assert_close(found[:3].exp(), torch.tensor(expected))
    assert float(found[3]) == pytest.approx(math.log(0.04) - IMPLAUSIBLE)
    assert expected[0] < 0.5 / 0.96 < expected[0] + expected[1]  # the first lost, others gained


def test_logits_are_as_good_as_log_probabilities() -> None:
    p, q = log_probabilities(0.5, 0.3, 0.2), log_probabilities(0.2, 0.2, 0.6)
    torch.testing.assert_close(contrast(p + 4, q - 2, 0.5), contrast(p, q, 0.5))


def test_where_the_signal_says_nothing_the_likely_words_stay_as_likely() -> None:
    p = log_probabilities(0.5, 0.3, 0.16, 0.04)
    found = contrast(p, p, 0.3)
    torch.testing.assert_close(found.exp(), torch.tensor([[0.5, 0.3, 0.16, 0.0]]) / 0.96)
    assert entropy(found) < entropy(p)


def test_against_a_model_that_knows_nothing_the_distribution_is_sharpened() -> None:
    p = log_probabilities(0.5, 0.3, 0.2)
    sharper = p.exp() ** (1 + 0.3 / math.log(3))
    found = contrast(p, torch.zeros(1, 3), 0.3)
    torch.testing.assert_close(found.exp(), sharper / sharper.sum())


def test_the_surer_the_language_model_the_more_it_is_held_back() -> None:
    p = log_probabilities(0.4, 0.35, 0.25)
    kept = [
        float(contrast(p, log_probabilities(sure, (1 - sure) / 2, (1 - sure) / 2), 0.1)[0, 0])
        for sure in (0.4, 0.6, 0.9, 0.99)
    ]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > kept[-1] + 1


@given(
    st.lists(st.floats(-30, 30), min_size=5, max_size=5),
    st.lists(st.floats(-300, 300), min_size=5, max_size=5),
    st.floats(0, 5),
)
def test_any_step_gives_a_distribution_over_the_plausible_tokens(own, prior, strength) -> None:
    log_p = torch.tensor([own]).log_softmax(-1)
    found = contrast(torch.tensor([own]), torch.tensor([prior]), strength)
    plausible = log_p >= log_p.max() + math.log(0.1)
    assert torch.isfinite(found).all()
    assert float(found[plausible].exp().sum()) == pytest.approx(1, abs=1e-4)
    assert not found[~plausible].exp().any()
    if not strength:
        torch.testing.assert_close(found[plausible], log_p[plausible].log_softmax(-1))


def test_a_forbidden_token_stays_forbidden() -> None:
    own = torch.tensor([[0.0, -torch.inf, 1.0]])
    assert contrast(own, torch.zeros(1, 3), 0.3)[0].isneginf().tolist() == [False, True, False]


@pytest.mark.parametrize("name", FACES)
@torch.no_grad()
def test_without_signal_rows_may_change_places_and_multiply(name: str) -> None:
    writer = build(name)
    start = torch.tensor(
        [writer._start_ids()] if isinstance(writer, EncoderDecoder) else [[]]
    ).long()
    asked = WithoutSignal(writer)
    texts = torch.zeros(3, 0, dtype=torch.long)
    steps = [((0, 1, 2), (4, 5, 6)), ((2, 0, 0), (5, 1, 6)), ((1, 0, 2), (3, 3, 0)), ((2,), (4,))]
    for kept, words in [((0, 1, 2), ()), *steps]:
        texts = texts[list(kept)]
        if words:
            texts = torch.cat([texts, torch.tensor(words)[:, None]], 1)
        found = asked(torch.cat([start.expand(len(texts), -1), texts], 1))
        torch.testing.assert_close(found, unseen(writer, texts))


@torch.no_grad()
def test_without_signal_texts_that_were_not_there_before_are_read_anew() -> None:
    writer = build("llama around")
    asked = WithoutSignal(writer)
    asked(torch.tensor([[4, 5]]))
    for texts in (torch.tensor([[4, 5, 6], [3, 5, 6]]), torch.tensor([[4]])):
        torch.testing.assert_close(asked(texts), unseen(writer, texts))


@pytest.mark.parametrize("name", FACES)
@torch.no_grad()
def test_greedy_search_takes_the_best_of_each_contrasted_step(name: str) -> None:
    writer = build(name)
    embeds, mask = clips()
    found = writer.generate(
        embeds,
        mask,
        max_new_tokens=4,
        min_new_tokens=4,
        do_sample=False,
        logits_processor=LogitsProcessorList([LanguageContrast(writer, STRENGTH)]),
    )
    texts = torch.zeros(2, 0, dtype=torch.long)
    for _ in range(4):
        own = next_logits(writer, embeds, mask, texts)
        own[:, END] = -torch.inf
        step = contrast(own, unseen(writer, texts), STRENGTH).argmax(-1, keepdim=True)
        texts = torch.cat([texts, step], 1)
    assert found.tolist() == texts.tolist()


@pytest.mark.parametrize("name", FACES)
@torch.no_grad()
def test_beams_that_leave_nothing_out_find_the_best_contrasted_texts(name: str) -> None:
    writer = build(name)
    embeds, mask = clips()
    words = [word for word in range(7) if word != END]
    found = writer.generate(
        embeds,
        mask,
        max_new_tokens=3,
        min_new_tokens=3,
        num_beams=len(words) ** 2,
        num_return_sequences=5,
        do_sample=False,
        logits_processor=LogitsProcessorList([LanguageContrast(writer, STRENGTH)]),
    )
    texts = torch.tensor(list(product(words, repeat=3)))
    for clip in range(2):
        rows = (one[clip : clip + 1].expand(len(texts), *one.shape[1:]) for one in (embeds, mask))
        scores = contrasted_scores(writer, *rows, texts)
        best = texts[scores.argsort(descending=True)[:5]]
        assert scores.sort(descending=True)[0][4] > -IMPLAUSIBLE / 2  # plausible, all five
        assert found[clip * 5 : clip * 5 + 5].tolist() == best.tolist()


def contrasted_scores(writer: LanguageModel, embeds: Tensor, mask: Tensor, texts: Tensor) -> Tensor:
    """Sum of contrasted log-probabilities of each text (rows, tokens)."""
    total = torch.zeros(len(texts))
    for step in range(texts.shape[1]):
        own = next_logits(writer, embeds, mask, texts[:, :step])
        # As `generate` does it: the end token is forbidden in log-probabilities that count it.
        own = own.log_softmax(-1)
        own[:, END] = -torch.inf
        told = contrast(own, unseen(writer, texts[:, :step]), STRENGTH)
        total += told.gather(1, texts[:, step, None])[:, 0]
    return total


@torch.no_grad()
def test_a_model_that_does_not_look_says_the_same_with_contrast() -> None:
    writer = build("mbart")
    for layer in writer.model.get_decoder().layers:
        layer.encoder_attn.out_proj.weight.zero_()
        layer.encoder_attn.out_proj.bias.zero_()
    settings = {"max_new_tokens": 6, "do_sample": False}
    strong = LogitsProcessorList([LanguageContrast(writer, 2.0)])
    contrasted = writer.generate(*clips(), logits_processor=strong, **settings)
    assert contrasted.tolist() == writer.generate(*clips(), **settings).tolist()


@pytest.fixture(scope="module", params=[tiny_model, tiny_decoder_only])
def kind(request) -> Callable:
    return request.param


def features(num: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(length, 24, generator=generator) for length in range(4, 4 + 3 * num, 3)]


@pytest.mark.parametrize("settings", [{"beams": 1}, {"beams": 3}, {"sample": True}])
def test_contrast_is_off_by_default_and_changes_what_is_said(kind, settings) -> None:
    processor = tiny_processor()
    model = kind(processor, 2)
    plain = DecodingSettings(max_new_tokens=10, **settings)
    told = translate_features(model, processor, features(), plain)
    off = plain.change(language_contrast=0.0)
    assert translate_features(model, processor, features(), off) == told
    strong = plain.change(language_contrast=2.0)
    contrasted = translate_features(model, processor, features(), strong)
    assert [one.text for one in contrasted] != [one.text for one in told]


@pytest.mark.parametrize("settings", [{"beams": 1}, {"beams": 3}])
def test_contrast_of_a_clip_does_not_depend_on_its_batch(kind, settings) -> None:
    processor = tiny_processor()
    model = kind(processor, 2)
    decoding = DecodingSettings(max_new_tokens=10, language_contrast=STRENGTH, **settings)
    one, four = (
        translate_features(model, processor, features(), decoding, batch_size=size)
        for size in (1, 4)
    )
    assert [row.text for row in one] == [row.text for row in four]


def test_beams_give_each_text_once_though_few_tokens_are_plausible(kind) -> None:
    processor = tiny_processor()
    decoding = DecodingSettings(beams=6, max_new_tokens=3, language_contrast=STRENGTH)
    model = kind(processor)
    with torch.no_grad():  # sure of itself: often a single token is plausible
        model.language_model.model.get_output_embeddings().weight.mul_(8)
    for row in translate_features(model, processor, features(), decoding, n_best=6):
        assert len({(one.text, one.score) for one in row.n_best}) == 6
