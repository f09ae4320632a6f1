"""Language models: the paper's sizes, one word embedding, generation, attention."""

import pytest
import torch

from unglossed.models.language_model import (
    IGNORED,
    LIGHT_T_SIZES,
    EncoderDecoder,
    LightT,
    light_t_config,
    shift_right,
)

TOKENS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 5}
SHAPE = {"layers": 2, "heads": 2, "width": 32, "ffn_dim": 64}


def build_light_t(vocab_size: int = 50) -> EncoderDecoder:
    torch.manual_seed(0)
    config = light_t_config(
        SHAPE, vocab_size, max_position_embeddings=40, forced_eos_token_id=None, **TOKENS
    )
    return EncoderDecoder(config.to_dict()).eval()


@pytest.fixture(scope="module")
def light_t() -> EncoderDecoder:
    return build_light_t()


@pytest.fixture
def features() -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings (3, 7, 32) of clips with 7, 4 and 1 positions, and their mask."""
    generator = torch.Generator().manual_seed(1)
    embeds = torch.randn(3, 7, 32, generator=generator)
    return embeds, torch.arange(7) < torch.tensor([7, 4, 1])[:, None]


def log_probability(
    model: EncoderDecoder, features: tuple[torch.Tensor, torch.Tensor], tokens: torch.Tensor
) -> torch.Tensor:
    """Log-probabilities (3, texts of a clip) of generated token ids."""
    repeats = len(tokens) // 3
    embeds, mask = (one.repeat_interleave(repeats, dim=0) for one in features)
    with torch.no_grad():
        rows = model(embeds, mask, tokens).log_softmax(dim=-1)
    return rows.gather(2, tokens[..., None]).sum(dim=(1, 2)).reshape(3, repeats)


@pytest.mark.parametrize(
    ("size", "expected"),
    [("tiny", 3_614_208), ("small", 18_254_848), ("base", 25_611_264), ("large", 124_655_616)],
)
def test_light_t_has_the_papers_parameter_count(size: str, expected: int) -> None:
    with torch.device("meta"):
        model = LightT(light_t_config(size, 2429))

    assert sum(weight.numel() for weight in model.parameters()) == expected


def test_light_t_has_one_word_embedding_and_a_head_of_its_own(light_t: EncoderDecoder) -> None:
    tables = [
        name
        for name, module in light_t.named_modules()
        if isinstance(module, torch.nn.Embedding) and module.num_embeddings == 50
    ]

    assert tables == ["model.model.decoder.embed_tokens"]
    embedding = light_t.model.get_input_embeddings().weight
    assert embedding.data_ptr() != light_t.model.lm_head.weight.data_ptr()


def test_light_t_starts_from_an_attention_that_is_not_flat() -> None:
    weight = EncoderDecoder(light_t_config(SHAPE, 50).to_dict()).model.lm_head.weight

    assert float(weight.detach().std()) == pytest.approx(32**-0.5, rel=0.1)


def test_light_t_sizes_follow_table_7() -> None:
    rows = {name: tuple(shape.values()) for name, shape in LIGHT_T_SIZES.items()}

    assert rows == {
        "tiny": (1, 4, 256, 1024),
        "small": (2, 4, 512, 2048),
        "base": (3, 8, 512, 2048),
        "large": (4, 8, 1024, 4096),
    }
    with pytest.raises(KeyError, match="huge"):
        light_t_config("huge", 50)


def test_shift_right_starts_with_the_start_token_and_pads() -> None:
    labels = torch.tensor([[7, 8, 2], [9, 2, IGNORED], [2, IGNORED, IGNORED]])

    assert shift_right(labels, [5], 1).tolist() == [[5, 7, 8], [5, 9, 2], [5, 2, 1]]
    assert shift_right(labels[:1], [2, 5], 1).tolist() == [[2, 5, 7, 8]]


def test_logits_never_depend_on_tokens_to_come(
    light_t: EncoderDecoder, features: tuple[torch.Tensor, torch.Tensor]
) -> None:
    labels = torch.tensor([[7, 8, 9, 2]] * 3)
    changed = labels.clone()
    changed[:, 2:] = 11

    with torch.no_grad():
        logits, others = light_t(*features, labels), light_t(*features, changed)

    assert torch.equal(logits[:, :3], others[:, :3])  # position i reads labels before i
    assert not torch.equal(logits[:, 3], others[:, 3])


def test_logits_depend_on_real_features_only(
    light_t: EncoderDecoder, features: tuple[torch.Tensor, torch.Tensor]
) -> None:
    embeds, mask = features
    labels = torch.tensor([[7, 8, 2]] * 3)
    noisy = embeds.masked_fill(~mask[..., None], 1e3)
    spoilt = embeds.clone()
    spoilt[1, 3] += 1

    with torch.no_grad():
        logits = light_t(embeds, mask, labels)
        assert torch.equal(logits, light_t(noisy, mask, labels))
        assert not torch.equal(logits[1], light_t(spoilt, mask, labels)[1])


def test_greedy_generation_picks_the_likeliest_token_at_each_step(
    light_t: EncoderDecoder, features: tuple[torch.Tensor, torch.Tensor]
) -> None:
    tokens = light_t.generate(*features, max_new_tokens=6, num_beams=1, do_sample=False)

    assert tokens.shape[0] == 3
    with torch.no_grad():
        likeliest = light_t(*features, tokens).argmax(dim=-1)
    for row, expected in zip(tokens, likeliest, strict=True):
        length = (row == 2).nonzero()[0, 0] + 1 if (row == 2).any() else len(row)
        assert torch.equal(row[:length], expected[:length])


def test_beam_search_gives_n_best_of_each_clip_in_order(
    light_t: EncoderDecoder, features: tuple[torch.Tensor, torch.Tensor]
) -> None:
    beams = light_t.generate(
        *features, num_beams=4, num_return_sequences=3, max_new_tokens=5, min_new_tokens=5
    )

    assert beams.shape == (9, 5)
    scores = log_probability(light_t, features, beams)
    assert (scores[:, :-1] >= scores[:, 1:] - 1e-5).all()
    assert all(len({tuple(row) for row in beams[i : i + 3].tolist()}) == 3 for i in (0, 3, 6))


def test_beam_search_as_wide_as_the_vocabulary_finds_the_likeliest_text(
    light_t: EncoderDecoder, features: tuple[torch.Tensor, torch.Tensor]
) -> None:
    found = light_t.generate(*features, num_beams=50, max_new_tokens=2, min_new_tokens=2)

    words = torch.tensor([token for token in range(50) if token != TOKENS["eos_token_id"]])
    texts = torch.cartesian_prod(words, words)
    scores = log_probability(light_t, features, texts.repeat(3, 1))
    assert torch.equal(found, texts[scores.argmax(dim=1)])
    greedy = light_t.generate(*features, num_beams=1, max_new_tokens=2, min_new_tokens=2)
    assert greedy.shape == found.shape


def test_attention_rows_sum_to_one_and_leave_padding_out(
    light_t: EncoderDecoder, features: tuple[torch.Tensor, torch.Tensor]
) -> None:
    embeds, mask = features
    before = light_t.model.config._attn_implementation
    with torch.no_grad():
        weights = light_t.attend(embeds, mask, torch.tensor([[7, 8, 2], [9, 2, 1], [2, 1, 1]]))

    assert weights.shape == (3, 3, 7)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(3, 3))
    assert (weights[~mask[:, None].expand_as(weights)] == 0).all()
    assert weights[0].std() > 0
    assert light_t.model.config._attn_implementation == before != "eager"


def test_a_clip_of_one_frame_gets_all_the_attention(
    light_t: EncoderDecoder, features: tuple[torch.Tensor, torch.Tensor]
) -> None:
    with torch.no_grad():
        weights = light_t.attend(*features, torch.tensor([[7, 2]] * 3))

    torch.testing.assert_close(weights[2, :, 0], torch.ones(2))
